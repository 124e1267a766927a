"""Residual networks for CIFAR-sized images (He et al. 2016, section 4.2)."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A: subsample, pad with zero channels)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        # Not the numbers of channels from the start: units may have been removed since.
        extra = out.shape[1] - x.shape[1]
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, extra))
        return F.relu(out + shortcut)


def cifar_resnet(depth: int, channels: int, classes: int) -> nn.Module:
    """ResNet of 6n + 2 layers with 16, 32 and 64 filters: depth 20 has 0.27 M parameters, 56 has 0.85 M."""
    blocks_per_stage = (depth - 2) // 6
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(16),
        "relu": nn.ReLU(),
    }
    inputs = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(blocks_per_stage):
            layers[f"stage{stage + 1}_block{block + 1}"] = _Block(inputs, outputs, 2 if stage and not block else 1)
            inputs = outputs
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(64, classes)}
    model = nn.Sequential(OrderedDict(layers))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model
