"""Cutting the tensors of a file: the symbols of the units that are left, as they were coded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from wavesweep.codec.assemble import other_tensor
from wavesweep.codec.tensors import RawTensor, StoredTensor, state_dict
from wavesweep.quantization.symbols import CodedTensor, Values
from wavesweep.shrink.graph import Indices
from wavesweep.shrink.units import Shrunk, shrink
from wavesweep.transform.basis import make_basis

# Quantised biases that took up constants have so many bits at least: they were quantised once already, and are to add
# nothing to that error. Outputs differ by some 1e-4 from those of the zeroed network, about as with float16.
FOLDED_BITS = 12


@dataclass(frozen=True)
class ShrunkFile:
    """What a file holds of a network without its superfluous units.

    `tensors` are its tensors, `full_shapes` those of tensors that were cut, `zeroed` the state dict of the network
    of full size, `shrunk` what was removed and what not.
    """

    tensors: list[StoredTensor]
    full_shapes: dict[str, list[int]]
    zeroed: dict[str, Tensor]
    shrunk: Shrunk


def shrink_stored(
    tensors: Sequence[StoredTensor], model: nn.Module, input_shape: Sequence[int], other: str, bits: int
) -> ShrunkFile:
    """Remove superfluous units from the tensors of a file.

    Args:
        tensors: those of the network of full size.
        model: that network.
        input_shape: of one image.
        other: how biases that take up a constant are stored: float32, float16 or quantized.
        bits: for `quantized`.
    """
    zeroed = state_dict(tensors)
    locked = {tensor.name: _locked(tensor) for tensor in tensors if isinstance(tensor, CodedTensor)}
    found = shrink(model, zeroed, input_shape, locked)
    small = []
    for tensor in tensors:
        if tensor.name in found.folded:
            small.append(other_tensor(tensor.name, found.state[tensor.name], other, max(bits, FOLDED_BITS)))
        else:
            small.append(_cut(tensor, found.kept.get(tensor.name, {})))
    full_shapes = {name: list(zeroed[name].shape) for name in found.kept}
    return ShrunkFile(small, full_shapes, zeroed, found)


def _locked(tensor: CodedTensor) -> Mapping[int, str]:
    """The axes that cannot be cut, because the coefficients mix what lies along them."""
    basis, view, shape = tensor.basis, tensor.view, tensor.shape
    if basis.kind == "identity":
        return {}
    mixed = {axis for at, axis in enumerate(basis.axes) if basis.kind != "wavelet" or basis.levels[at]}
    free = {0} if view[0] == shape[0] else set()
    if view == shape:
        free.add(1)
    reason = f"is mixed with others in the coefficients of {tensor.name} ({basis.kind})"
    return {axis: reason for axis in (0, 1) if axis in mixed or axis not in free}


def _cut(tensor: StoredTensor, kept: Mapping[int, Indices]) -> StoredTensor:
    if not kept:
        return tensor
    if isinstance(tensor, RawTensor):
        return replace(tensor, values=_take(tensor.values, kept))
    assert isinstance(tensor, CodedTensor)  # tied tensors are never cut
    shape = tuple(len(kept[axis]) if axis in kept else size for axis, size in enumerate(tensor.shape))
    if tensor.basis.kind == "identity":
        numbers = np.arange(prod(tensor.shape)).reshape(tensor.shape)
        positions = _take(numbers, kept).reshape(-1)
    else:
        bands = make_basis(tensor.basis, tensor.view).bands
        count = sum(prod(band.shape) for band in bands)
        parts = [_take(np.arange(count)[band.slice].reshape(band.shape), kept).reshape(-1) for band in bands]
        positions = np.concatenate(parts)
    rule, symbols = tensor.reconstruction, tensor.symbols[positions]
    if isinstance(rule, Values):
        number_of = np.cumsum(tensor.symbols != 0) - 1
        rule = Values(rule.values[number_of[positions[symbols != 0]]])
    view = _view(tensor, shape, kept)
    return CodedTensor(tensor.name, shape, view, tensor.basis, symbols, rule)


def _view(tensor: CodedTensor, shape: tuple[int, ...], kept: Mapping[int, Indices]) -> tuple[int, ...]:
    if tensor.view[0] == tensor.shape[0] and 1 not in kept:
        return (shape[0], *tensor.view[1:])
    return (prod(shape),) if len(tensor.view) == 1 else shape


def _take(values: npt.NDArray[np.generic], kept: Mapping[int, Indices]) -> npt.NDArray[np.generic]:
    for axis, left in kept.items():
        values = values.take(left, axis)
    return values
