"""Second-order weights of coefficients: what an error costs at the outputs, and which others can compensate for it.

An error dW of a layer's weight changes the outputs by about trace(G dW A dW^T) (see `importance`). Coefficients are
put into blocks of rows, one for each unit or mixture of units. The error of what is quantised first is
compensated by what comes later, columns by columns of the same row and rows by rows of the same column (as in YAQA,
Tseng et al. 2025).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import solve_triangular

from wavesweep.pruning.prune import PrunedTensor
from wavesweep.quantization.importance import LayerImportance
from wavesweep.transform.basis import Band, Basis, make_basis
from wavesweep.transform.wavelet import wavelet_basis

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Feedback:
    """The order in which columns (or rows) are quantised, the heaviest first; their second moment in that order is
    `root` times its transpose, `root` is upper triangular, and `factor` its inverse. The first `carried` come last:
    they only take errors up, and are quantised in later blocks."""

    order: npt.NDArray[np.int64]
    root: Array
    factor: Array
    carried: int

    @classmethod
    def of(cls, hessian: Array, damping: float, carried: int = 0) -> "Feedback":
        """That of the columns of `hessian`, whose mean diagonal times `damping` is added for stability."""
        mean = float(np.diag(hessian).mean()) or 1.0
        damped = hessian + np.eye(len(hessian)) * ((damping + 1e-12) * mean)
        weights = np.diag(damped).copy()
        weights[:carried] = 0
        order = np.argsort(-weights, kind="stable")
        # Backwards, because Cholesky factors are lower triangular.
        last_first = order[::-1]
        root = np.linalg.cholesky(damped[np.ix_(last_first, last_first)])[::-1, ::-1].astype(np.float64)
        return cls(order, root, solve_triangular(root, np.eye(len(root))), carried)

    @property
    def count(self) -> int:
        """How many are quantised in this block."""
        return len(self.order) - self.carried

    def weights(self, start: int, end: int) -> Array:
        """What an error costs at each position from `start` to `end`, if later ones compensate what they can."""
        weights: Array = (self.root[start:end, start:end] ** 2).sum(1)
        return weights

    def compensation(self, start: int, end: int) -> Array:
        """How much an error at each position from `start` to `end` changes each later one, shape (those, later)."""
        return -self.root[start:end, start:end] @ self.factor[start:end, end:]


@dataclass(frozen=True)
class Later:
    """Coefficients that take up errors of a block: the approximation at its level, which is `shape` large and which
    `basis` splits further, and the details `low` in the same rows."""

    shape: tuple[int, ...]
    basis: Basis
    low: tuple[Band, ...] = ()

    def add(self, change: Array, flat: Array) -> None:
        """Add a change of them, shape (rows, columns), to the flat coefficients of the tensor."""
        width = prod(self.shape[1:])
        approximation = torch.from_numpy(np.ascontiguousarray(change[:, :width])).reshape(self.shape)
        flat[: self.basis.count] += self.basis.analyse(approximation).numpy()
        for band, columns in _columns_of(self.low, len(change), width):
            flat[band.slice] += change[:, columns].reshape(-1)


@dataclass(frozen=True)
class Block:
    """Bands with the same rows, side by side as columns.

    `row_weights` and `column_weights` are the second-order weights, whose product is that of one coefficient. Without
    `rows` and `columns` errors stay where they are. What these carry is quantised in blocks to come (`later`).
    """

    bands: tuple[Band, ...]
    row_weights: Array
    column_weights: Array
    rows: Feedback | None = None
    columns: Feedback | None = None
    later: Later | None = None

    def gather(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The block's coefficients as (rows, columns), from the flat ones of the tensor."""
        return np.concatenate([flat[band.slice].reshape(len(self.row_weights), -1) for band in self.bands], axis=1)

    def scatter(self, matrix: npt.NDArray[Any], flat: npt.NDArray[Any]) -> None:
        """Inverse of `gather`, into `flat`."""
        for band, columns in _columns_of(self.bands, len(matrix)):
            flat[band.slice] = matrix[:, columns].reshape(-1)


def _columns_of(bands: Sequence[Band], rows: int, start: int = 0) -> Iterator[tuple[Band, slice]]:
    """Bands and which columns they are, side by side from `start` on."""
    for band in bands:
        end = start + prod(band.shape) // rows
        yield band, slice(start, end)
        start = end


