"""Quantised coefficients: integer symbols, and what they stand for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wavesweep.transform.basis import BasisSpec, make_basis

Symbols = npt.NDArray[np.int32]
# Largest magnitude of a symbol that a file can hold.
LARGEST = (1 << 30) - 1
Floats = npt.NDArray[np.floating]
_PART = 1 << 20


def fits(values: npt.NDArray[np.floating], dtype: npt.DTypeLike) -> bool:
    """Whether a floating-point type holds numbers about as exactly as it can: none too large for it, and together none
    so small that its steps are coarser there."""
    largest = float(np.abs(values).max(initial=0))
    if not largest or not np.isfinite(largest):
        return not largest
    lost = whole = 0.0
    flat = values.reshape(-1)
    with np.errstate(over="ignore", under="ignore"):
        for start in range(0, flat.size, _PART):  # in parts, as a large tensor as float64 takes much memory
            part = flat[start : start + _PART].astype(np.float64)
            error = part.astype(dtype).astype(np.float64) / largest - part / largest
            lost += float((error**2).sum())
            whole += float(((part / largest) ** 2).sum())
    return lost <= float(np.finfo(dtype).eps) ** 2 * whole


@dataclass(frozen=True)
class Steps:
    """A symbol times its band's step is the coefficient; one step for all bands, or one each."""

    steps: tuple[float, ...]


@dataclass(frozen=True)
class Codebook:
    """A symbol k > 0 stands for `positive[k - 1]`, k < 0 for `negative[-k - 1]`, by growing magnitude (float16)."""

    negative: Floats
    positive: Floats


@dataclass(frozen=True)
class Values:
    """Every symbol that is not zero stands for the next of `values` (float16 or float32)."""

    values: Floats


Reconstruction = Steps | Codebook | Values


@dataclass(frozen=True)
class Prior:
    """What is expected of a band's symbols before any is coded.

    `significant` is the probability that one is not zero, `magnitude` the mean of |symbol| - 1 of those that are not.
    """

    significant: float
    magnitude: float


@dataclass(frozen=True)
class CodedTensor:
    """Quantised coefficients: one integer symbol each, in the order of the basis's bands.

    `shape` is the weight's, `view` its shape as a signal. `priors`, one per band, are a hint to the coder: a file
    keeps them, or better ones, where they make it smaller.
    """

    name: str
    shape: tuple[int, ...]
    view: tuple[int, ...]
    basis: BasisSpec
    symbols: Symbols
    reconstruction: Reconstruction
    priors: tuple[Prior, ...] | None = None

    def coefficients(self) -> npt.NDArray[np.float64]:
        """The coefficients that the symbols stand for, flat."""
        # A file may hold signalling NaN or steps that overflow; neither is worth a warning.
        with np.errstate(all="ignore"):
            return self._coefficients()

    def _coefficients(self) -> npt.NDArray[np.float64]:
        rule, symbols = self.reconstruction, self.symbols
        if isinstance(rule, Steps):
            bands = make_basis(self.basis, self.view).bands
            steps = rule.steps if len(rule.steps) > 1 else rule.steps * len(bands)
            found = symbols.astype(np.float64)
            for band, step in zip(bands, steps, strict=True):
                found[band.slice] *= step
            return found
        found = np.zeros(symbols.size)
        if isinstance(rule, Values):
            found[symbols != 0] = rule.values
        else:
            found[symbols > 0] = rule.positive[symbols[symbols > 0] - 1]
            found[symbols < 0] = rule.negative[-symbols[symbols < 0] - 1]
        return found

    def weight(self) -> Tensor:
        """The decoded weight, float32: synthesis in float64, then rounded, so that all machines agree."""
        signal = make_basis(self.basis, self.view).synthesise(torch.from_numpy(self.coefficients()))
        return signal.reshape(self.shape).float()

    def band_symbols(self) -> list[Symbols]:
        """Its symbols by band, each of the band's shape."""
        return [self.symbols[band.slice].reshape(band.shape) for band in make_basis(self.basis, self.view).bands]
