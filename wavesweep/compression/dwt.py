"""One level of the discrete wavelet transform along one axis, in PyTorch, as PyWavelets defines it.

Analysis filters with the decomposition pair and keeps every second sample; synthesis is its exact inverse
(Mallat 1989; boundary modes as in `pywt.Modes`). Both are sums of shifted slices, so they run on any device,
synthesis has gradients, and no library call per tensor row is needed.
"""

import math
from collections.abc import Sequence
from typing import Any

import pywt
import torch
import torch.nn.functional as F
from torch import Tensor


def analyse_axis(signal: Tensor, axis: int, wavelet: pywt.Wavelet, mode: str) -> tuple[Tensor, Tensor]:
    """Approximation and detail of `signal` along `axis`.

    Equal to `pywt.dwt(signal, wavelet, mode, axis)`. An axis of length n becomes ceil(n / 2) with mode
    `periodization` and floor((n + filter length - 1) / 2) with every other mode.
    """
    length, taps = signal.shape[axis], wavelet.dec_len
    rows = _axis_first(signal, axis)
    if mode == "periodization":
        count = (length + 1) // 2
        start = -(taps // 2 - 1)
        index = torch.arange(start, start + 2 * count + taps - 2) % (2 * count)
        # An odd length is extended by one sample, a copy of its last.
        extended = rows.index_select(0, index.clamp_(max=length - 1).to(rows.device))
    else:
        count = (length + taps - 1) // 2
        extended = _extend(rows, taps - 2, 2 * count - length, mode)
    shape = _other_sizes(signal, axis)
    return (
        _axis_back(_filter(extended, wavelet.dec_lo[::-1], count), shape, axis),
        _axis_back(_filter(extended, wavelet.dec_hi[::-1], count), shape, axis),
    )


def synthesise_axis(
    approximation: Tensor, detail: Tensor, axis: int, wavelet: pywt.Wavelet, mode: str, length: int
) -> Tensor:
    """Inverse of `analyse_axis`: the signal whose `axis` has `length` samples, with gradients."""
    pre, post = math.prod(approximation.shape[:axis]), math.prod(approximation.shape[axis + 1 :])
    parts = [part.reshape(pre, part.shape[axis], post) for part in (approximation, detail)]
    found: Tensor = _Synthesis.apply(*parts, wavelet, mode == "periodization", length)
    return found.reshape(*approximation.shape[:axis], length, *approximation.shape[axis + 1 :])


class _Synthesis(torch.autograd.Function):
    """Synthesis along the middle of three axes, with the adjoint written out: autograd's own pads every slice.

    Even and odd samples are made apart and interleaved at the end, so that all sums run over contiguous memory.
    """

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor, wavelet: pywt.Wavelet, periodic: bool, length: int) -> Tensor:
        ctx.constants = wavelet, periodic, low.shape[1]
        count, half = low.shape[1], wavelet.rec_len // 2
        shift = _shift(wavelet, periodic)
        pairs = count if periodic else count - half + 1
        parts = [low, high]
        if periodic:
            # Index half - 1 of the extended part is index 0 of the band.
            parts = [_wrapped(part, half - 1, half - 1) for part in parts]
        phases = []
        for phase in (0, 1):
            first_tap, first_row = (phase + shift) % 2, (phase + shift) // 2 + (half - 1 if periodic else 0)
            terms = []
            for part, filter_taps in zip(parts, (wavelet.rec_lo, wavelet.rec_hi), strict=True):
                for step in range(half):
                    row = first_row - step
                    terms.append((part[:, row : row + pairs], filter_taps[2 * step + first_tap]))
            phases.append(_sum_scaled(terms, low.new_empty((low.shape[0], pairs, low.shape[2]))))
        return torch.stack(phases, dim=2).flatten(1, 2)[:, :length]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        wavelet, periodic, count = ctx.constants
        # Sample n of the signal is the sum over k of band[k] * filter[n + shift - 2 k]; this is its adjoint.
        shift = _shift(wavelet, periodic)
        length, end = gradient.shape[1], 2 * count + wavelet.rec_len - 2 - shift
        if periodic:
            if length < 2 * count:
                gradient = F.pad(gradient, (0, 0, 0, 2 * count - length))
            extended = _wrapped(gradient, shift, end - 2 * count)
        else:
            extended = F.pad(gradient, (0, 0, shift, end - length))
        phases = [extended[:, phase::2].contiguous() for phase in (0, 1)]
        found = []
        for taps in (wavelet.rec_lo, wavelet.rec_hi):
            terms = [(phases[tap % 2][:, tap // 2 : tap // 2 + count], weight) for tap, weight in enumerate(taps)]
            found.append(_sum_scaled(terms, gradient.new_empty((gradient.shape[0], count, gradient.shape[2]))))
        return found[0], found[1], None, None, None


def _wrapped(signal: Tensor, before: int, after: int) -> Tensor:
    """`signal` as a circle along its middle axis, from `before` samples earlier to `after` samples later."""
    count = signal.shape[1]
    if not before and not after:
        return signal
    if before <= count and after <= count:
        return torch.cat([signal[:, count - before :], signal, signal[:, :after]], dim=1)
    return signal.index_select(1, (torch.arange(-before, count + after) % count).to(signal.device))


def _shift(wavelet: pywt.Wavelet, periodic: bool) -> int:
    half: int = wavelet.rec_len // 2
    return half - 1 if periodic else 2 * half - 2


def _filter(extended: Tensor, taps: Sequence[float], count: int) -> Tensor:
    """`count` outputs of the filter `taps`, one for every second row of `extended`."""
    total = extended.new_zeros((count, extended.shape[1]))
    for step, weight in enumerate(taps):
        if weight:
            total.add_(extended[step : step + 2 * count - 1 : 2], alpha=weight)
    return total


def _sum_scaled(terms: Sequence[tuple[Tensor, float]], total: Tensor) -> Tensor:
    """The sum of tensors times numbers, into `total`.

    In float64, which decoding uses, product and sum are rounded one after the other, never fused: so that all
    machines decode the same tensors.
    """
    kept = [(values, weight) for values, weight in terms if weight]
    if total.dtype == torch.float64 or not kept:
        total.zero_()
        for values, weight in kept:
            total.add_(values * weight)
        return total
    torch.mul(kept[0][0], kept[0][1], out=total)
    for values, weight in kept[1:]:
        total.add_(values, alpha=weight)
    return total


def _extend(rows: Tensor, before: int, after: int, mode: str) -> Tensor:
    """`rows` with more rows before and after, by one of PyWavelets' extension modes."""
    if mode == "smooth":  # pywt.pad cannot extend a single column in this mode
        down = torch.arange(before, 0, -1, dtype=rows.dtype, device=rows.device)[:, None]
        up = torch.arange(1, after + 1, dtype=rows.dtype, device=rows.device)[:, None]
        first, last = rows[0] - rows[1], rows[-1] - rows[-2]
        return torch.cat([rows[0] + down * first, rows, rows[-1] + up * last])
    # pywt.pad fails in some modes where an axis gets no padding, so pad one more everywhere and cut it off.
    padded = pywt.pad(rows.cpu().numpy(), [(before + 1, after + 1), (1, 1)], mode)
    return torch.from_numpy(padded[1:-1, 1:-1]).to(rows)


def _axis_first(tensor: Tensor, axis: int) -> Tensor:
    return tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)


def _other_sizes(tensor: Tensor, axis: int) -> list[int]:
    return [size for position, size in enumerate(tensor.shape) if position != axis]


def _axis_back(rows: Tensor, other_sizes: list[int], axis: int) -> Tensor:
    return rows.reshape(rows.shape[0], *other_sizes).movedim(0, axis)
