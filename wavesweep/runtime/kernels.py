"""How PyTorch computes: the algorithms of cuDNN, fused attention, the memory format of images."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel


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


@contextmanager
def without_fused_attention() -> Iterator[None]:
    """Call each layer of a transformer: the fused kernels of PyTorch call none, so that nothing in them is seen."""
    was_enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(was_enabled)


def memory_format_of(tensor: Tensor) -> torch.memory_format:
    """`torch.channels_last` if the strides are those, else `torch.contiguous_format`.

    `Tensor.is_contiguous` says that a tensor of one channel, or of one pixel, has both formats; operations go by the
    strides.
    """
    last = torch.channels_last
    if tensor.dim() != 4 or tensor.stride() != torch.empty(tensor.shape, device="meta", memory_format=last).stride():
        return torch.contiguous_format
    return last
