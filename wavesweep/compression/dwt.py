"""One level of the discrete wavelet transform along one axis, in PyTorch, as PyWavelets defines it.

Analysis filters with the decomposition pair and keeps every second sample; synthesis is its exact inverse
(Mallat 1989; boundary modes as in `pywt.Modes`). Both are sums of shifted slices, so they run on any device,
synthesis has gradients, and no library call per tensor row is needed.
"""

from collections.abc import Sequence

import pywt
import torch
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
    count, half = approximation.shape[axis], wavelet.rec_len // 2
    periodic = mode == "periodization"
    shift = half - 1 if periodic else 2 * half - 2
    pairs = count if periodic else count - half + 1
    parts = [_axis_first(approximation, axis), _axis_first(detail, axis)]
    if periodic:
        # Both ends wrap around: index half - 1 of the extended rows is index 0 of the band.
        index = torch.arange(-(half - 1), count + half - 1) % count
        parts = [part.index_select(0, index.to(part.device)) for part in parts]
    phases = []
    for phase in (0, 1):
        first_tap, first_row = (phase + shift) % 2, (phase + shift) // 2 + (half - 1 if periodic else 0)
        total = torch.zeros_like(parts[0][:pairs])
        for part, filter_taps in zip(parts, (wavelet.rec_lo, wavelet.rec_hi), strict=True):
            for step in range(half):
                weight = filter_taps[2 * step + first_tap]
                if weight:
                    row = first_row - step
                    total = _add_scaled(total, part[row : row + pairs], weight)
        phases.append(total)
    rows = torch.stack(phases, dim=1).flatten(0, 1)[:length]
    return _axis_back(rows, _other_sizes(approximation, axis), axis)


def _filter(extended: Tensor, taps: Sequence[float], count: int) -> Tensor:
    """`count` outputs of the filter `taps`, one for every second row of `extended`."""
    total = extended.new_zeros((count, extended.shape[1]))
    for step, weight in enumerate(taps):
        if weight:
            total.add_(extended[step : step + 2 * count - 1 : 2], alpha=weight)
    return total


def _add_scaled(total: Tensor, rows: Tensor, weight: float) -> Tensor:
    """`total + weight * rows`, into `total`.

    In float64, which decoding uses, product and sum are rounded one after the other, never fused: so that all
    machines decode the same tensors.
    """
    if total.dtype == torch.float64:
        return total.add_(rows * weight)
    return total.add_(rows, alpha=weight)


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
