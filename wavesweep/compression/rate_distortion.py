"""Rate-distortion optimised quantisation: symbols that minimise distortion of the outputs + weight x bits.

Coefficients are quantised column by column; the error of each is made good by the columns still to come, as the
second moment of the layer's inputs prescribes (optimal brain surgeon, Hassibi and Stork 1993; column by column as in
GPTQ, Frantar et al. 2022), and each symbol's bits under the coder's own model count against it (as in CERWU, 2025).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wavesweep.compression.arm import PrunedTensor
from wavesweep.compression.basis import Band, make_basis
from wavesweep.compression.importance import LayerImportance
from wavesweep.compression.quantize import as_coded, round_to_step, short_number
from wavesweep.compression.symbols import CodedTensor, Steps, Symbols
from wavesweep.config import QuantizeSettings

Array = npt.NDArray[np.float64]
# Bands and their symbols to the probability that each symbol is not zero: the coder's model, given from outside.
RateModel = Callable[[Sequence[Band], Sequence[Symbols]], list[Array]]
_ROUNDS = 3
_BLOCK = 64
_LARGEST_CANDIDATE = 1 << 20
_TABLE = 256


def quantize_rate_distortion(
    tensor: PrunedTensor, settings: QuantizeSettings, importance: LayerImportance | None, rates: RateModel, scale: float
) -> CodedTensor:
    """Quantise a tensor so that distortion + `settings.rate_weight` * step^2 * bits is small.

    Args:
        tensor: what was pruned stays zero.
        settings: `step` is in units of the outputs if there is an importance, otherwise of the weights.
        importance: of the layer, or None: all errors count alike.
        rates: the coder's model of how likely each symbol is not zero.
        scale: factor of the step.
    """
    assert settings.step is not None
    columns = _Columns(tensor)
    values = columns.gather(tensor.coefficients.double().numpy())
    free = columns.gather(tensor.mask.numpy())
    hessian, units = columns.weights(tensor, importance)
    sensitivity = units.mean() * (hessian.mean() if hessian.ndim == 1 else np.diag(hessian).mean())
    feedback = _Feedback.of(hessian, settings.damping) if hessian.ndim == 2 else None
    base = settings.step * scale
    step = short_number(base / np.sqrt(sensitivity)) if sensitivity > 0 else short_number(base)
    price = settings.rate_weight * base**2 if sensitivity > 0 else 0.0
    symbols = round_to_step(values, step, max(settings.dead_zone, 1.3)).astype(np.int64) * free
    for _ in range(_ROUNDS):
        likely = columns.gather(np.concatenate([p.reshape(-1) for p in rates(tensor.bands, columns.bands(symbols))]))
        bits = -np.log2(1 - likely), -np.log2(likely), _magnitude_bits(symbols)
        if feedback is None:
            symbols = _choose(values, free, units[:, None] * hessian, step, price, *bits)
        else:
            symbols = _sweep(values, free, feedback, units, step, price, *bits)
    return as_coded(tensor, np.concatenate([s.reshape(-1) for s in columns.bands(symbols)]), Steps((step,)))


class _Columns:
    """Coefficients of a tensor as (units, coefficients per unit): all bands side by side."""

    def __init__(self, tensor: PrunedTensor) -> None:
        self._bands = tensor.bands
        # With the first axis transformed, bands have different numbers of rows: one long row then.
        self.is_per_unit = 0 not in tensor.basis.axes or tensor.basis.kind in ("identity", "dct", "rotation")
        self.is_per_unit &= len(tensor.plan.view) > 1

    def gather(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Flat coefficients, in the order of the bands, as rows and columns."""
        if not self.is_per_unit:
            return flat.reshape(1, -1)
        return np.concatenate([flat[band.slice].reshape(band.shape[0], -1) for band in self._bands], axis=1)

    def bands(self, matrix: npt.NDArray[np.int64]) -> list[Symbols]:
        """Inverse of `gather`, by band."""
        parts, start = [], 0
        for band in self._bands:
            size = int(np.prod(band.shape))
            if self.is_per_unit:
                width = size // band.shape[0] if band.shape[0] else 0
                part = matrix[:, start : start + width]
                start += width
            else:
                part = matrix[0, start : start + size]
                start += size
            parts.append(np.ascontiguousarray(part).reshape(band.shape).astype(np.int32))
        return parts

    def weights(self, tensor: PrunedTensor, importance: LayerImportance | None) -> tuple[Array, Array]:
        """Second-order weights of the columns, a matrix or its diagonal, and of the rows."""
        if importance is None or not self.is_per_unit:
            scale = 1.0
            if importance is not None:
                scale = float(importance.outputs.mean() * np.diag(importance.inputs).mean())
            norms = np.ones(tensor.mask.numel())
            for band in tensor.bands:
                norms[band.slice] = band.atom_norm**2
            matrix = self.gather(norms * scale)
            return matrix[0].astype(np.float64), np.ones(matrix.shape[0])
        spec = replace(tensor.basis, axes=tuple(axis for axis in tensor.basis.axes if axis != 0))
        units = importance.outputs
        if 0 in tensor.basis.axes:  # an orthonormal mixture of the units: each has the mean of all
            units = np.full_like(units, units.mean())
        if spec.kind == "identity" or not spec.axes:
            return importance.inputs, units
        row = make_basis(spec, (1, *tensor.plan.view[1:]))
        atoms = torch.stack([row.synthesise(unit).reshape(-1) for unit in torch.eye(row.count, dtype=torch.float64)])
        synthesis = atoms.numpy()
        return synthesis @ importance.inputs @ synthesis.T, units