def blocks_of(tensor: PrunedTensor, importance: LayerImportance | None, damping: float) -> list[Block]:
    """The blocks of a tensor, in the order in which they are quantised.

    Where a wavelet runs over the units too, rows are wavelets over units. At each level, from the finest, the rows of
    details are quantised, their errors taken up by the approximation's rows; of these the detail columns, their errors
    taken up by the approximation's columns; what comes of these is split at the next level, and so on.
    """
    spec, view = tensor.basis, tensor.plan.view
    if importance is None or len(view) < 2:
        moments = () if importance is None else (importance.outputs, importance.inputs)
        scale = prod(float(np.diag(moment).mean()) for moment in moments)
        norms = np.concatenate([np.full(prod(band.shape), band.atom_norm**2) for band in tensor.bands])
        return [Block(tensor.bands, np.ones(1), norms * scale)]
    position = spec.axes.index(0) if 0 in spec.axes else None
    unit_levels = spec.levels[position] if position is not None and spec.levels else 0

    def block(
        bands: Sequence[Band],
        rows: Array,
        columns: Array,
        carried_rows: int = 0,
        carried_columns: int = 0,
        later: Later | None = None,
    ) -> Block:
        return Block(
            tuple(bands),
            np.diag(rows)[carried_rows:],
            np.diag(columns)[carried_columns:],
            Feedback.of(rows, damping, carried_rows),
            Feedback.of(columns, damping, carried_columns),
            later,
        )

    found = []
    rows, _ = _rows(tensor, importance.outputs, 0)
    for level in range(1, unit_levels + 1):
        assert position is not None
        columns = _columns(tensor, importance.inputs, level, level)
        rows, average = _rows(tensor, importance.outputs, level)
        details = [band for band in tensor.bands[1:] if band.level == level]
        high = [band for band in details if band.orientation[position] == "d"]
        low = tuple(band for band in details if band.orientation[position] == "a")
        shape = (average, *columns.bands[0].shape[1:])
        left = [max(0, most - level) for most in spec.levels]
        deeper = wavelet_basis(shape, replace(spec, levels=tuple(left)))
        found.append(block(high, rows, columns.hessian, carried_rows=average, later=Later(shape, deeper, low)))
        rows = rows[:average, :average]
        if low and level < unit_levels:
            found.append(block(low, rows, columns.hessian, carried_columns=prod(shape[1:]), later=Later(shape, deeper)))
    last = [
        band
        for band in tensor.bands[1:]
        if band.level > unit_levels or (band.level == unit_levels and band.orientation[position or 0] == "a")
    ]
    columns = _columns(tensor, importance.inputs, None, unit_levels)
    found.append(block([tensor.bands[0], *last], rows, columns.hessian))
    return found


def _rows(tensor: PrunedTensor, moment: Array, level: int) -> tuple[Array, int]:
    """The second moment of rows of the transform over units, and how many are the approximation: its rows after `level`
    levels of a wavelet, then as many details of that level; all rows of a transform without levels."""
    spec = tensor.basis
    axes = tuple(axis for axis in spec.axes if axis == 0)
    of_units = replace(spec, axes=axes, levels=(level,) if axes and spec.levels else ())
    if spec.kind == "identity" or not axes or (spec.levels and not level):
        return moment, len(moment)
    count = make_basis(of_units, (len(moment), 1)).count
    # All atoms in one call: a column of its own for each row.
    every = make_basis(of_units, (len(moment), count))
    atoms = every.synthesise(torch.eye(count, dtype=torch.float64).reshape(-1)).reshape(len(moment), count).numpy()
    first = every.bands[0].shape[0]
    atoms = atoms[:, : 2 * first]
    return atoms.T @ moment @ atoms, first


@dataclass(frozen=True)
class _Columns:
    """The second moment of what one unit's coefficients are multiplied with, and the bands of those."""

    hessian: Array
    bands: tuple[Band, ...]


def _columns(tensor: PrunedTensor, moment: Array, most: int | None, least: int) -> _Columns:
    """Of one unit's transform with at most `most` levels: the approximation, and the details from level `least` on."""
    spec, sizes = tensor.basis, tensor.plan.view[1:]
    others = [position for position, axis in enumerate(spec.axes) if axis != 0]
    levels = tuple(
        spec.levels[position] if most is None else min(most, spec.levels[position])
        for position in others
        if spec.levels
    )
    of_unit = replace(spec, axes=tuple(spec.axes[position] for position in others), levels=levels)
    one = make_basis(of_unit, (1, *sizes))
    if spec.kind == "identity" or not others:
        return _Columns(moment, one.bands)
    # All atoms in one call: a unit of its own for each coefficient.
    every = make_basis(of_unit, (one.count, *sizes))
    eye = torch.eye(one.count, dtype=torch.float64)
    atoms = every.synthesise(torch.cat([eye[:, band.slice].reshape(-1) for band in one.bands]))
    kept = [one.bands[0], *(band for band in one.bands[1:] if band.level >= least)]
    chosen = np.concatenate([np.arange(band.slice.start, band.slice.stop) for band in kept])
    synthesis = atoms.reshape(one.count, -1).numpy()[chosen]
    return _Columns(synthesis @ moment @ synthesis.T, tuple(kept))
