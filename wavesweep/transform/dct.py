"""The orthonormal discrete cosine transform."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from wavesweep.transform.basis import Band, Basis, BasisSpec, identity_basis
from wavesweep.transform.by_parts import read_by_parts

# The DCT of n points as a matrix has n * n numbers too.
_LONGEST_MATRIX = 2048


def dct_basis(shape: Sequence[int], spec: BasisSpec) -> Basis:
    """Orthonormal DCT-II over the whole length of each of `spec.axes` (Ahmed et al. 1974)."""
    shape, axes = tuple(shape), spec.axes
    if not axes or 0 in shape:  # SciPy refuses to transform nothing
        return identity_basis(shape, spec)
    return Basis(
        analyse=lambda signal: _dct(signal, axes, inverse=False).reshape(-1),
        synthesise=lambda coefficients: _InverseDct.apply(coefficients.reshape(shape), axes),
        bands=(Band(0, "", shape, 0),),
        synthesise_by_parts=lambda read: _inverse_in_place(read_by_parts(read, shape, torch.float64), axes),
    )


def _inverse_in_place(coefficients: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The inverse DCT as float32; `coefficients` are overwritten."""
    return torch.from_numpy(scipy.fft.idctn(coefficients.numpy(), axes=axes, norm="ortho", overwrite_x=True)).float()


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
    if signal.device.type == "cuda" and max(signal.shape[axis] for axis in axes) <= _LONGEST_MATRIX:
        return dct_by_matrices(signal, axes, inverse)
    transform = scipy.fft.idctn if inverse else scipy.fft.dctn
    transformed = transform(signal.detach().cpu().numpy(), axes=axes, norm="ortho")
    return torch.from_numpy(np.ascontiguousarray(transformed)).to(signal)


def dct_by_matrices(signal: Tensor, axes: tuple[int, ...], inverse: bool) -> Tensor:
    """The DCT along `axes` or its inverse, by a product along each axis."""
    with torch.autocast(signal.device.type, enabled=False):
        for axis in axes:
            matrix = _matrix(signal.shape[axis], signal.device, signal.dtype)
            product = torch.tensordot(matrix.T if inverse else matrix, signal, dims=([1], [axis]))
            signal = product.movedim(0, axis)
    return signal


@lru_cache(maxsize=32)
def _matrix(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(scipy.fft.dct(np.eye(size), axis=0, norm="ortho")).to(device, dtype)
