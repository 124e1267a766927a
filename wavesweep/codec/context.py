"""What the range coder's model knows of a symbol before it is coded: integer arithmetic only.

Encoder and decoder must compute the very same probabilities on any machine, so everything here is exact: integer
counts, integer logarithms from tables, no floating-point sums whose order a library may choose. Symbols are coded
in batches that grow geometrically, each a sub-grid of rows and columns; all contexts of a batch come from the
batches before it, so a batch is one vectorised call and the number of batches grows with the logarithm of the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from wavesweep.quantization.symbols import Prior, Symbols

Ints = npt.NDArray[np.int64]
# What a coder decodes of a tensor: the symbols of its bands, and the priors of these where the stream has any.
Decoded = tuple[list[Symbols], tuple[Prior, ...] | None]

# Probabilities are numbers of 65,536ths; log-odds are in 256ths of a nat.
ONE = 1 << 16
_LOG_UNIT = 256
_LOG_LIMIT = 3071
_centres = (np.arange(ONE) + 0.5) / ONE
LOG_ODDS: Ints = np.rint(np.log(_centres / (1 - _centres)) * _LOG_UNIT).astype(np.int64)
_odds = np.arange(-_LOG_LIMIT, _LOG_LIMIT + 1) / _LOG_UNIT
PROBABILITY: Ints = np.clip(np.rint(ONE / (1 + np.exp(-_odds))), 4, ONE - 4).astype(np.int64)

# Weight, in symbols, of what is known beforehand against a row's, a column's and a context's own counts.
_ROW_PRIOR, _COLUMN_PRIOR, _GRID_PRIOR, _CONTEXT_PRIOR = 12, 6, 8, 24
# Further weight of what is known beforehand of rows, and of columns on a grid, in 64ths of a symbol that is not zero:
# counts of symbols alone weigh too little where hardly any is.
_ROW_EVENTS, _GRID_EVENTS = 16, 64
# Batches grow by half up to so many symbols, otherwise they double.
_FIRST_BATCH, _FINE_SIZE = 2, 1 << 19
# Weight, in symbols that are not zero (or, if these are rarer, that are), of a band's stored prior.
_BAND_PRIOR = 2
# Contexts of significance: 48 steps of log-odds by three magnitudes of the parent.
_CONTEXT_STEP, _CONTEXTS = 128, 48
PARENT_CLASSES = 3

# By a sum of three log-odds, of which each is below the limit, plus `_WIDE`: the probability, its share in that of a
# context, and the context. Small batches are many, so that a table is much faster than the arithmetic.
_WIDE = 3 * _LOG_LIMIT
_sums = np.arange(-_WIDE, _WIDE + 1)
_PROBABILITY_OF: Ints = PROBABILITY[np.clip(_sums, -_LOG_LIMIT, _LOG_LIMIT) + _LOG_LIMIT]
_EXPECTED_OF: Ints = _CONTEXT_PRIOR * _PROBABILITY_OF
_CONTEXT_OF: Ints = PARENT_CLASSES * np.clip(_sums // _CONTEXT_STEP + _CONTEXTS // 2, 0, _CONTEXTS - 1)


@dataclass(frozen=True)
class Plane:
    """A subband as rows and columns: the first axis counts rows (output units), all others columns.

    `grid` is the shape (..., height, width) of the columns where they lie on a grid, so that neighbours are alike.
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
        return int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Shape of the columns if they have two or more axes."""
        return self.shape[1:] if len(self.shape) > 2 else None

    def above(self, values: Ints) -> Ints:
        """`values` of the parent band, shape of the parent, as seen from this band: (rows, columns)."""
        found: Ints = values[np.ix_(*(np.asarray(index, np.int64) for index in self.index_maps))]
        return found.reshape(self.rows, self.columns)


@dataclass
class Odds:
    """How much likelier than the band's average a row's or a column's symbols are to be significant (log-odds)."""

    rows: Ints
    columns: Ints


@dataclass
class Tables:
    """Counts that are learned over all bands and tensors of a file."""

    ones: Ints = field(default_factory=lambda: np.zeros(_CONTEXTS * PARENT_CLASSES, np.int64))
    seen: Ints = field(default_factory=lambda: np.zeros(_CONTEXTS * PARENT_CLASSES, np.int64))


@dataclass(frozen=True)
class Batch:
    """Row and column indices of symbols that are coded together; `where` selects them in an array (rows, columns)."""

    rows: Ints
    columns: Ints

    @property
    def where(self) -> tuple[Ints, Ints]:
        """As `np.ix_`, but many times faster."""
        return self.rows[:, None], self.columns


@lru_cache(maxsize=256)
def batches(rows: int, columns: int) -> tuple[Batch, ...]:
    """All batches in their order; together they cover every symbol once."""
    row_order, column_order = spread(rows), spread(columns)
    halves = 1 if rows * columns <= _FINE_SIZE else 2
    row_edges, column_edges = (growing(count, _FIRST_BATCH, halves) for count in (rows, columns))
    steps = [(max(i, j), i, j) for i in range(len(row_edges) - 1) for j in range(len(column_edges) - 1)]
    return tuple(
        Batch(row_order[row_edges[i] : row_edges[i + 1]], column_order[column_edges[j] : column_edges[j + 1]])
        for _, i, j in sorted(steps)
    )


@lru_cache(maxsize=256)
def spread(count: int) -> Ints:
    """All indices below `count`, in an order whose every beginning is spread evenly (multiples of the golden ratio)."""
    # 2654435769 / 2**32 is the golden ratio's fraction (Knuth, vol. 3, 6.4); integers, so that all machines agree.
    keys = (np.arange(count, dtype=np.uint64) * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)
    return np.argsort(keys, kind="stable").astype(np.int64)


