"""Layers that are not PyTorch's: of Hugging Face, and of a user's own."""

import torch
from torch import nn


class Conv1D(nn.Module):
    """As that of Hugging Face: a linear layer whose weight is (in, out)."""

    __module__ = "transformers.pytorch_utils"

    def __init__(self, outputs, inputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs):
        return inputs @ self.weight + self.bias


class Own(nn.Module):
    """A layer of a user's own, and what networks keep as bare parameters."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(40, 30))
        self.positions = nn.Parameter(torch.randn(1, 20, 30))
        self.token = nn.Parameter(torch.randn(1, 1, 30))
        self.scale = nn.Parameter(torch.randn(30))
        self.codes = nn.Parameter(torch.ones(4, 4, dtype=torch.int8), requires_grad=False)
