"""Scores: how much each coefficient of a tensor is worth keeping. Each score is one function."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wavesweep.pruning.plan import TensorPlan
from wavesweep.runtime.seeding import derived_seed
from wavesweep.transform.basis import Band


@dataclass(frozen=True)
class AnalysedTensor:
    """One tensor after its analysis: its plan, and its flat coefficients in their bands."""

    plan: TensorPlan
    coefficients: Tensor
    bands: tuple[Band, ...]


def magnitude_scores(tensor: AnalysedTensor, atom_norm: bool, seed: int) -> Tensor:
    """|coefficient|, times the norm of its synthesis atom if `atom_norm` (as JPEG 2000 ranks them)."""
    scores = tensor.coefficients.abs()
    if atom_norm:
        for band in tensor.bands:
            scores[band.slice] *= band.atom_norm
    return scores


def random_scores(tensor: AnalysedTensor, atom_norm: bool, seed: int) -> Tensor:
    """Uniform scores that follow from the seed and the tensor's name alone, so masks are nested."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "random", tensor.plan.name))
    return torch.rand(tensor.coefficients.numel(), generator=generator)


def unit_scores(tensor: AnalysedTensor, atom_norm: bool, seed: int) -> Tensor:
    """For each weight the L2 norm of its output unit (row of a linear layer, filter of a convolution).

    The coefficients must be the weights themselves.
    """
    shape, axis = tensor.plan.shape, tensor.plan.unit_axis
    weight = tensor.coefficients.reshape(shape)
    norms: Tensor = torch.linalg.vector_norm(weight.movedim(axis, 0).flatten(1), dim=1)
    return for_each_weight(norms, shape, axis)


def for_each_weight(units: Tensor, shape: Sequence[int], unit_axis: int) -> Tensor:
    """One value per unit, repeated for each of its weights, as a flat vector in the weight's own order."""
    column = [-1 if axis == unit_axis else 1 for axis in range(len(shape))]
    return units.view(column).expand(tuple(shape)).reshape(-1)