@dataclass(frozen=True)
class _Feedback:
    """The order of the columns, the heaviest first, and the Cholesky factor of the inverse in that order: how much of
    the error of a column each later one makes good."""

    order: npt.NDArray[np.int64]
    factor: Array

    @classmethod
    def of(cls, hessian: Array, damping: float) -> "_Feedback":
        damped = hessian + np.eye(len(hessian)) * (damping * np.diag(hessian).mean() + 1e-12)
        order = np.argsort(-np.diag(damped), kind="stable")
        inverse = np.linalg.inv(damped[np.ix_(order, order)])
        factor = np.linalg.cholesky((inverse + inverse.T) / 2).T.astype(np.float64)
        return cls(order, factor)


def _sweep(
    values: Array,
    free: npt.NDArray[np.bool_],
    feedback: _Feedback,
    units: Array,
    step: float,
    price: float,
    bits_zero: Array,
    bits_other: Array,
    magnitude_bits: Array,
) -> npt.NDArray[np.int64]:
    """One pass over all columns; returns the symbols."""
    order, factor = feedback.order, feedback.factor
    count = len(order)
    left = values[:, order].copy()
    symbols = np.zeros(values.shape, np.int64)
    for start in range(0, count, _BLOCK):
        end = min(count, start + _BLOCK)
        errors = np.zeros((len(left), end - start))
        for place in range(start, end):
            column, diagonal = order[place], factor[place, place]
            chosen = _choose(
                left[:, place],
                free[:, column],
                units / diagonal**2,
                step,
                price,
                bits_zero[:, column],
                bits_other[:, column],
                magnitude_bits,
            )
            symbols[:, column] = chosen
            error = (left[:, place] - chosen * step) / diagonal
            left[:, place + 1 : end] -= np.outer(error, factor[place, place + 1 : end])
            errors[:, place - start] = error
        left[:, end:] -= errors @ factor[start:end, end:]
    return symbols


def _choose(
    values: Array,
    free: npt.NDArray[np.bool_],
    weight: Array,
    step: float,
    price: float,
    bits_zero: Array,
    bits_other: Array,
    magnitude_bits: Array,
) -> npt.NDArray[np.int64]:
    """The cheapest of zero and the two multiples of the step around each value."""
    size = np.minimum(np.abs(values) / step, _LARGEST_CANDIDATE)
    below = np.floor(size)
    best, cheapest = np.zeros(values.shape), weight * (size * step) ** 2 + price * bits_zero
    for candidate in (below, below + 1):
        bits = bits_other + magnitude_bits[np.minimum(candidate, _TABLE - 1).astype(np.int64)]
        cost = weight * ((size - candidate) * step) ** 2 + price * bits
        better = (cost < cheapest) & (candidate > 0)
        best, cheapest = np.where(better, candidate, best), np.where(better, cost, cheapest)
    return (np.sign(values) * best).astype(np.int64) * free


def _magnitude_bits(symbols: npt.NDArray[np.int64]) -> Array:
    """Bits of sign and magnitude, by magnitude, from how often each occurs."""
    counts = np.bincount(np.minimum(np.abs(symbols[symbols != 0]), _TABLE - 1), minlength=_TABLE).astype(np.float64)
    counts += 0.3 * 0.5 ** np.arange(_TABLE) + 1e-9
    counts[0] = 0
    with np.errstate(divide="ignore"):
        bits: Array = 1 - np.log2(counts / counts.sum())
    bits[0] = 0  # never a candidate, but infinity times a price of zero is NaN
    return bits
