"""Quantisation of kept coefficients: coefficients in, integer symbols and what they stand for out."""

import kmeans1d
import numpy as np
import numpy.typing as npt

from wavesweep.errors import TrialError
from wavesweep.pruning.prune import PrunedTensor
from wavesweep.quantization.symbols import LARGEST, Codebook, CodedTensor, Reconstruction, Steps, Symbols, Values, fits
from wavesweep.settings import registry
from wavesweep.settings.schema import QuantizeSettings

Array = npt.NDArray[np.float64]
# Of what is all zero: any step does.
STEP_OF_ZEROS = 1e-30


def quantize(tensor: PrunedTensor, settings: QuantizeSettings, scale: float = 1.0) -> CodedTensor:
    """Quantise the kept coefficients of a tensor by `settings`, with steps times `scale`.

    Raises:
        TrialError: coefficients are too large or too small for the type that they are stored as.
    """
    found: CodedTensor = registry.row(registry.Quantizer, settings.name).load()(tensor, settings, scale)
    return found


def uniform(tensor: PrunedTensor, settings: QuantizeSettings, scale: float) -> CodedTensor:
    """Multiples of a step; what is in the zero bin, `settings.dead_zone` steps wide, becomes zero."""
    coefficients = tensor.coefficients.double().numpy()
    steps = band_steps(tensor, settings, scale)
    symbols = np.zeros(tensor.mask.numel(), np.int32)
    for band, step in zip(tensor.bands, steps, strict=True):
        symbols[band.slice] = round_to_step(coefficients[band.slice], step, settings.dead_zone)
    return as_coded(tensor, symbols, Steps((steps[0],) if len(set(steps)) == 1 else tuple(steps)))


def kmeans(tensor: PrunedTensor, settings: QuantizeSettings, scale: float) -> CodedTensor:
    """The values of an optimal codebook (Han et al. 2016, Groenlund et al. 2017), which never holds zero.

    Raises:
        TrialError: the values are too large or too small for float16.
    """
    mask = tensor.mask.numpy()
    kept = tensor.coefficients.double().numpy()[mask]
    symbols = np.zeros(mask.size, np.int32)
    if not kept.size:
        return as_coded(tensor, symbols, Codebook(np.zeros(0, np.float16), np.zeros(0, np.float16)))
    levels = 1 << (tensor.plan.bits or settings.bits)
    clusters, centroids = kmeans1d.cluster(kept, min(levels, len(np.unique(kept))))
    values = as_codebook(np.asarray(centroids), tensor.plan.name)
    negative = np.flatnonzero(np.asarray(centroids) < 0)[::-1]  # centroids grow, so magnitudes grow from here down
    positive = np.flatnonzero(np.asarray(centroids) >= 0)
    symbol_of = np.zeros(len(values), np.int32)
    symbol_of[positive] = np.arange(1, len(positive) + 1)
    symbol_of[negative] = -np.arange(1, len(negative) + 1)
    symbols[mask] = symbol_of[np.asarray(clusters)]
    return as_coded(tensor, symbols, Codebook(values[negative], values[positive]))


def floats(tensor: PrunedTensor, settings: QuantizeSettings, scale: float) -> CodedTensor:
    """Each coefficient as a float16 or float32 of its own (`quantize=none`); float32 too where float16 does not hold
    those of the tensor.

    Raises:
        TrialError: nor does float32.
    """
    mask = tensor.mask.numpy()
    kept = tensor.coefficients.double().numpy()[mask]
    kind = "float16" if settings.coefficients == "float16" and fits(kept, np.float16) else "float32"
    if kind == "float32" and not fits(kept, np.float32):
        raise TrialError(f"tensor {tensor.plan.name} holds numbers beyond the range of float32; use quantize=uniform")
    values = kept.astype(kind)
    symbols = np.zeros(mask.size, np.int32)
    symbols[mask] = values != 0
    return as_coded(tensor, symbols, Values(values[values != 0]))


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
        steps.append(short_number(max(step, most / LARGEST) or STEP_OF_ZEROS, up=settings.step is None))
    return steps


def short_number(value: float, up: bool = False) -> float:
    """`value` to four significant digits, the nearest ones or, with `up`, none below it."""
    short = float(f"{value:.4g}")
    return float(f"{value * 1.0005:.4g}") if up and short < value else short


def round_to_step(coefficients: Array, step: float, dead_zone: float) -> Symbols:
    """Nearest multiples of the step outside the zero bin, which is `dead_zone` steps wide."""
    sizes = np.abs(coefficients) / step
    magnitudes = np.where(sizes < dead_zone / 2, 0, np.clip(np.floor(sizes + 0.5), 1, LARGEST))
    return (np.sign(coefficients) * magnitudes).astype(np.int32)


def as_codebook(values: Array, name: str) -> npt.NDArray[np.float16]:
    """The values of a codebook as files hold them.

    Raises:
        TrialError: float16 does not hold them.
    """
    if not fits(values, np.float16):
        size = float(np.abs(values).max())
        raise TrialError(
            f"tensor {name} holds numbers of up to {size:.2g}, beyond the range of float16, of which codebooks are; "
            "use quantize=uniform"
        )
    return values.astype(np.float16)


def quantize_small(values: Array, bits: int) -> tuple[Symbols, Steps]:
    """A bias or the like: uniform steps over its range."""
    step = short_number(float(np.abs(values).max(initial=0)) / ((1 << (bits - 1)) - 1) or STEP_OF_ZEROS, up=True)
    return round_to_step(values, step, 1.0), Steps((step,))
