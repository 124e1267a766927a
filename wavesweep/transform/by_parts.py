"""Synthesis of large tensors part by part, as decoding does it: the same numbers, in a fraction of the memory.

Coefficients are 8 bytes each in float64, their synthesis takes several times that, and a file may hold a few bits of
each. So what is coded is turned into float64 only where it is needed next, along the longest axis.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import pywt
import torch
from torch import Tensor

from wavesweep.transform.dwt import band_rows, join_axis, join_extended

# Numbers that are synthesised at a time.
PART = 1 << 19


class BandReader(Protocol):
    """Where coefficients come from."""

    def __call__(self, band: int, axis: int, rows: Tensor) -> Tensor:
        """Coefficients of the band of that number in float64: these rows of an axis, and all of the other axes."""


@dataclass(frozen=True)
class Level:
    """One level of a transform: the axes that it splits, and the sizes of what it splits and of each band."""

    axes: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of coefficients of its bands, the approximation among them."""
        return prod(self.after) << len(self.axes)


def read_by_parts(read: BandReader, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """The coefficients of a basis of one band of that shape."""
    signal = torch.empty(tuple(shape), dtype=dtype)
    for rows, axis in _parts(shape):
        signal.narrow(axis, rows.start, len(rows)).copy_(read(0, axis, torch.arange(rows.start, rows.stop)))
    return signal


def wavelet_by_parts(read: BandReader, wavelet: pywt.Wavelet, mode: str, levels: Sequence[Level]) -> Tensor:
    """The signal of a wavelet's coefficients, float32: each number is the same as in one piece, sums in their order.

    Args:
        read: gives coefficients; bands are numbered as in `wavelet_basis`.
        wavelet: of the filters.
        mode: how axes go on beyond their ends.
        levels: from the finest on.
    """
    whole = levels[-1].after
    signal = read(0, 0, torch.arange(whole[0]))
    first = 1
    for level in reversed(levels):
        joined = torch.empty(level.before, dtype=torch.float32 if level is levels[0] else torch.float64)
        for rows, axis in _parts(level.before):
            part = _joined(_bands(read, signal, first), level, wavelet, mode, axis, rows)
            joined.narrow(axis, rows.start, len(rows)).copy_(part)
        signal, first = joined, first + (1 << len(level.axes)) - 1
    return signal


def _bands(read: BandReader, signal: Tensor, first: int) -> Callable[[int, int, Tensor], Tensor]:
    """The bands of a level by their number in it: the approximation is there, the details are read."""

    def rows_of(number: int, axis: int, rows: Tensor) -> Tensor:
        return read(first + number - 1, axis, rows) if number else signal.index_select(axis, rows)

    return rows_of


def _joined(
    band: Callable[[int, int, Tensor], Tensor],
    level: Level,
    wavelet: pywt.Wavelet,
    mode: str,
    axis: int,
    rows: range,
) -> Tensor:
    """These rows of the level's signal along an axis."""
    sizes, is_joined = list(level.after), axis in level.axes
    index, pairs = torch.arange(rows.start, rows.stop), 0
    if is_joined:
        pairs = (len(rows) + 1) // 2
        index = band_rows(wavelet, mode, level.after[axis], rows.start // 2, pairs)
    part = torch.stack([band(number, axis, index) for number in range(1 << len(level.axes))])
    sizes[axis] = len(index)
    for number, joined in reversed(list(enumerate(level.axes))):
        rest = prod(sizes[:joined]), sizes[joined], prod(sizes[joined + 1 :])
        part = part.reshape(2**number, 2, *rest)
        if joined == axis:
            part = join_extended(part, pairs, wavelet, mode)[:, :, : len(rows)]
            sizes[joined] = len(rows)
        else:
            part = join_axis(part, wavelet, mode, level.before[joined])
            sizes[joined] = level.before[joined]
    return part.reshape(sizes)


def _parts(shape: Sequence[int]) -> Iterator[tuple[range, int]]:
    """Rows of the longest axis, an even number at a time, and that axis."""
    axis = max(range(len(shape)), key=shape.__getitem__)
    length = shape[axis]
    step = max(2, PART // max(1, prod(shape) // max(1, length)) // 2 * 2)
    for start in range(0, length, step):
        yield range(start, min(length, start + step)), axis
