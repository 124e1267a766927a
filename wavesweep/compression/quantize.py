"""Quantisation of kept coefficients: coefficients in, integer symbols and what they stand for out."""

import kmeans1d
import numpy as np
import numpy.typing as npt

from wavesweep.compression.arm import PrunedTensor
from wavesweep.compression.symbols import Codebook, CodedTensor, Reconstruction, Steps, Symbols, Values
from wavesweep.config import QuantizeSettings

# Symbols beyond this would not fit the coder; a step this small quantises nothing.
_LARGEST = (1 << 30) - 2
Array = npt.NDArray[np.float64]


def quantize(tensor: PrunedTensor, settings: QuantizeSettings, scale: float = 1.0) -> CodedTensor:
    """Quantise the kept coefficients of a tensor by `settings`, with steps times `scale`.

    A coefficient that was kept may become zero with `uniform`, whose zero bin is `dead_zone` steps wide; never with
    `kmeans`, whose codebook (Han et al. 2016, here optimal in one dimension) does not hold zero.
    """
    coefficients = tensor.coefficients.double().numpy()
    mask = tensor.mask.numpy()
    symbols: Symbols
    rule: Reconstruction
    if settings.name == "none":
        values = coefficients[mask].astype(settings.coefficients)
        symbols = np.zeros(mask.size, np.int32)
        symbols[mask] = values != 0
        rule = Values(values[values != 0])
    elif settings.name == "kmeans":
        symbols, rule = _kmeans(coefficients, mask, 1 << (tensor.plan.bits or settings.bits))
    else:
        steps = band_steps(tensor, settings, scale)
        symbols = np.zeros(mask.size, np.int32)
        for band, step in zip(tensor.bands, steps, strict=True):
            symbols[band.slice] = round_to_step(coefficients[band.slice], step, settings.dead_zone)
        rule = Steps((steps[0],) if len(set(steps)) == 1 else tuple(steps))
    return as_coded(tensor, symbols, rule)


def as_coded(tensor: PrunedTensor, symbols: Symbols, rule: Reconstruction) -> CodedTensor:
    """The coded form of a pruned tensor."""
    plan = tensor.plan
    return CodedTensor(plan.name, plan.shape, plan.view, tensor.basis, symbols, rule)


def band_steps(tensor: PrunedTensor, settings: QuantizeSettings, scale: float) -> list[float]:
    """The step of each band: given, or such that `bits` cover the range; a short number, which costs fewer bytes."""
    coefficients = np.abs(tensor.coefficients.double().numpy())
    largest = [float(coefficients[band.slice].max(initial=0)) for band in tensor.bands]
    if settings.per == "layer" or settings.step is not None:
        largest = [max(largest)] * len(largest)
    bits = tensor.plan.bits or settings.bits
    steps = []
    for band, most in zip(tensor.bands, largest, strict=True):
        step = settings.step if settings.step is not None else most / ((1 << (bits - 1)) - 1)
        step = scale * step / (band.atom_norm if settings.atom_norm else 1.0)
        steps.append(short_number(max(step, most / _LARGEST, 1e-30)))
    return steps


def short_number(value: float) -> float:
    """`value` to four significant digits."""
    return float(f"{value:.4g}")


def round_to_step(coefficients: Array, step: float, dead_zone: float) -> Symbols:
    """Nearest multiples of the step outside the zero bin, which is `dead_zone` steps wide."""
    magnitudes = np.floor(np.abs(coefficients) / step + 1 - dead_zone / 2)
    return (np.sign(coefficients) * np.maximum(magnitudes, 0)).astype(np.int32)


def _kmeans(coefficients: Array, mask: npt.NDArray[np.bool_], levels: int) -> tuple[Symbols, Codebook]:
    """Optimal codebook of at most `levels` values for the kept coefficients (Groenlund et al. 2017)."""
    kept = coefficients[mask]
    symbols = np.zeros(mask.size, np.int32)
    if not kept.size:
        return symbols, Codebook(np.zeros(0, np.float16), np.zeros(0, np.float16))
    clusters, centroids = kmeans1d.cluster(kept, min(levels, len(np.unique(kept))))
    values = np.asarray(centroids, np.float16)
    negative = np.flatnonzero(np.asarray(centroids) < 0)[::-1]  # centroids grow, so magnitudes grow from here down
    positive = np.flatnonzero(np.asarray(centroids) >= 0)
    symbol_of = np.zeros(len(values), np.int32)
    symbol_of[positive] = np.arange(1, len(positive) + 1)
    symbol_of[negative] = -np.arange(1, len(negative) + 1)
    symbols[mask] = symbol_of[np.asarray(clusters)]
    return symbols, Codebook(values[negative], values[positive])


def quantize_small(values: Array, bits: int) -> tuple[Symbols, Steps]:
    """A bias or the like: uniform steps over its range."""
    step = short_number(max(float(np.abs(values).max(initial=0)) / ((1 << (bits - 1)) - 1), 1e-30))
    return round_to_step(values, step, 1.0), Steps((step,))
