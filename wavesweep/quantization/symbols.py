"""Quantised coefficients: integer symbols, and what they stand for."""

from dataclasses import dataclass
from typing import Any

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
class CodedTensor:
    """Quantised coefficients: one integer symbol each, in the order of the basis's bands.

    `shape` is the weight's, `view` its shape as a signal.
    """

    name: str
    shape: tuple[int, ...]
    view: tuple[int, ...]
    basis: BasisSpec
    symbols: Symbols
    reconstruction: Reconstruction

    def coefficients(self) -> npt.NDArray[np.float64]:
        """The coefficients that the symbols stand for, flat."""
        coded = self._coded()
        bands = make_basis(self.basis, self.view).bands
        return np.concatenate([self._values(number, coded[band.slice]) for number, band in enumerate(bands)])

    def weight(self) -> Tensor:
        """The decoded weight, float32: synthesis in float64, then rounded, so that all machines agree."""
        basis = make_basis(self.basis, self.view)
        if basis.synthesise_by_parts is None or not self.view:
            return basis.synthesise(torch.from_numpy(self.coefficients())).reshape(self.shape).float()
        coded = self._coded()

        def read(band: int, axis: int, rows: Tensor) -> Tensor:
            one = basis.bands[band]
            part = coded[one.slice].reshape(one.shape).take(rows.numpy(), axis)
            return torch.from_numpy(self._values(band, part))

        return basis.synthesise_by_parts(read).reshape(self.shape)

    def _coded(self) -> npt.NDArray[Any]:
        """The symbols; of those that stand for the next of some values, these in their places."""
        if not isinstance(self.reconstruction, Values):
            return self.symbols
        found = np.zeros(self.symbols.size, self.reconstruction.values.dtype)
        found[self.symbols != 0] = self.reconstruction.values
        return found

    def _values(self, band: int, coded: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The coefficients of some of a band."""
        rule = self.reconstruction
        # A file may hold signalling NaN or steps that overflow; neither is worth a warning.
        with np.errstate(all="ignore"):
            if isinstance(rule, Codebook):
                values = np.concatenate([rule.negative[::-1], np.zeros(1, np.float16), rule.positive])
                return np.asarray(values[coded + len(rule.negative)], np.float64)
            found: npt.NDArray[np.float64] = coded.astype(np.float64)
            return found * rule.steps[band if len(rule.steps) > 1 else 0] if isinstance(rule, Steps) else found

    def band_symbols(self) -> list[Symbols]:
        """Its symbols by band, each of the band's shape."""
        return [self.symbols[band.slice].reshape(band.shape) for band in make_basis(self.basis, self.view).bands]
