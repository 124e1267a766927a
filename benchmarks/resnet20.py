"""ResNet-20 for images of 32 x 32 pixels, with the names that public checkpoints of it use: 269,722 parameters.

He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2, with shortcuts that have no parameters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two convolutions around which the input goes on: at every other pixel, and with zeros for the new channels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.added = stride, (after - before) // 2

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(inputs)))))
        kept = F.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added, self.added))
        return F.relu(found + kept)


class ResNet20(nn.Module):
    """Three stages of three blocks, of 16, 32 and 64 channels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        found = F.relu(self.bn1(self.conv1(images)))
        found = self.layer3(self.layer2(self.layer1(found)))
        return self.linear(torch.mean(found, (2, 3)))


def build(classes: int = 10) -> nn.Module:
    """The network, not trained."""
    return ResNet20(classes)
