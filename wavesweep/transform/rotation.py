"""A random rotation: the control that has no structure at all."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from wavesweep.runtime.seeding import derived_seed
from wavesweep.transform.basis import Band, Basis, BasisSpec
from wavesweep.transform.by_parts import PART, BandReader, read_by_parts

# A random rotation of n points needs n * n numbers, so longer axes are rotated in blocks of this many.
ROTATION_BLOCK = 1024


def rotation_basis(shape: Sequence[int], spec: BasisSpec) -> Basis:
    """A random orthogonal matrix (Haar measure) along each of `spec.axes`, in blocks of at most 1,024 points.

    Blocks of one length have one matrix, which follows from the seed and the length alone: so a file needs few. With
    `spec.name`, as in older files, it follows from the seed, the name and the axis.
    """
    shape, axes = tuple(shape), spec.axes
    kept: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def seed_of(axis: int, size: int) -> int:
        parts = (spec.name, str(axis)) if spec.name else (str(size),)
        return derived_seed(spec.seed, "rotation", *parts)

    def matrix_of(seed: int, block: Tensor) -> Tensor:
        key = block.shape[0], seed, block.device, block.dtype
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
        for axis in axes:
            rows = signal.movedim(axis, 0)
            blocks = []
            for block in torch.split(rows, ROTATION_BLOCK):
                matrix = matrix_of(seed_of(axis, len(block)), block)
                blocks.append(torch.tensordot(matrix.T if inverse else matrix, block, dims=1))
            signal = (torch.cat(blocks) if len(blocks) > 1 else blocks[0]).movedim(0, axis)
        return signal

    def synthesise_by_parts(read: BandReader) -> Tensor:
        signal = read_by_parts(read, shape, torch.float64)
        for axis in axes:
            for part in _parts(signal, axis):
                for block in torch.split(part, ROTATION_BLOCK, axis):
                    matrix = matrix_of(seed_of(axis, block.shape[axis]), block.movedim(axis, 0))
                    block.copy_(torch.tensordot(matrix.T, block, dims=([1], [axis])).movedim(0, axis))
        return signal.float()

    sizes = [(axis, size) for axis in axes for size in {min(shape[axis], ROTATION_BLOCK), shape[axis] % ROTATION_BLOCK}]
    return Basis(
        analyse=lambda signal: rotate(signal, inverse=False).reshape(-1),
        synthesise=lambda coefficients: rotate(coefficients.reshape(shape), inverse=True),
        bands=(Band(0, "", shape, 0),),
        random_matrices=tuple((seed_of(axis, size), size) for axis, size in sizes if size > 1),
        synthesise_by_parts=synthesise_by_parts,
    )


def _parts(signal: Tensor, axis: int) -> tuple[Tensor, ...]:
    """A signal in parts along its longest axis but the given one."""
    others = [other for other in range(signal.dim()) if other != axis]
    if not others:
        return (signal,)
    longest = max(others, key=signal.shape.__getitem__)
    rows = max(1, PART * signal.shape[longest] // max(1, signal.numel()))
    return torch.split(signal, rows, longest)


@lru_cache(maxsize=8)
def _orthogonal(size: int, seed: int) -> np.ndarray:
    if size == 1:
        return np.ones((1, 1))
    matrix: np.ndarray = scipy.stats.ortho_group.rvs(size, random_state=np.random.default_rng(seed))
    return matrix
