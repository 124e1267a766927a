"""Second-order weights of coefficients: what an error costs at the outputs, and which others can make it good.

An error dW of a layer's weight changes the outputs by about trace(G dW A dW^T) (see `importance`). Coefficients are
put into blocks of rows, one for each unit or mixture of units. What an error in one row adds to that in another is left
out; within a row, the error of a column is made good by later ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wavesweep.compression.arm import PrunedTensor
from wavesweep.compression.basis import Band, Basis, make_basis, wavelet_basis
from wavesweep.compression.importance import LayerImportance

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Feedback:
    """The order in which columns are quantised, the heaviest first, and the Cholesky factor of the inverse in that
    order: how much of the error of a column each later one makes good. The first `carried` columns come last."""

    order: npt.NDArray[np.int64]
    factor: Array

    @classmethod
    def of(cls, hessian: Array, damping: float, carried: int) -> "Feedback":
        """That of the columns of `hessian`, whose mean diagonal times `damping` is added for stability."""
        damped = hessian + np.eye(len(hessian)) * (damping * np.diag(hessian).mean() + 1e-12)
        weights = np.diag(damped).copy()
        weights[:carried] = 0
        order = np.argsort(-weights, kind="stable")
        inverse = np.linalg.inv(damped[np.ix_(order, order)])
        factor = np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float64)
        return cls(order, factor)


@dataclass(frozen=True)
class Block:
    """Bands with the same rows, side by side as columns.

    `rows` and `columns` are the second-order weights, whose product is that of one coefficient. Without `feedback`
    errors stay where they are. `carried` columns before those of the bands are the approximation at this level: they
    are quantised later, as the bands of `deeper`, and only take errors up.
    """

    bands: tuple[Band, ...]
    rows: Array
    columns: Array
    feedback: Feedback | None = None
    carried: int = 0
    deeper: Basis | None = None

    def gather(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The block's coefficients as (rows, columns), from the flat ones of the tensor."""
        return np.concatenate([flat[band.slice].reshape(len(self.rows), -1) for band in self.bands], axis=1)

    def scatter(self, matrix: npt.NDArray[Any], flat: npt.NDArray[Any]) -> None:
        """Inverse of `gather`, into `flat`."""
        start = 0
        for band in self.bands:
            width = prod(band.shape) // len(self.rows)
            flat[band.slice] = matrix[:, start : start + width].reshape(-1)
            start += width


def blocks_of(tensor: PrunedTensor, importance: LayerImportance | None, damping: float) -> list[Block]:
    """The blocks of a tensor, in the order in which they are quantised.

    Where a wavelet runs over the units too, rows are wavelets over units. At the finest level, rows of details are
    orthogonal to all others (nearly, if the wavelet is only biorthogonal), so nothing is shared with them. Of the rows
    of the approximation the detail columns are quantised, their errors taken up by the approximation's columns; what
    comes of these is split at the next level, and so on.
    """
    spec, view = tensor.basis, tensor.plan.view
    if importance is None or len(view) < 2:
        moments = () if importance is None else (importance.outputs, importance.inputs)
        scale = prod(float(np.diag(moment).mean()) for moment in moments)
        norms = np.concatenate([np.full(prod(band.shape), band.atom_norm**2) for band in tensor.bands])
        return [Block(tensor.bands, np.ones(1), norms * scale)]
    place = spec.axes.index(0) if 0 in spec.axes else None
    unit_levels = spec.levels[place] if place is not None and spec.levels else 0

    def block(
        bands: Sequence[Band], columns: _Columns, rows: Array, carried: int = 0, deeper: Basis | None = None
    ) -> Block:
        feedback = Feedback.of(columns.hessian, damping, carried)
        return Block(tuple(bands), rows, np.diag(columns.hessian)[carried:], feedback, carried, deeper)

    found = []
    average, _ = _row_weights(tensor, importance.outputs, 0)
    for level in range(1, unit_levels + 1):
        assert place is not None
        columns = _columns(tensor, importance.inputs, level, level)
        average, difference = _row_weights(tensor, importance.outputs, level)
        details = [band for band in tensor.bands[1:] if band.level == level]
        found.append(block([band for band in details if band.orientation[place] == "d"], columns, difference))
        low = [band for band in details if band.orientation[place] == "a"]
        if low and level < unit_levels:
            left = [max(0, most - level) for most in spec.levels]
            deeper = wavelet_basis(low[0].shape, spec.axes, left, spec.wavelet, spec.mode)
            found.append(block(low, columns, average, prod(columns.bands[0].shape[1:]), deeper))
    last = [
        band
        for band in tensor.bands[1:]
        if band.level > unit_levels or (band.level == unit_levels and band.orientation[place or 0] == "a")
    ]
    found.append(block([tensor.bands[0], *last], _columns(tensor, importance.inputs, None, unit_levels), average))
    return found


def _row_weights(tensor: PrunedTensor, moment: Array, level: int) -> tuple[Array, Array]:
    """What an error in one row of the transform over units costs: the approximation's rows after `level` levels of a
    wavelet, and as many details of that level; all rows and none of a transform without levels."""
    spec = tensor.basis
    axes = tuple(axis for axis in spec.axes if axis == 0)
    of_units = replace(spec, axes=axes, levels=(level,) if axes and spec.levels else ())
    if spec.kind == "identity" or not axes or (spec.levels and not level):
        return np.diag(moment), np.empty(0)
    count = make_basis(of_units, (len(moment), 1)).count
    # All atoms in one call: a column of its own for each row.
    every = make_basis(of_units, (len(moment), count))
    atoms = every.synthesise(torch.eye(count, dtype=torch.float64).reshape(-1)).reshape(len(moment), count).numpy()
    weights = (atoms * (moment @ atoms)).sum(0)
    first = every.bands[0].shape[0]
    return weights[:first], weights[first : 2 * first]


@dataclass(frozen=True)
class _Columns:
    """The second moment of what one unit's coefficients are multiplied with, and the bands of those."""

    hessian: Array
    bands: tuple[Band, ...]


def _columns(tensor: PrunedTensor, moment: Array, most: int | None, least: int) -> _Columns:
    """Of one unit's transform with at most `most` levels: the approximation, and the details from level `least` on."""
    spec, sizes = tensor.basis, tensor.plan.view[1:]
    others = [place for place, axis in enumerate(spec.axes) if axis != 0]
    levels = tuple(
        spec.levels[place] if most is None else min(most, spec.levels[place]) for place in others if spec.levels
    )
    of_unit = replace(spec, axes=tuple(spec.axes[place] for place in others), levels=levels)
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
