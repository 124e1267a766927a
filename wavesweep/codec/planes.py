"""The bands of a tensor as the coders see them: rows and columns, and what lies above them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from wavesweep.quantization.symbols import Symbols


@dataclass(frozen=True)
class Plane:
    """A subband as rows and columns: the first axis counts rows (output units), all others columns.

    `parent` is the position of the band of the next coarser level, or None, and `index_maps` say for each axis which
    index of the parent lies above.
    """

    shape: tuple[int, ...]
    parent: int | None = None
    index_maps: tuple[tuple[int, ...], ...] = ()

    @property
    def rows(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    @property
    def columns(self) -> int:
        """Product of the other axes."""
        return prod(self.shape[1:])

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Shape of the columns if they have two or more axes."""
        return self.shape[1:] if len(self.shape) > 2 else None

    def above(self, values: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """`values` of the parent band, shape of the parent, as seen from this band."""
        return values[np.ix_(*(np.asarray(index, np.int64) for index in self.index_maps))]


def total_size(planes: Sequence[Plane]) -> int:
    """Number of symbols of a tensor."""
    return sum(plane.rows * plane.columns for plane in planes)


def by_plane(symbols: Symbols, planes: Sequence[Plane]) -> list[Symbols]:
    """The flat symbols of a tensor as its bands."""
    edges = np.cumsum([plane.rows * plane.columns for plane in planes])[:-1]
    return [part.reshape(plane.shape) for part, plane in zip(np.split(symbols, edges), planes, strict=True)]


def planes_of(bands: Sequence[tuple[int, str, tuple[int, ...]]]) -> list[Plane]:
    """Planes of a tensor's bands, given their levels, orientations and shapes, coarse before fine."""
    planes: list[Plane] = []
    position: dict[tuple[int, str], int] = {}
    for index, (level, orientation, shape) in enumerate(bands):
        full = shape if shape else (1,)
        parent = position.get((level + 1, orientation), 0 if index else None)
        maps: tuple[tuple[int, ...], ...] = ()
        if parent is not None and len(planes[parent].shape) == len(full):
            maps = tuple(
                tuple(min(i if size == above else i // 2, above - 1) for i in range(size))
                for size, above in zip(full, planes[parent].shape, strict=True)
            )
        planes.append(Plane(full, parent if maps else None, maps))
        position[level, orientation] = index
    return planes
