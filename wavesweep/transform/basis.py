"""Bases: analysis and synthesis of a signal, exact inverses of each other.

A basis turns a signal (a tensor of a fixed shape) into one vector of coefficients and back. `bands` say which
slice of the vector is which subband, so that thresholds, statistics and entropy coding can use the structure.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pywt
import scipy.fft
import scipy.stats
import torch
from torch import Tensor

from wavesweep.transform.dwt import analyse_axis
from wavesweep.transform.multilevel import Level, synthesise_levels

# The DCT of n points as a matrix has n * n numbers too.
_LONGEST_DCT_MATRIX = 2048
# A random rotation of n points needs n * n numbers, so longer axes are rotated in blocks of this many.
ROTATION_BLOCK = 1024


@dataclass(frozen=True)
class Band:
    """A subband: a contiguous slice of the coefficient vector.

    `level` is 0 for a basis without levels. `orientation` has one letter per transformed axis: `a` for
    approximation, `d` for detail, `-` where that axis was not split at this level.
    """

    level: int
    orientation: str
    shape: tuple[int, ...]
    start: int
    atom_norm: float = 1.0

    @property
    def slice(self) -> slice:
        """Where the band lies in the coefficient vector."""
        return slice(self.start, self.start + prod(self.shape))


@dataclass(frozen=True)
class Basis:
    """Analysis (signal to coefficient vector), synthesis (back), and the bands of the vector."""

    analyse: Callable[[Tensor], Tensor]
    synthesise: Callable[[Tensor], Tensor]
    bands: tuple[Band, ...]

    @property
    def count(self) -> int:
        """Number of coefficients; with odd axes or some boundary modes more than the signal has samples."""
        return sum(prod(band.shape) for band in self.bands)


@dataclass(frozen=True)
class BasisSpec:
    """All that is needed to make a basis again: what a compressed file holds of it.

    `kind` is identity, wavelet, dct, rotation or shuffled; `axes` are those that are transformed, `levels` the wavelet
    level of each; `name` (the tensor's) and `seed` decide random matrices and permutations.
    """

    kind: str
    axes: tuple[int, ...] = ()
    wavelet: str = ""
    levels: tuple[int, ...] = ()
    mode: str = ""
    seed: int = 0
    name: str = ""


def make_basis(spec: BasisSpec, shape: Sequence[int]) -> "Basis":
    """The basis of `spec` for signals of `shape`."""
    if spec.kind == "identity":
        return identity_basis(shape)
    if spec.kind == "dct":
        return dct_basis(shape, spec.axes)
    if spec.kind == "rotation":
        return rotation_basis(shape, spec.axes, spec.seed, spec.name)
    wavelet = wavelet_basis(shape, spec.axes, spec.levels, spec.wavelet, spec.mode)
    if spec.kind == "wavelet":
        return wavelet
    return shuffled(wavelet, shape, spec.axes, spec.seed, spec.name)


def identity_basis(shape: Sequence[int]) -> Basis:
    """The coefficients are the samples themselves."""
    shape = tuple(shape)
    return Basis(
        analyse=lambda signal: signal.reshape(-1),
        synthesise=lambda coefficients: coefficients.reshape(shape),
        bands=(Band(0, "", shape, 0),),
    )


def wavelet_basis(
    shape: Sequence[int], axes: Sequence[int], levels: Sequence[int], wavelet_name: str, mode: str
) -> Basis:
    """Multilevel N-D DWT; equal to `pywt.wavedecn` where all `axes` have the same number of `levels`.

    An axis whose levels are used up is left alone while the others go on. Bands run from the approximation
    through the details of the coarsest level to those of the finest, as in PyWavelets.
    """
    shape, axes, levels = tuple(shape), tuple(axes), tuple(levels)
    if not any(levels):
        return identity_basis(shape)
    wavelet = pywt.Wavelet(wavelet_name)
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
        norm = _atom_norm(wavelet_name, level, orientation, levels)
        bands.append(Band(level, orientation, band_shape, start, norm))
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

    return Basis(analyse, synthesise, tuple(bands))


def dct_basis(shape: Sequence[int], axes: Sequence[int]) -> Basis:
    """Orthonormal DCT-II over the whole length of each of `axes` (Ahmed et al. 1974)."""
    shape, axes = tuple(shape), tuple(axes)
    if not axes or 0 in shape:  # SciPy refuses to transform nothing
        return identity_basis(shape)
    return Basis(
        analyse=lambda signal: _dct(signal, axes, inverse=False).reshape(-1),
        synthesise=lambda coefficients: _InverseDct.apply(coefficients.reshape(shape), axes),
        bands=(Band(0, "", shape, 0),),
    )


class _InverseDct(torch.autograd.Function):
    """Being orthonormal, its adjoint is the DCT."""

    @staticmethod
    def forward(ctx: Any, coefficients: Tensor, axes: tuple[int, ...]) -> Tensor:
        ctx.axes = axes
        return _dct(coefficients, axes, inverse=True)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _dct(gradient, ctx.axes, inverse=False), None


def _dct(signal: Tensor, axes: tuple[int, ...], inverse: bool) -> Tensor:
    """SciPy's; on a GPU, for which SciPy would copy each tensor to the CPU and back, products with its matrices."""
    if signal.device.type == "cuda" and max(signal.shape[axis] for axis in axes) <= _LONGEST_DCT_MATRIX:
        return dct_by_matrices(signal, axes, inverse)
    transform = scipy.fft.idctn if inverse else scipy.fft.dctn
    return _apply_numpy(lambda x: transform(x, axes=axes, norm="ortho"), signal)


def dct_by_matrices(signal: Tensor, axes: tuple[int, ...], inverse: bool) -> Tensor:
    """The DCT along `axes` or its inverse, by a product along each axis."""
    with torch.autocast(signal.device.type, enabled=False):
        for axis in axes:
            matrix = _dct_matrix(signal.shape[axis], signal.device, signal.dtype)
            product = torch.tensordot(matrix.T if inverse else matrix, signal, dims=([1], [axis]))
            signal = product.movedim(0, axis)
    return signal


@lru_cache(maxsize=32)
def _dct_matrix(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(scipy.fft.dct(np.eye(size), axis=0, norm="ortho")).to(device, dtype)


def rotation_basis(shape: Sequence[int], axes: Sequence[int], seed: int, name: str) -> Basis:
    """A random orthogonal matrix (Haar measure) along each of `axes`, in blocks of at most 1,024 points.

    The matrices follow from the seed and the tensor's name alone; all blocks of an axis have the same one.
    """
    shape, axes = tuple(shape), tuple(axes)
    seeds = [derived_seed(seed, "rotation", name, str(axis)) for axis in axes]

    kept: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def matrix_of(axis_seed: int, block: Tensor) -> Tensor:
        key = block.shape[0], axis_seed, block.device, block.dtype
        matrix = kept.get(key)
        if matrix is None:
            matrix = torch.from_numpy(_orthogonal(*key[:2])).to(block)
            # Each step of a training needs those of all layers; elsewhere they are not worth their memory.
            if torch.is_grad_enabled() and block.requires_grad:
                kept[key] = matrix
        return matrix

    def rotate(signal: Tensor, inverse: bool) -> Tensor:
        with torch.autocast(signal.device.type, enabled=False):  # as precise as the other bases
            return rotated(signal, inverse)

    def rotated(signal: Tensor, inverse: bool) -> Tensor:
        for axis, axis_seed in zip(axes, seeds, strict=True):
            rows = signal.movedim(axis, 0)
            blocks = []
            for block in torch.split(rows, ROTATION_BLOCK):
                matrix = matrix_of(axis_seed, block)
                blocks.append(torch.tensordot(matrix.T if inverse else matrix, block, dims=1))
            signal = (torch.cat(blocks) if len(blocks) > 1 else blocks[0]).movedim(0, axis)
        return signal

    return Basis(
        analyse=lambda signal: rotate(signal, inverse=False).reshape(-1),
        synthesise=lambda coefficients: rotate(coefficients.reshape(shape), inverse=True),
        bands=(Band(0, "", shape, 0),),
    )


def shuffled(basis: Basis, shape: Sequence[int], axes: Sequence[int], seed: int, name: str) -> Basis:
    """`basis` after a fixed random permutation of each of `axes`: same transform, no locality."""
    orders = {
        axis: torch.randperm(
            shape[axis],
            generator=torch.Generator().manual_seed(derived_seed(seed, "shuffle", name, str(axis))),
        )
        for axis in axes
    }
    back = {axis: order.argsort() for axis, order in orders.items()}

    @cache  # a copy to a GPU waits for what it still has to do
    def on(device: torch.device) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        there, back_there = ({axis: one.to(device) for axis, one in each.items()} for each in (orders, back))
        return there, back_there

    def analyse(signal: Tensor) -> Tensor:
        there, back_there = on(signal.device)
        return basis.analyse(_Permutation.apply(signal, there, back_there))

    def synthesise(coefficients: Tensor) -> Tensor:
        there, back_there = on(coefficients.device)
        signal: Tensor = _Permutation.apply(basis.synthesise(coefficients), back_there, there)
        return signal

    return Basis(analyse, synthesise, basis.bands)


class _Permutation(torch.autograd.Function):
    """A permutation of each of some axes; its adjoint is its inverse, while autograd's would add to zeros by index."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, orders: dict[int, Tensor], inverse: dict[int, Tensor]) -> Tensor:
        ctx.inverse = inverse
        return _permuted(signal, orders)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _permuted(gradient, ctx.inverse), None, None


def _permuted(signal: Tensor, orders: dict[int, Tensor]) -> Tensor:
    for axis, order in orders.items():
        signal = signal.index_select(axis, order)
    return signal


@lru_cache(maxsize=256)
def canonical_name(wavelet_name: str) -> str:
    """One name for wavelets of the same filters (haar, db1, bior1.1), so that equal transforms are equal files."""
    filters = pywt.Wavelet(wavelet_name).filter_bank
    same = [name for name in pywt.wavelist(kind="discrete") if pywt.Wavelet(name).filter_bank == filters]
    return str(min(same, key=lambda name: (name != "haar", len(name), name)))


def derived_seed(seed: int, *parts: str) -> int:
    """A seed of its own for each purpose and tensor, so that they are independent of each other's order."""
    digest = hashlib.sha256("/".join([str(seed), *parts]).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _apply_numpy(transform: Callable[[np.ndarray], np.ndarray], tensor: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(transform(tensor.detach().cpu().numpy()))).to(tensor)


@lru_cache(maxsize=16)
def _orthogonal(size: int, seed: int) -> np.ndarray:
    if size == 1:
        return np.ones((1, 1))
    matrix: np.ndarray = scipy.stats.ortho_group.rvs(size, random_state=np.random.default_rng(seed))
    return matrix


def _atom_norm(wavelet_name: str, level: int, orientation: str, levels: Sequence[int]) -> float:
    """L2 norm of a synthesis atom of a band, away from the boundary; the axes' norms multiply."""
    norm = 1.0
    for letter, most in zip(orientation, levels, strict=True):
        axis_level = min(level, most)
        if axis_level:
            norm *= _atom_norm_1d(wavelet_name, axis_level, "d" if letter == "d" else "a")
    return norm


@lru_cache(maxsize=4096)
def _atom_norm_1d(wavelet_name: str, level: int, part: str) -> float:
    atom = np.ones(1)
    for step in range(level):
        filtered = (atom, None) if step or part == "a" else (None, atom)
        atom = pywt.idwt(*(None if f is None else np.pad(f, 64) for f in filtered), wavelet_name, mode="zero")
        atom = np.trim_zeros(atom)
    return float(np.linalg.norm(atom))
