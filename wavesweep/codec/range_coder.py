"""Context-adaptive range coding of integer tensors.

Each symbol is coded as: is it zero, its sign, its magnitude. The chance of each bit is mixed from several contexts (its
row, its column, what lies nearby and above, ...), which learn over a whole stream (`kernel`). Small tensors share a
stream, so that they learn from each other; large ones have one each, so that processor cores share the work.
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from wavesweep.codec import kernel
from wavesweep.codec.compiled import CodeBand, compiled
from wavesweep.codec.planes import Plane, total_size
from wavesweep.codec.sizes import joined_sizes, read_sizes
from wavesweep.codec.tables import arithmetic, first_contexts
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import LARGEST, Symbols

# A stream ends with the tensor in which it comes to so many symbols.
_STREAM_SYMBOLS = 1 << 20
# Below so many symbols the compiled code would take longer to load than the plain one to run.
_FEW_SYMBOLS = 1 << 14
_PRECISION_BYTES = 7
_LARGEST_ABOVE = 255
# A larger grid is an image, of which neighbours in a row say enough.
_LARGEST_AREA = 64
Bands = Sequence[Symbols]


def encode(tensors: Sequence[tuple[Sequence[Plane], Bands]]) -> bytes:
    """Code the bands of tensors.

    Raises:
        ValueError: a symbol's magnitude is above `LARGEST`.
    """
    for _, bands in tensors:
        for band in bands:
            if max(-int(band.min(initial=0)), int(band.max(initial=0))) > LARGEST:
                raise ValueError("a symbol is too large")
    coded = _each_stream(_encode_stream, _streams(tensors, [total_size(planes) for planes, _ in tensors]))
    return joined_sizes([len(part) for part in coded[:-1]]) + b"".join(coded)


def decode(stream: bytes, tensors: Sequence[Sequence[Plane]]) -> list[list[Symbols]]:
    """Inverse of `encode`, given the planes.

    Raises:
        FileFormatError: the stream is not one that `encode` makes.
    """
    groups = _streams(tensors, [total_size(planes) for planes in tensors])
    sizes, start = read_sizes(stream, 0, max(len(groups) - 1, 0))
    if start + sum(sizes) > len(stream):
        raise FileFormatError("the coefficient stream is shorter than it declares")
    if not groups and stream:
        raise FileFormatError("the coefficient stream is longer than its tensors")
    ends = np.cumsum([start, *sizes, len(stream) - start - sum(sizes)])
    parts = [
        (group, stream[first:last]) for group, first, last in zip(groups, ends[:-1], ends[1:], strict=bool(groups))
    ]
    return [bands for group in _each_stream(_decode_stream, parts) for bands in group]


def significance_probabilities(planes: Sequence[Plane], symbols: Bands) -> list[npt.NDArray[np.int32]]:
    """Per band, with which chance (of 65,536) the model expects each symbol not to be zero, band's shape."""
    coding = _Coding(kernel.ENCODE, b"", _is_long(total_size(planes)))
    observed = [np.zeros(prod(plane.shape), np.int32) for plane in planes]
    coding.tensor(planes, symbols, observed)
    return [found.reshape(plane.shape) for found, plane in zip(observed, planes, strict=True)]


def _streams(tensors: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    groups: list[list[Any]] = []
    left = 0
    for tensor, size in zip(tensors, sizes, strict=True):
        if left <= 0:
            groups.append([])
            left = _STREAM_SYMBOLS
        groups[-1].append(tensor)
        left -= size
    return groups


def _each_stream(work: Callable[[Any], Any], groups: Sequence[Any]) -> list[Any]:
    if len(groups) < 2:
        return [work(group) for group in groups]
    compiled()  # once, not in each thread
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, groups))


