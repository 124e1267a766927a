"""The multilevel discrete wavelet transform over several axes, as PyWavelets defines it."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import pywt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wavesweep.transform.basis import Atom, Band, Basis, BasisSpec, identity_basis
from wavesweep.transform.by_parts import Level, wavelet_by_parts
from wavesweep.transform.dwt import analyse_axis
from wavesweep.transform.matrices import join_axis_fast, join_axis_fast_adjoint


def wavelet_basis(shape: Sequence[int], spec: BasisSpec) -> Basis:
    """Multilevel N-D DWT; equal to `pywt.wavedecn` where all `spec.axes` have the same number of `spec.levels`.

    An axis whose levels are used up is left alone while the others continue. Bands run from the approximation
    through the details of the coarsest level to those of the finest, as in PyWavelets.
    """
    shape, axes, levels, mode = tuple(shape), spec.axes, spec.levels, spec.mode
    if not any(levels):
        return identity_basis(shape, spec)
    wavelet = pywt.Wavelet(spec.wavelet)
    # Finest first.
    steps: list[Level] = []
    sizes = list(shape)
    details: list[list[tuple[int, str, tuple[int, ...]]]] = []
    for level in range(1, max(levels) + 1):
        active = tuple(axis for axis, most in zip(axes, levels, strict=True) if most >= level)
        before = tuple(sizes)
        for axis in active:
            sizes[axis] = pywt.dwt_coeff_len(sizes[axis], wavelet.dec_len, mode)
        steps.append(Level(active, before, tuple(sizes)))
        orientations = ["".join(o) for o in product(*("ad" if axis in active else "-" for axis in axes))]
        details.append([(level, o, tuple(sizes)) for o in orientations if "d" in o])
    coarsest = "".join("a" if most == max(levels) else "-" for most in levels)
    bands, start = [], 0
    for level, orientation, band_shape in [
        (max(levels), coarsest, tuple(sizes)),
        *(entry for entries in reversed(details) for entry in entries),
    ]:
        bands.append(Band(level, orientation, band_shape, start, _atoms(spec.wavelet, level, orientation, levels)))
        start += prod(band_shape)

    def analyse(signal: Tensor) -> Tensor:
        approximation, pieces = signal, []
        for step in steps:
            blocks = {"": approximation}
            for axis in axes:
                if axis not in step.axes:
                    blocks = {key + "-": block for key, block in blocks.items()}
                    continue
                split = {}
                for key, block in blocks.items():
                    split[key + "a"], split[key + "d"] = analyse_axis(block, axis, wavelet, mode)
                blocks = split
            approximation = next(iter(blocks.values()))
            pieces.append([block for key, block in blocks.items() if "d" in key])
        ordered = [approximation, *(block for level_blocks in reversed(pieces) for block in level_blocks)]
        return torch.cat([block.reshape(-1) for block in ordered])

    def synthesise(coefficients: Tensor) -> Tensor:
        return synthesise_levels(coefficients, wavelet, mode, steps)

    return Basis(
        analyse,
        synthesise,
        tuple(bands),
        synthesise_by_parts=lambda read: wavelet_by_parts(read, wavelet, mode, steps),
    )


@lru_cache(maxsize=256)
def canonical_name(wavelet_name: str) -> str:
    """One name for wavelets of the same filters (haar, db1, bior1.1), so that equal transforms are equal files."""
    filters = pywt.Wavelet(wavelet_name).filter_bank
    same = [name for name in pywt.wavelist(kind="discrete") if pywt.Wavelet(name).filter_bank == filters]
    return str(min(same, key=lambda name: (name != "haar", len(name), name)))


def synthesise_levels(coefficients: Tensor, wavelet: pywt.Wavelet, mode: str, levels: Sequence[Level]) -> Tensor:
    """The signal of a coefficient vector, with gradients; `levels` from the finest on, bands as in `wavelet_basis`."""
    found: Tensor = _Synthesis.apply(coefficients, wavelet, mode, tuple(levels))
    return found


class _Synthesis(torch.autograd.Function):
    """Both directions written out, since for small tensors what autograd does per operation costs most of the time.

    The bands of a level are one block, so that one operation joins them along an axis, however many they are.
    """

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, wavelet: pywt.Wavelet, mode: str, levels: tuple[Level, ...]) -> Tensor:
        ctx.constants = wavelet, mode, levels
        signal, start = coefficients[:0], 0
        with torch.autocast(coefficients.device.type, enabled=False):
            for level in reversed(levels):
                sizes, end = list(level.after), start + level.count - signal.numel()
                details = coefficients[start:end]
                signal = torch.cat([signal.reshape(-1), details]) if start else details
                start = end
                for index, axis in reversed(list(enumerate(level.axes))):
                    rest = prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :])
                    signal = join_axis_fast(signal.reshape(2**index, 2, *rest), wavelet, mode, level.before[axis])
                    sizes[axis] = level.before[axis]
        return signal.reshape(levels[0].before)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        wavelet, mode, levels = ctx.constants
        end = levels[-1].count + sum(level.count - prod(level.after) for level in levels[:-1])
        found = gradient.new_empty(end)
        with torch.autocast(gradient.device.type, enabled=False):
            for level in levels:
                sizes = list(level.before)
                for index, axis in enumerate(level.axes):
                    rest = prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :])
                    gradient = join_axis_fast_adjoint(
                        gradient.reshape(2**index, *rest), wavelet, mode, level.after[axis]
                    )
                    sizes[axis] = level.after[axis]
                kept = 0 if level is levels[-1] else prod(level.after)
                start = end - level.count + kept
                found[start:end] = gradient.reshape(-1)[kept:]
                gradient, end = gradient.reshape(-1)[:kept], start
        return found, None, None, None


def _atoms(wavelet: str, level: int, orientation: str, levels: Sequence[int]) -> tuple[Atom, ...]:
    """What the coefficients of a band stand for along each transformed axis; axes without levels are left out."""
    each = zip(orientation, levels, strict=True)
    return tuple((wavelet, min(level, most), "d" if letter == "d" else "a") for letter, most in each if most)
