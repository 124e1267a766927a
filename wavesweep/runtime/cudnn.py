"""How cuDNN computes on an NVIDIA GPU; on other devices nothing of this has an effect."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def deterministic_convolutions() -> Iterator[None]:
    """Only algorithms of cuDNN that give the same bits each time, so that a training can be repeated."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


@contextmanager
def gradients_in_evaluation(model: nn.Module) -> Iterator[None]:
    """Gradients of a network in evaluation mode: cuDNN's recurrent layers have them in training mode alone."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = before and not any(isinstance(module, nn.RNNBase) for module in model.modules())
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before
