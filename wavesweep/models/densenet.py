"""Densely connected networks for CIFAR-sized images (Huang et al. 2017): DenseNet-BC."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Filters of a bottleneck's 1x1 convolution per filter that its layer adds.
_BOTTLENECK = 4


class _Layer(nn.Module):
    """A bottleneck layer: 1x1 and 3x3 convolution after normalisation and ReLU, put beside its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, _BOTTLENECK * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(_BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(_BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (n, inputs, h, w) to (n, inputs + growth, h, w)."""
        new = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat((x, new), 1)


def densenet_bc(depth: int, growth: int, channels: int, classes: int) -> nn.Module:
    """DenseNet-BC of 6n + 4 layers in three blocks, channels halved between them: (100, 12) has 0.77 M parameters."""
    layers_per_block = (depth - 4) // 6
    width = 2 * growth
    layers: dict[str, nn.Module] = {"conv1": nn.Conv2d(channels, width, 3, padding=1, bias=False)}
    for block in (1, 2, 3):
        for number in range(1, layers_per_block + 1):
            layers[f"block{block}_layer{number}"] = _Layer(width, growth)
            width += growth
        layers |= {f"bn{block}": nn.BatchNorm2d(width), f"relu{block}": nn.ReLU()}
        if block < 3:
            layers[f"transition{block}"] = nn.Conv2d(width, width // 2, 1, bias=False)
            layers[f"pool{block}"] = nn.AvgPool2d(2)
            width //= 2
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(width, classes)}
    model = nn.Sequential(OrderedDict(layers))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return model
