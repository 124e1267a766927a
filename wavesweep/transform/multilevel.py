"""Synthesis of all levels of a wavelet transform as one operation with a gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import pywt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wavesweep.transform.matrices import join_axis_fast, join_axis_fast_adjoint


@dataclass(frozen=True)
class Level:
    """One level of a transform: the axes that it splits, and the sizes of what it splits and of each band."""

    axes: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of coefficients of its bands, the approximation among them."""
        return prod(self.after) << len(self.axes)


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
