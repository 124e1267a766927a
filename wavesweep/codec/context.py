"""What the range coder's model knows of a symbol before it is coded: integer arithmetic only.

Encoder and decoder must compute the very same probabilities on any machine, so everything here is exact: integer
counts, integer logarithms from tables, no floating-point sums whose order a library may choose. Symbols are coded
in batches that grow geometrically, each a sub-grid of rows and columns; all contexts of a batch come from the
batches before it, so a batch is one vectorised call and the number of batches grows with the logarithm of the size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

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
# Orders of more indices are not kept for the next band of that size; and numbers of which all is computed at once.
_KEPT, _PIECE = 1 << 16, 1 << 18
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

    def pieces(self) -> Iterator[tuple[slice, slice]]:
        """Rows, or columns of one row, in pieces that follow each other, so that what is computed of one is little."""
        step = max(1, _PIECE // len(self.columns))
        for start in range(0, len(self.rows), step):
            for first in range(0, len(self.columns), _PIECE):
                yield slice(start, start + step), slice(first, first + _PIECE)


def batches(rows: int, columns: int) -> Sequence[Batch]:
    """All batches in their order; together they cover every symbol once."""
    return _kept_batches(rows, columns) if rows + columns <= _KEPT else _batches(rows, columns)


@lru_cache(maxsize=256)
def _kept_batches(rows: int, columns: int) -> Sequence[Batch]:
    return _batches(rows, columns)


def _batches(rows: int, columns: int) -> Sequence[Batch]:
    row_order, column_order = spread(rows), spread(columns)
    halves = 1 if rows * columns <= _FINE_SIZE else 2
    row_edges, column_edges = (growing(count, _FIRST_BATCH, halves) for count in (rows, columns))
    steps = [(max(i, j), i, j) for i in range(len(row_edges) - 1) for j in range(len(column_edges) - 1)]
    return tuple(
        Batch(row_order[row_edges[i] : row_edges[i + 1]], column_order[column_edges[j] : column_edges[j + 1]])
        for _, i, j in sorted(steps)
    )


def spread(count: int) -> Ints:
    """All indices below `count`, in an order whose every beginning is spread evenly (multiples of the golden ratio)."""
    return _kept_spread(count) if count <= _KEPT else _spread(count)


@lru_cache(maxsize=256)
def _kept_spread(count: int) -> Ints:
    return _spread(count)


def _spread(count: int) -> Ints:
    # 2654435769 / 2**32 is the golden ratio's fraction (Knuth, vol. 3, 6.4); integers, so that all machines agree.
    keys = np.arange(count, dtype=np.uint64)
    keys |= (keys * np.uint64(2654435769)) << np.uint64(32)
    keys.sort()  # with the indices in their lower halves: much faster than argsort
    keys &= np.uint64(0xFFFFFFFF)
    return keys.view(np.int64)


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
        # Rows, and behind them columns, so that one operation is for both. Columns on a grid have a frame of zeros, so
        # that all have four neighbours.
        self._width = plane.grid[-1] + 2 if plane.grid else 0
        self._places = _framed(plane.grid) + rows if plane.grid else np.arange(rows, rows + columns)
        count = int(self._places[-1]) + self._width + 2 if columns else rows
        self._ones_of, self._seen_of = np.zeros(count, np.int32), np.zeros(count, np.int32)
        self._ones, self._seen = (1, 2) if prior_odds is None else _as_counts(prior_odds)
        # Log-odds against the band's, plus `_WIDE`.
        self._prior = np.full(rows + columns, _WIDE, np.int16)
        if parent_odds is not None:
            row_map, *column_maps = (np.asarray(index, np.int64) for index in plane.index_maps)
            self._prior[:rows] += parent_odds.rows[row_map]
            if column_maps:
                self._prior[rows:] += parent_odds.columns[np.ix_(*column_maps)].reshape(-1)
        self._parent: npt.NDArray[np.int8] | None = None
        if parent_magnitudes is not None:
            self._parent = np.minimum(plane.above(parent_magnitudes), PARENT_CLASSES - 1).astype(np.int8)

    def code(self, batch: Batch, code_flags: Callable[[Batch, Ints], Ints]) -> None:
        """Code whether the symbols of a batch are zero, and learn from it.

        `code_flags` takes a piece of the batch and its probabilities (in 65,536ths), and gives back zeros and ones,
        both of shape (rows, columns).
        """
        # All of a batch is expected from the batches before it, so what its pieces teach is learned at its end.
        band, of_rows, of_columns = self._odds(batch.rows, batch.columns)
        of_columns += _WIDE - band
        size = len(self._tables.ones)
        counted, in_columns = np.zeros(2 * size, np.int64), np.zeros(len(batch.columns), np.int64)
        for some_rows, some_columns in batch.pieces():
            piece = Batch(batch.rows[some_rows], batch.columns[some_columns])
            total = of_rows[some_rows, None] + of_columns[some_columns]
            context = _CONTEXT_OF.take(total)
            if self._parent is not None:
                context += self._parent[piece.where]
            ones, seen = self._tables.ones.take(context), self._tables.seen.take(context)
            mixed = (ones * ONE + _EXPECTED_OF.take(total)) // (seen + _CONTEXT_PRIOR)
            flags = code_flags(piece, np.minimum(np.maximum(mixed, 4), ONE - 4))
            counted += np.bincount((2 * context + flags).reshape(-1), minlength=2 * size)
            self._ones_of[piece.rows] += np.add.reduce(flags, 1)
            in_columns[some_columns] += np.add.reduce(flags, 0)
        self._seen_of[batch.rows] += len(batch.columns)
        places = self._places[batch.columns]
        self._ones_of[places] += in_columns
        self._seen_of[places] += len(batch.rows)
        zeros, ones = counted.reshape(size, 2).T
        self._tables.seen += zeros + ones
        self._tables.ones += ones
        self._ones += int(np.add.reduce(in_columns))
        self._seen += len(batch.rows) * len(batch.columns)

    def learned(self) -> Odds:
        """Log-odds of rows and columns against the band's average, for the bands below this one."""
        band, of_rows, of_columns = self._odds(np.arange(self._rows), np.arange(len(self._places)))
        return Odds(of_rows - band, (of_columns - band).reshape(self._plane.shape[1:]))

    def _odds(self, rows: Ints, columns: Ints) -> tuple[int, Ints, Ints]:
        """Log-odds of the band, of these rows, and of these columns."""
        band = int(LOG_ODDS[self._ones * ONE // self._seen])
        if len(rows) + len(columns) <= _PIECE:
            return band, *self._odds_against(band, rows, columns)
        nothing = rows[:0]
        of_rows = [self._odds_against(band, part, nothing)[0] for part in _parts(rows)]
        of_columns = [self._odds_against(band, nothing, part)[1] for part in _parts(columns)]
        return band, np.concatenate(of_rows), np.concatenate(of_columns)

    def _odds_against(self, band: int, rows: Ints, columns: Ints) -> tuple[Ints, Ints]:
        of_both = np.concatenate([rows, columns + self._rows])
        places = np.concatenate([rows, self._places[columns]])
        count = len(rows)
        prior = _PROBABILITY_OF.take(self._prior.take(of_both) + np.int64(band))
        weight = np.full(len(places), _COLUMN_PRIOR, np.int64)
        weight[:count] = _ROW_PRIOR + _events(_ROW_EVENTS, prior[:count])
        if self._width:
            ones = self._neighbours(self._ones_of, places[count:])
            seen = self._neighbours(self._seen_of, places[count:])
            of_grid = _GRID_PRIOR + _events(_GRID_EVENTS, prior[count:])
            prior[count:] = (ones * ONE + of_grid * prior[count:]) // (seen + of_grid)
        # Below ONE, since every prior is.
        ones, seen = (counts.take(places).astype(np.int64) for counts in (self._ones_of, self._seen_of))
        odds = LOG_ODDS.take((ones * ONE + weight * prior) // (seen + weight))
        return odds[:count], odds[count:]

    def _neighbours(self, counts: npt.NDArray[np.int32], places: Ints) -> Ints:
        """Sum over the four neighbours on the last two axes."""
        steps = (-self._width, self._width, -1, 1)
        total = np.zeros(len(places), np.int64)
        for step in steps:
            total += counts.take(places + step)
        return total


def _parts(indices: Ints) -> list[Ints]:
    return [indices[start : start + _PIECE] for start in range(0, len(indices), _PIECE)] or [indices]


def _framed(grid: tuple[int, ...]) -> Ints:
    """Where the cells of a grid lie, flat, once its last two axes have a frame; behind one more row for the first."""
    *outer, height, width = grid
    planes = np.arange(prod(outer))[:, None, None] * ((height + 2) * (width + 2))
    inside = (np.arange(1, height + 1) * (width + 2))[:, None] + np.arange(1, width + 1)
    return (planes + inside).reshape(-1)


def _events(events: int, probability: Ints) -> Ints:
    """Weight in symbols of 64ths of a symbol that is not zero, of which one in 1 / `probability` is one."""
    return events * (ONE >> 6) // probability


def _as_counts(odds: int) -> tuple[int, int]:
    """Symbols that are not zero, and symbols, that weigh as much as a prior of those log-odds."""
    share = int(PROBABILITY[max(-_LOG_LIMIT, min(odds, _LOG_LIMIT)) + _LOG_LIMIT])
    seen = _BAND_PRIOR * ONE // min(share, ONE - share)
    return max(1, min((seen * share + ONE // 2) // ONE, seen - 1)), seen


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
