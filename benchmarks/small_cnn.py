"""A small convolutional network for images of 32 x 32 pixels: 90,154 parameters."""

from torch import nn


def build(classes: int = 10) -> nn.Module:
    """Three convolutions, each halved by pooling, and a linear layer."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 96)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 4 * 4, classes))
