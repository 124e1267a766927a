"""What a compressed file holds: tensors as quantised coefficients, as raw numbers, or as another tensor's name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wavesweep.quantization.symbols import CodedTensor


@dataclass(frozen=True)
class RawTensor:
    """Numbers as they are, stored as `values.dtype` and given back as `dtype` (torch's name, such as float32)."""

    name: str
    values: npt.NDArray[np.generic]
    dtype: str


@dataclass(frozen=True)
class SameTensor:
    """A second name of the tensor `of`, as for tied weights."""

    name: str
    of: str


StoredTensor = CodedTensor | RawTensor | SameTensor


def state_dict(tensors: Sequence[StoredTensor]) -> dict[str, Tensor]:
    """Names and decoded tensors, in the file's order."""
    state: dict[str, Tensor] = {}
    for tensor in tensors:
        if isinstance(tensor, CodedTensor):
            state[tensor.name] = tensor.weight()
        elif isinstance(tensor, RawTensor):
            state[tensor.name] = torch.from_numpy(np.array(tensor.values)).to(getattr(torch, tensor.dtype))
        else:
            state[tensor.name] = state[tensor.of]
    return state
