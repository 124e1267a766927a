"""One level of the discrete wavelet transform along one axis, in PyTorch, as PyWavelets defines it.

Analysis filters with the decomposition pair and keeps every second sample; synthesis is its exact inverse
(Mallat 1989; boundary modes as in `pywt.Modes`). Both are sums of shifted slices, so they run on any device, and no
library call per tensor row is needed.
"""

from collections.abc import Iterator, Sequence

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


def join_axis(bands: Tensor, wavelet: pywt.Wavelet, mode: str, length: int) -> Tensor:
    """Inverse of `analyse_axis`, without gradients.

    Bands of shape (outer, 2, before, count, after), of which the second axis is approximation and detail, become
    signals of shape (outer, before, length, after).
    """
    extended, pairs = extended_bands(bands, wavelet, mode)
    return join_extended(extended, pairs, wavelet, mode)[:, :, :length]


def join_extended(extended: Tensor, pairs: int, wavelet: pywt.Wavelet, mode: str) -> Tensor:
    """The samples, twice `pairs`, of bands that go on beyond their ends as `phase_terms` sees them."""
    outer, _, before, _, after = extended.shape
    joined = extended.new_empty((outer, before, pairs, 2, after))
    for phase in (0, 1):
        terms = [
            (extended[:, part, :, row : row + pairs], weight) for part, row, weight in phase_terms(wavelet, mode, phase)
        ]
        _sum_scaled(terms, joined[:, :, :, phase])
    return joined.flatten(2, 3)


def join_axis_adjoint(gradient: Tensor, wavelet: pywt.Wavelet, mode: str, count: int) -> Tensor:
    """The transposed linear map of `join_axis`."""
    extended = extended_signal(gradient, wavelet, mode, count)
    outer, before, _, after = extended.shape
    phases = [extended[:, :, phase::2] for phase in (0, 1)]
    bands = gradient.new_empty((outer, 2, before, count, after))
    for part, taps in enumerate((wavelet.rec_lo, wavelet.rec_hi)):
        terms = [(phases[tap % 2][:, :, tap // 2 : tap // 2 + count], weight) for tap, weight in enumerate(taps)]
        _sum_scaled(terms, bands[:, part])
    return bands


def extended_bands(bands: Tensor, wavelet: pywt.Wavelet, mode: str) -> tuple[Tensor, int]:
    """Bands as `phase_terms` sees them, and how many pairs of samples they are synthesised to."""
    count, half = bands.shape[3], wavelet.rec_len // 2
    if mode == "periodization":
        return _wrapped(bands, 3, half // 2, half // 2), count
    return bands, count - half + 1


def band_rows(wavelet: pywt.Wavelet, mode: str, count: int, first: int, pairs: int) -> Tensor:
    """The rows of a band of `count` that `extended_bands` has for the samples from twice `first` on."""
    half = wavelet.rec_len // 2
    if mode == "periodization":
        return torch.arange(first - half // 2, first + pairs + half // 2) % count
    return torch.arange(first, first + pairs + half - 1)


def extended_signal(gradient: Tensor, wavelet: pywt.Wavelet, mode: str, count: int) -> Tensor:
    """A gradient of which the bands' are the correlation with the filters: that of band[k] begins at sample 2 k."""
    # Sample n of the signal is the sum over k of band[k] * filter[n + shift - 2 k]; this is for its adjoint.
    length, shift = gradient.shape[2], _shift(wavelet, mode)
    end = 2 * count + wavelet.rec_len - 2 - shift
    if mode != "periodization":
        return F.pad(gradient, (0, 0, shift, end - length))
    if length < 2 * count:
        gradient = F.pad(gradient, (0, 0, 0, 2 * count - length))
    return _wrapped(gradient, 2, shift, end - 2 * count)


def phase_terms(wavelet: pywt.Wavelet, mode: str, phase: int) -> Iterator[tuple[int, int, float]]:
    """What even (phase 0) or odd samples are the sum of: a band, its first row in `extended_bands`, and a weight."""
    shift, half = _shift(wavelet, mode), wavelet.rec_len // 2
    first_tap, first_row = (phase + shift) % 2, (phase + shift) // 2
    if mode == "periodization":
        first_row += half // 2
    for part, taps in enumerate((wavelet.rec_lo, wavelet.rec_hi)):
        for step in range(half):
            yield part, first_row - step, taps[2 * step + first_tap]


def _wrapped(signal: Tensor, axis: int, before: int, after: int) -> Tensor:
    """`signal` as a circle along `axis`, from `before` samples earlier to `after` samples later."""
    count = signal.shape[axis]
    if not before and not after:
        return signal
    if before <= count and after <= count:
        return torch.cat([signal.narrow(axis, count - before, before), signal, signal.narrow(axis, 0, after)], axis)
    return signal.index_select(axis, (torch.arange(-before, count + after) % count).to(signal.device))


def _shift(wavelet: pywt.Wavelet, mode: str) -> int:
    half: int = wavelet.rec_len // 2
    return half - 1 if mode == "periodization" else 2 * half - 2


def _filter(extended: Tensor, taps: Sequence[float], count: int) -> Tensor:
    """`count` outputs of the filter `taps`, one for every second row of `extended`."""
    total = extended.new_zeros((count, extended.shape[1]))
    for step, weight in enumerate(taps):
        if weight:
            total.add_(extended[step : step + 2 * count - 1 : 2], alpha=weight)
    return total


def _sum_scaled(terms: Sequence[tuple[Tensor, float]], total: Tensor) -> None:
    """The sum of tensors times numbers, into `total`.

    In float64, which decoding uses, product and sum are rounded one after the other, never fused: so that all
    machines decode the same tensors.
    """
    kept = [(values, weight) for values, weight in terms if weight]
    if total.dtype == torch.float64 or not kept:
        found = torch.zeros(total.shape, dtype=total.dtype, device=total.device)
        for values, weight in kept:
            found.add_(values * weight)
        total.copy_(found)
        return
    torch.mul(kept[0][0], kept[0][1], out=total)
    for values, weight in kept[1:]:
        total.add_(values, alpha=weight)


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
