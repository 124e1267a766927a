"""Synthesis along one axis by products with small matrices: what training uses, where a step pays for it.

Sums of shifted slices read and write memory once per tap, and are many operations where a tensor is small. They stay
where they are as fast, and in float64, whose results all machines must agree on.
"""

from collections.abc import Sequence
from functools import lru_cache

import pywt
import torch
import torch.nn.functional as F
from torch import Tensor

from wavesweep.transform.dwt import extended_bands, extended_signal, join_axis, join_axis_adjoint, phase_terms

# An axis of at most this length gets one matrix, if few products are made with it or few numbers lie side by side;
# but not if it stands on the left of many small planes, one call each.
_SHORT, _FEW_PRODUCTS, _FEW_NUMBERS, _FEW_PLANES = 128, 1_000_000, 32, 32
# A longer one gets a matrix per tile, unless so many numbers lie behind it that sums run over long slices.
_NARROW = 16
# Width of a tile, in numbers of a band.
_LEAST, _MOST = 12, 32


def join_axis_fast(bands: Tensor, wavelet: pywt.Wavelet, mode: str, length: int) -> Tensor:
    """As `join_axis`, with sums in any order except in float64."""
    outer, _, before, count, after = bands.shape
    if _is_dense(bands, length):
        inner = _inner(length, after)
        low, high = _axis_matrices(wavelet.name, mode, count, length, inner, bands.device, bands.dtype)
        if inner == after:
            return _joined(bands.reshape(outer, 2, before, count * after), low, high).reshape(
                outer, before, length, after
            )
        planes = bands.transpose(0, 1).reshape(2, outer * before, count, after)
        found = torch.bmm(low.T.expand(outer * before, -1, -1), planes[0])
        found.baddbmm_(high.T.expand(outer * before, -1, -1), planes[1])
        return found.reshape(outer, before, length, after)
    if not _is_tiled(bands):
        return join_axis(bands, wavelet, mode, length)
    extended, pairs = extended_bands(bands, wavelet, mode)
    more, tile = extended.shape[3] - pairs, _tile(pairs, after)
    tiles = -(-pairs // tile)
    extended = _padded(extended, tiles * tile - pairs)
    windows = extended.flatten(3).unfold(3, (tile + more) * after, tile * after).flatten(2, 3)
    low, high = _join_matrices(wavelet.name, mode, tile, more, after, bands.device, bands.dtype)
    return _joined(windows, low, high).reshape(outer, before, tiles * 2 * tile, after)[:, :, :length]


def join_axis_fast_adjoint(gradient: Tensor, wavelet: pywt.Wavelet, mode: str, count: int) -> Tensor:
    """The transposed linear map of `join_axis_fast`."""
    outer, before, length, after = gradient.shape
    if _is_dense(gradient, length):
        inner = _inner(length, after)
        matrices = _axis_matrices(wavelet.name, mode, count, length, inner, gradient.device, gradient.dtype)
        if inner == after:
            return _split(gradient.flatten(2), [matrix.T for matrix in matrices]).reshape(
                outer, 2, before, count, after
            )
        planes = gradient.reshape(outer * before, length, after)
        parts = [torch.bmm(matrix.expand(outer * before, -1, -1), planes) for matrix in matrices]
        return torch.stack([part.reshape(outer, before, count, after) for part in parts], 1)
    if not _is_tiled(gradient):
        return join_axis_adjoint(gradient, wavelet, mode, count)
    extended = extended_signal(gradient, wavelet, mode, count)
    more, tile = wavelet.rec_len - 2, _tile(count, after)
    tiles = -(-count // tile)
    extended = _padded(extended, 2 * (tiles * tile - count))
    windows = extended.flatten(2).unfold(2, (2 * tile + more) * after, 2 * tile * after).flatten(1, 2)
    found = _split(windows, _split_matrices(wavelet.name, tile, after, gradient.device, gradient.dtype))
    return found.reshape(outer, 2, before, tiles * tile, after)[:, :, :, :count]


def _is_dense(tensor: Tensor, length: int) -> bool:
    after, size = tensor.shape[-1], tensor.numel()
    if tensor.dtype == torch.float64 or length > _SHORT:
        return False
    if _inner(length, after) == after:
        return length * after <= _FEW_NUMBERS or length * size <= _FEW_PRODUCTS
    return length * size <= _FEW_PRODUCTS and size <= _FEW_PLANES * length * after


def _is_tiled(tensor: Tensor) -> bool:
    return tensor.dtype != torch.float64 and tensor.shape[-1] <= _NARROW


def _inner(length: int, after: int) -> int:
    """How many neighbours of an axis its matrix takes in: all, so that rows are long enough, or none but itself."""
    return after if length * after <= 2 * _FEW_NUMBERS else 1


def _tile(count: int, after: int) -> int:
    """Length of the tiles of a band that leaves least of the last one empty."""
    least, most = -(-_LEAST // after), _MOST // after
    return count if count <= most else min(range(least, most + 1), key=lambda size: (-count % size, size))


def _padded(extended: Tensor, more: int) -> Tensor:
    return F.pad(extended, (0, 0, 0, more)) if more else extended


def _joined(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Rows (outer, 2, n, k) of both bands times a matrix each, added up."""
    found = torch.bmm(rows[:, 0], low.expand(len(rows), -1, -1))
    return found.baddbmm_(rows[:, 1], high.expand(len(rows), -1, -1))


def _split(rows: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """The adjoint: rows (outer, n, k) times the matrix of each band, as (outer, 2, n, m)."""
    if matrices[0].shape[1] < _NARROW:
        # One product of twice the width: two narrow ones take longer than it and the copy that parts the bands.
        both = torch.bmm(rows, torch.cat([*matrices], 1).expand(len(rows), -1, -1))
        return both.reshape(*rows.shape[:2], 2, both.shape[2] // 2).permute(0, 2, 1, 3)
    found = rows.new_empty((len(rows), 2, rows.shape[1], matrices[0].shape[1]))
    for part, matrix in enumerate(matrices):
        torch.bmm(rows, matrix.expand(len(rows), -1, -1), out=found[:, part])
    return found


@lru_cache(maxsize=256)
def _axis_matrices(
    name: str, mode: str, count: int, length: int, inner: int, device: torch.device, dtype: torch.dtype
) -> list[Tensor]:
    """What each band of a whole axis is multiplied with from the right: the synthesis of unit vectors."""
    units = torch.eye(2 * count, dtype=torch.float64).reshape(1, 2, 1, count, 2 * count)
    matrix = join_axis(units, pywt.Wavelet(name), mode, length).reshape(length, 2, count).permute(1, 2, 0)
    return _with_neighbours(matrix, inner, device, dtype)


@lru_cache(maxsize=256)
def _join_matrices(
    name: str, mode: str, tile: int, more: int, after: int, device: torch.device, dtype: torch.dtype
) -> list[Tensor]:
    """Likewise for the extended bands of a tile: pairs of samples from as many rows and `more`."""
    matrix = torch.zeros((2, tile + more, tile, 2), dtype=torch.float64)
    for phase in (0, 1):
        for part, row, weight in phase_terms(pywt.Wavelet(name), mode, phase):
            if weight:  # some wavelets are padded with zeros, beyond the rows that there are
                matrix[part, row : row + tile, :, phase] += weight * torch.eye(tile, dtype=torch.float64)
    return _with_neighbours(matrix.flatten(2), after, device, dtype)


@lru_cache(maxsize=256)
def _split_matrices(name: str, tile: int, after: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Likewise for a tile of the adjoint."""
    wavelet = pywt.Wavelet(name)
    matrix = torch.zeros((2, 2 * tile + wavelet.rec_len - 2, tile), dtype=torch.float64)
    for part, taps in enumerate((wavelet.rec_lo, wavelet.rec_hi)):
        for k in range(tile):
            matrix[part, 2 * k : 2 * k + len(taps), k] = torch.tensor(taps, dtype=torch.float64)
    return _with_neighbours(matrix, after, device, dtype)


def _with_neighbours(matrices: Tensor, inner: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Matrices for rows of an axis and the `inner` numbers behind it, each of which is transformed alike."""
    _, rows, columns = matrices.shape
    # The Kronecker product with a unit matrix; torch.kron refuses some strides.
    wide = matrices[:, :, None, :, None] * torch.eye(inner, dtype=matrices.dtype)[:, None, :]
    return list(wide.reshape(-1, rows * inner, columns * inner).to(device, dtype))
