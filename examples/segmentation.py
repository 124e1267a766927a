"""Segmentation: a small U-Net finds discs and bars in noise, a class per pixel.

    python -m wavesweep task=segmentation dataset=custom dataset.target=examples.segmentation.shapes \
        model=custom model.target=examples.segmentation.UNet model.recipe.epochs=12 \
        model.recipe.learning_rate=0.03 model.recipe.batch_size=16 wavelet=haar level=1 layout=channel \
        threshold.percentile=50 retrain=finetune retrain.epochs=4 retrain.learning_rate=0.01

Reports the mean intersection over union (mean IoU), beside the accuracy of pixels.
"""

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


def shapes(count: int = 240, size: int = 32) -> tuple[Pair, Pair]:
    """Training and test images as floats (n, 1, size, size), and masks: 0 ground, 1 disc, 2 bar."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    places = torch.randint(6, size - 6, (count, 4), generator=generator)[:, :, None, None]
    disc = (rows - places[:, 0]) ** 2 + (columns - places[:, 1]) ** 2 < 30
    bar = ((rows - places[:, 2]).abs() < 12) & ((columns - places[:, 3]).abs() < 2)
    masks = torch.where(bar, 2, disc.long())
    images = (masks > 0).float() + 0.3 * torch.randn(count, size, size, generator=generator)
    split = count * 5 // 6
    return (images[:split, None], masks[:split]), (images[split:, None], masks[split:])


def block(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution, normalised."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two levels with a connection across each; returns a mapping, as networks of torchvision do."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first, self.second, self.bottom = block(1, width), block(width, 2 * width), block(2 * width, 2 * width)
        self.up_second, self.up_first = block(4 * width, width), block(2 * width, width)
        self.down, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits of three classes per pixel."""
        first = self.first(images)
        second = self.second(self.down(first))
        bottom = self.bottom(self.down(second))
        second = self.up_second(torch.cat([second, self.up(bottom)], 1))
        return {"out": self.head(self.up_first(torch.cat([first, self.up(second)], 1)))}