def _encode_stream(tensors: Sequence[tuple[Sequence[Plane], Bands]]) -> bytes:
    number = sum(total_size(planes) for planes, _ in tensors)
    room = number + 4096
    while True:
        coding = _Coding(kernel.ENCODE, bytes(room), _is_long(number))
        for planes, bands in tensors:
            coding.tensor(planes, bands)
        if coding.coder[kernel.POSITION] <= room:
            return coding.finished()
        room = int(coding.coder[kernel.POSITION])


def _decode_stream(group: tuple[Sequence[Sequence[Plane]], bytes]) -> list[list[Symbols]]:
    tensors, stream = group
    coding = _Coding(kernel.DECODE, stream, _is_long(sum(map(total_size, tensors))))
    decoded = [coding.tensor(planes, None) for planes in tensors]
    if stream[int(coding.coder[kernel.POSITION]) :] != coding.tail():
        raise FileFormatError("the coefficient stream does not end with its tensors")
    return decoded


def _is_long(symbols: int) -> bool:
    return symbols > _FEW_SYMBOLS or "numba" in sys.modules


@dataclass
class _Band:
    """What the bands below one need of it."""

    symbols: Symbols
    chance: int
    row_chances: Any
    column_chances: Any


@dataclass
class _Coding:
    """A stream that is being coded: where it is, and what is learned over it."""

    mode: int
    given: bytes
    is_compiled: bool
    units: npt.NDArray[np.int64] | None = None
    coder: Any = field(init=False)

    def __post_init__(self) -> None:
        self._code_band: CodeBand = compiled() if self.is_compiled else kernel.code_band
        self._data = self._own(np.frombuffer(self.given, np.uint8).copy())
        self._arithmetic = tuple(self._own(part) for part in arithmetic())
        self._contexts = tuple(self._own(part) for part in first_contexts())
        self._inputs = self._own(np.zeros(kernel.INPUTS, np.int64))
        self.coder = np.zeros(kernel.STATE_SIZE, np.int64)
        self.coder[kernel.HIGH] = (1 << 8 * _PRECISION_BYTES) - 1
        self.coder[kernel.MODE] = self.mode
        if self.mode == kernel.DECODE:
            start = self.given[:_PRECISION_BYTES].ljust(_PRECISION_BYTES, b"\0")
            self.coder[kernel.VALUE] = int.from_bytes(start, "big")
        self.coder = self._own(self.coder)

    def tensor(
        self, planes: Sequence[Plane], truth: Bands | None, observed: Sequence[npt.NDArray[np.int32]] | None = None
    ) -> list[Symbols]:
        """Code a tensor; `truth` is None when decoding, and `observed` takes the chances of flags."""
        parents = {plane.parent for plane in planes}
        done: dict[int, _Band] = {}
        coded = []
        for index, plane in enumerate(planes):
            known = None if truth is None else truth[index]
            parent = None if plane.parent is None else done[plane.parent]
            taken = None if observed is None else observed[index]
            found = self._band(plane, known, parent, self._units_of(planes), taken)
            coded.append(found.symbols)
            if index in parents:
                done[index] = found
        self._learn_units(planes, coded)
        return coded

    def finished(self) -> bytes:
        """All that was encoded."""
        return bytes(self._data[: int(self.coder[kernel.POSITION])]) + self.tail()

    def tail(self) -> bytes:
        """The fewest bytes that, followed by zeros, lie within the interval."""
        low, high = int(self.coder[kernel.LOW]), int(self.coder[kernel.HIGH])
        for size in range(_PRECISION_BYTES + 1):
            shift = 8 * (_PRECISION_BYTES - size)
            value = -(-low >> shift)
            if value << shift <= high:
                return value.to_bytes(size, "big")
        raise AssertionError("the interval is empty")

    def _band(
        self,
        plane: Plane,
        truth: Symbols | None,
        parent: _Band | None,
        units: npt.NDArray[np.int64],
        observed: npt.NDArray[np.int32] | None,
    ) -> _Band:
        rows, columns, width, area = _arranged(plane)
        number = rows * columns
        symbols = np.zeros(number, np.int32) if truth is None else truth.astype(np.int32).reshape(-1)
        state = np.array([kernel.HALF, 0, 16, 0], np.int64)
        row_chances, column_chances = np.full(rows, -1, np.int32), np.full(columns, -1, np.int32)
        above = np.zeros(0, np.uint8)
        if parent is not None:
            state[kernel.BAND_CHANCE], state[kernel.BAND_SEEN] = parent.chance, 4
            above = _capped(plane.above(parent.symbols)).reshape(-1)
            if parent.row_chances is not None and rows == plane.rows:
                row_map, *column_maps = (np.asarray(index, np.int64) for index in plane.index_maps)
                row_chances[:] = parent.row_chances[row_map]
                if column_maps:
                    column_chances[:] = parent.column_chances[np.ix_(*column_maps)].reshape(-1)
        arrays: list[npt.NDArray[Any]] = [
            symbols,
            above,
            row_chances,
            column_chances,
            np.zeros(columns, np.uint8),
            np.zeros(columns, np.int32),
            np.zeros(columns, np.uint8),
            np.full(columns, kernel.HALF, np.int32),
            np.zeros(columns, np.uint8),
            units if len(units) == columns else units[:0],
            state,
        ]
        own: list[Any] = [self._own(part) for part in arrays]
        given = np.zeros(0, np.int32) if observed is None else observed
        taken = self._own(given)
        failed = self._code_band(
            *own[:2], rows, columns, width, area, *own[2:], *self._contexts, *self._arithmetic, self._inputs,
            self.coder, self._data, taken,
        )  # fmt: skip
        if failed:
            raise FileFormatError("the coefficient stream ends too early, or holds too large a symbol")
        if observed is not None:
            observed[:] = taken
        symbols, row_chances, column_chances = (np.asarray(own[part], np.int32) for part in (0, 2, 3))
        plain = rows == plane.rows
        return _Band(
            symbols.reshape(plane.shape),
            int(own[-1][kernel.BAND_CHANCE]),
            row_chances if plain else None,
            column_chances.reshape(plane.shape[1:]) if plain else None,
        )

    def _units_of(self, planes: Sequence[Plane]) -> npt.NDArray[np.int64]:
        """The activity of the unit that feeds each column of a tensor, 0 to 7; nothing where that is not known."""
        columns, units = planes[0].columns, self.units
        if units is None or len(planes) > 1 or columns < 2 or columns % len(units):
            return np.zeros(0, np.int64)
        return np.repeat(units, columns // len(units))

    def _learn_units(self, planes: Sequence[Plane], coded: Sequence[Symbols]) -> None:
        plane = planes[0]
        if len(planes) > 1 or plane.rows < 2 or plane.columns < 2:
            return
        active = np.count_nonzero(coded[0].reshape(plane.rows, -1), axis=1).astype(np.int64)
        share = 1 + 3 * active * plane.rows // max(int(active.sum()), 1)
        self.units = np.where(active == 0, 0, np.minimum(share, 7))

    def _own(self, values: npt.NDArray[Any]) -> Any:
        """An array as the loop takes it: plain lists are much faster where it is not compiled."""
        return np.ascontiguousarray(values) if self.is_compiled else values.tolist()


def _arranged(plane: Plane) -> tuple[int, int, int, int]:
    """Rows, columns, and width and area of the grid of a plane; a single row, which could not learn, as many."""
    grid = plane.shape[2:] if len(plane.shape) > 2 else (1,)
    area, width = prod(grid), grid[-1]
    if area > _LARGEST_AREA or area == 0:
        area = width = 1
    rows, columns = plane.rows, plane.columns
    if rows == 1 and columns > area:
        rows, columns = columns // area, area
    return rows, columns, width, area


def _capped(symbols: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    capped: npt.NDArray[np.uint8] = np.minimum(np.abs(symbols), _LARGEST_ABOVE).astype(np.uint8)
    return capped
