"""How the numbers of an image-like tensor lie in memory: channels first, as PyTorch makes it, or last."""

import torch
from torch import Tensor


def memory_format_of(tensor: Tensor) -> torch.memory_format:
    """`torch.channels_last` if the strides are those, else `torch.contiguous_format`.

    `Tensor.is_contiguous` says that a tensor of one channel, or of one pixel, has both formats; operations go by the
    strides.
    """
    last = torch.channels_last
    if tensor.dim() != 4 or tensor.stride() != torch.empty(tensor.shape, device="meta", memory_format=last).stride():
        return torch.contiguous_format
    return last
