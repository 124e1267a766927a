"""From a state dict and its coded tensors to all that a file holds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from wavesweep.codec.tensors import RawTensor, SameTensor, StoredTensor
from wavesweep.quantization.quantize import quantize_small
from wavesweep.quantization.symbols import CodedTensor, fits
from wavesweep.runtime.finite import is_storable, not_finite
from wavesweep.transform.basis import BasisSpec


def assemble(
    state: Mapping[str, Tensor], coded: Sequence[CodedTensor], same: Mapping[str, str], other: str, bits: int
) -> list[StoredTensor]:
    """One stored tensor per entry of `state`, in its order.

    Args:
        state: the network's state dict, on the CPU.
        coded: the tensors that are stored as coefficients.
        same: second name of a tied tensor to its first.
        other: how the other floating-point tensors are stored: float32, float16 or quantized.
        bits: for `quantized`.

    Raises:
        TrialError: a tensor is not finite.
    """
    by_name = {tensor.name: tensor for tensor in coded}
    stored: list[StoredTensor] = []
    stored_as: dict[str, str] = {}
    for name, value in state.items():
        # A state that was read from a file is sorted by name, so either of two tied names may come first in it.
        first = same.get(name, name)
        if first in stored_as:
            stored.append(SameTensor(name, stored_as[first]))
            continue
        stored_as[first] = name
        stored.append(
            replace(by_name[first], name=name) if first in by_name else other_tensor(name, value, other, bits)
        )
    return stored


def other_tensor(name: str, value: Tensor, other: str, bits: int) -> StoredTensor:
    """A tensor that is not pruned, stored as `other` says.

    Raises:
        TrialError: it is not finite.
    """
    dtype = str(value.dtype).removeprefix("torch.")
    if not value.is_floating_point():
        return RawTensor(name, value.numpy(), dtype)
    if not is_storable(value):
        raise not_finite(name)
    values = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    # A variance that becomes zero would blow up its normalisation, so these are never quantised; nor are tensors of
    # another type than float32, the one that coefficients decode to.
    small = value.dim() == 1 and value.numel() > 1 and value.dtype == torch.float32
    if other == "quantized" and small and not name.endswith("running_var"):
        symbols, steps = quantize_small(values.astype(np.float64), bits)
        return CodedTensor(name, tuple(values.shape), tuple(values.shape), BasisSpec("identity"), symbols, steps)
    # Where float16 does not hold the numbers, they stay as they are.
    if other != "float32" and dtype != "float16" and fits(values, np.float16):
        return RawTensor(name, values.astype(np.float16), dtype)
    return RawTensor(name, values, dtype)