def growing(count: int, first: int, halves: int) -> list[int]:
    """Edges 0, `first`, ... up to `count`, each larger than the one before by that number of halves of it."""
    edges = [0]
    while edges[-1] < count:
        edges.append(min(count, max(edges[-1] + edges[-1] * halves // 2, first)))
    return edges


class Significance:
    """Probability that a symbol of one band is not zero, from the batches coded so far."""

    def __init__(
        self,
        plane: Plane,
        tables: Tables,
        parent_odds: Odds | None,
        parent_magnitudes: Ints | None,
        prior_odds: int | None = None,
    ) -> None:
        rows, columns = plane.rows, plane.columns
        self._plane, self._tables, self._rows = plane, tables, rows
        # Rows, and behind them columns, so that one operation is for both.
        self._each_ones, self._each_seen = np.zeros(rows + columns, np.int64), np.zeros(rows + columns, np.int64)
        self._weight = np.repeat(np.array([_ROW_PRIOR, _COLUMN_PRIOR]), [rows, columns])
        self._ones, self._seen = (1, 2) if prior_odds is None else _as_counts(prior_odds)
        # Log-odds against the band's, plus `_WIDE`.
        self._prior = np.full(rows + columns, _WIDE, np.int64)
        if parent_odds is not None:
            row_map, *column_maps = (np.asarray(index, np.int64) for index in plane.index_maps)
            self._prior[:rows] += parent_odds.rows[row_map]
            if column_maps:
                self._prior[rows:] += parent_odds.columns[np.ix_(*column_maps)].reshape(-1)
        self._parent: Ints | None = None
        if parent_magnitudes is not None:
            self._parent = np.minimum(plane.above(parent_magnitudes), PARENT_CLASSES - 1)

    def probabilities(self, batch: Batch) -> tuple[Ints, Ints]:
        """Probabilities (in 65,536ths) of a batch, shape (rows, columns), and the contexts to update with."""
        band, odds = self._odds()
        of_columns = odds.take(batch.columns + self._rows) + (_WIDE - band)
        total = odds.take(batch.rows)[:, None] + of_columns
        context = _CONTEXT_OF.take(total)
        if self._parent is not None:
            context += self._parent[batch.where]
        ones, seen = self._tables.ones.take(context), self._tables.seen.take(context)
        mixed = (ones * ONE + _EXPECTED_OF.take(total)) // (seen + _CONTEXT_PRIOR)
        return np.minimum(np.maximum(mixed, 4), ONE - 4), context

    def update(self, batch: Batch, context: Ints, significant: Ints) -> None:
        """Learn a batch that has been coded; `significant` is 0 or 1, shape (rows, columns)."""
        size = len(self._tables.ones)
        zeros, ones = np.bincount((2 * context + significant).reshape(-1), minlength=2 * size).reshape(size, 2).T
        self._tables.seen += zeros + ones
        self._tables.ones += ones
        rows, columns = batch.rows, batch.columns + self._rows
        in_rows = np.add.reduce(significant, 1)
        self._each_ones[rows] += in_rows
        self._each_seen[rows] += len(columns)
        self._each_ones[columns] += np.add.reduce(significant, 0)
        self._each_seen[columns] += len(rows)
        self._ones += int(np.add.reduce(in_rows))
        self._seen += significant.size

    def learned(self) -> Odds:
        """Log-odds of rows and columns against the band's average, for the bands below this one."""
        band, odds = self._odds()
        rows, columns = odds[: self._rows], odds[self._rows :]
        return Odds(rows - band, (columns - band).reshape(self._plane.shape[1:]))

    def _odds(self) -> tuple[int, Ints]:
        """Log-odds of the band, and of its rows and columns."""
        band = int(LOG_ODDS[self._ones * ONE // self._seen])
        prior, weight, rows = _PROBABILITY_OF.take(self._prior + band), self._weight.copy(), self._rows
        weight[:rows] += _events(_ROW_EVENTS, prior[:rows])
        if self._plane.grid is not None:
            ones = _neighbour_sums(self._each_ones[rows:].reshape(self._plane.grid))
            seen = _neighbour_sums(self._each_seen[rows:].reshape(self._plane.grid))
            of_grid = _GRID_PRIOR + _events(_GRID_EVENTS, prior[rows:])
            prior[rows:] = (ones * ONE + of_grid * prior[rows:]) // (seen + of_grid)
        # Below ONE, since every prior is.
        return band, LOG_ODDS.take((self._each_ones * ONE + weight * prior) // (self._each_seen + weight))


def _events(events: int, probability: Ints) -> Ints:
    """Weight in symbols of 64ths of a symbol that is not zero, of which one in 1 / `probability` is one."""
    return events * (ONE >> 6) // probability


def _as_counts(odds: int) -> tuple[int, int]:
    """Symbols that are not zero, and symbols, that weigh as much as a prior of those log-odds."""
    share = int(PROBABILITY[max(-_LOG_LIMIT, min(odds, _LOG_LIMIT)) + _LOG_LIMIT])
    seen = _BAND_PRIOR * ONE // min(share, ONE - share)
    return max(1, min((seen * share + ONE // 2) // ONE, seen - 1)), seen


def _neighbour_sums(grid: Ints) -> Ints:
    """Sum over the four neighbours on the last two axes, flat."""
    total = np.zeros_like(grid)
    total[..., 1:, :] += grid[..., :-1, :]
    total[..., :-1, :] += grid[..., 1:, :]
    total[..., 1:] += grid[..., :-1]
    total[..., :-1] += grid[..., 1:]
    return total.reshape(-1)


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
