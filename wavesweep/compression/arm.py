"""One arm: a method applied to all tensors of a network. The five steps of the design in one place.

weight -> signal -> coefficients -> score and select -> mask -> synthesis -> weight
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wavesweep.compression import select
from wavesweep.compression.basis import Band, Basis, BasisSpec, canonical_name, make_basis
from wavesweep.compression.layers import TensorPlan
from wavesweep.config import ThresholdSettings
from wavesweep.errors import TrialError


@dataclass(frozen=True)
class Method:
    """A row of the table of methods: which basis, which score."""

    basis: str
    score: str


METHODS: Mapping[str, Method] = {
    "wavelet": Method(basis="wavelet", score="magnitude"),
    "magnitude": Method(basis="identity", score="magnitude"),
    "random": Method(basis="identity", score="random"),
    "unit": Method(basis="identity", score="unit"),
    "dct": Method(basis="dct", score="magnitude"),
    "rotation": Method(basis="rotation", score="magnitude"),
    "shuffled": Method(basis="shuffled", score="magnitude"),
}


@dataclass(frozen=True)
class ArmSpec:
    """Everything besides the weights that decides an arm's result.

    `kept` is the number of coefficients to keep per selection group (see `selection_groups`), or None to let
    the threshold rule decide; arms that are compared get the numbers of the main arm. `step_scale` is a factor
    of the quantiser's step, with which arms are matched by stored bytes.
    """

    method: str
    plans: tuple[TensorPlan, ...]
    boundary: str
    threshold: ThresholdSettings
    seed: int
    kept: tuple[int, ...] | None = None
    step_scale: float = 1.0


@dataclass(frozen=True)
class PrunedTensor:
    """One tensor after pruning: its coefficients (flat, pruned ones zero), their mask, and the weight."""

    plan: TensorPlan
    basis: BasisSpec
    bands: tuple[Band, ...]
    coefficients: Tensor
    mask: Tensor
    weight: Tensor
    error: float


@dataclass(frozen=True)
class PrunedArm:
    """All pruned tensors of a network, and the number kept per selection group."""

    tensors: tuple[PrunedTensor, ...]
    kept: tuple[int, ...]
    shrinkage: str


def selection_groups(plans: Sequence[TensorPlan], scope: str) -> list[list[int]]:
    """Positions of the plans that share one threshold: each alone, or all that have no percentile of their own."""
    alone = [[index] for index, plan in enumerate(plans) if scope == "layer" or plan.percentile is not None]
    shared = [index for index, plan in enumerate(plans) if [index] not in alone]
    return [*alone, shared] if shared else alone


def basis_spec(method: str, plan: TensorPlan, boundary: str, seed: int) -> BasisSpec:
    """The basis that `method` uses for one tensor; what does not matter for it is left out."""
    kind = METHODS[method].basis
    if kind == "identity":
        return BasisSpec(kind)
    if kind == "dct":
        return BasisSpec(kind, plan.axes)
    if kind == "rotation":
        return BasisSpec(kind, plan.axes, seed=seed, name=plan.name)
    if not any(plan.levels):
        return BasisSpec("identity")
    spec = BasisSpec(kind, plan.axes, canonical_name(plan.wavelet), plan.levels, boundary)
    return replace(spec, seed=seed, name=plan.name) if kind == "shuffled" else spec


def build_basis(method: str, plan: TensorPlan, boundary: str, seed: int) -> Basis:
    """The basis that `method` uses for one tensor."""
    return make_basis(basis_spec(method, plan, boundary, seed), plan.view)


def prune(weights: Mapping[str, Tensor], spec: ArmSpec) -> PrunedArm:
    """Prune the tensors of `spec.plans` and synthesise their weights from what is kept.

    Args:
        weights: tensor name to weight, on the CPU.
        spec: method, plans, threshold and seed.

    Raises:
        TrialError: a weight is not finite.
    """
    method = METHODS[spec.method]
    bases, coefficients, scores = [], [], []
    for plan in spec.plans:
        weight = weights[plan.name]
        if not bool(torch.isfinite(weight).all()):
            raise TrialError(f"tensor {plan.name} holds NaN or infinity; check the training of the baseline")
        basis = build_basis(spec.method, plan, spec.boundary, spec.seed)
        values = basis.analyse(weight.reshape(plan.view))
        bases.append(basis)
        coefficients.append(values)
        scores.append(_scores(method.score, weight, values, basis, plan, spec))
    masks: dict[int, Tensor] = {}
    edges: dict[int, float] = {}
    kept = []
    for number, group in enumerate(selection_groups(spec.plans, spec.threshold.scope)):
        group_scores = torch.cat([scores[i] for i in group])
        wanted = _cut(group, group_scores, scores, bases, spec) if spec.kept is None else select.Cut(spec.kept[number])
        count = min(wanted.kept, group_scores.numel())
        if method.score == "unit":
            group_mask = _unit_mask([weights[spec.plans[i].name] for i in group], [spec.plans[i] for i in group], count)
        else:
            group_mask = select.keep_top(group_scores, count)
        # Whole units seldom fit the count exactly; what is compared gets the number that was really kept.
        kept.append(int(group_mask.sum()))
        pruned_scores = group_scores[~group_mask]
        largest_pruned = float(pruned_scores.max()) if pruned_scores.numel() else 0.0
        for i, mask in zip(group, torch.split(group_mask, [scores[i].numel() for i in group]), strict=True):
            masks[i], edges[i] = mask, largest_pruned if wanted.threshold is None else wanted.threshold
    # Soft thresholding moves coefficients by a magnitude, so it needs a score that is one.
    soft = spec.threshold.shrinkage == "soft" and method.score == "magnitude"
    tensors = []
    for i, (plan, basis) in enumerate(zip(spec.plans, bases, strict=True)):
        pruned = coefficients[i] * masks[i]
        if soft:
            pruned = select.soften(pruned, scores[i], edges[i])
        original = weights[plan.name]
        weight = basis.synthesise(pruned).reshape(plan.shape)
        form = basis_spec(spec.method, plan, spec.boundary, spec.seed)
        tensors.append(
            PrunedTensor(plan, form, basis.bands, pruned, masks[i], weight, relative_error(original, weight))
        )
    return PrunedArm(tuple(tensors), tuple(kept), "soft" if soft else "hard")


def _cut(group: list[int], group_scores: Tensor, scores: list[Tensor], bases: list[Basis], spec: ArmSpec) -> select.Cut:
    own = spec.plans[group[0]].percentile
    finest = torch.cat([_finest(scores[i], bases[i]) for i in group])
    return select.cut(group_scores, spec.threshold, spec.threshold.percentile if own is None else own, finest)


def _unit_mask(weights: Sequence[Tensor], plans: Sequence[TensorPlan], kept: int) -> Tensor:
    """Mask over all weights of the tensors, in which each unit is kept whole or not at all."""
    norms = [select.unit_scores(weight, plan.unit_axis) for weight, plan in zip(weights, plans, strict=True)]
    sizes = [torch.full((len(norm),), weight.numel() // len(norm)) for norm, weight in zip(norms, weights, strict=True)]
    units_mask = select.keep_top_units(torch.cat(norms), torch.cat(sizes), kept)
    kept_units = torch.split(units_mask, [len(norm) for norm in norms])
    masks = [_per_weight(units, weight, plan) for units, weight, plan in zip(kept_units, weights, plans, strict=True)]
    return torch.cat(masks)


def _per_weight(units: Tensor, weight: Tensor, plan: TensorPlan) -> Tensor:
    """One value per unit, repeated for each of its weights, as a flat vector in the weight's own order."""
    shape = [-1 if axis == plan.unit_axis else 1 for axis in range(weight.dim())]
    return units.view(shape).expand(weight.shape).reshape(-1)


def relative_error(original: Tensor, weight: Tensor) -> float:
    """L2 norm of the difference over that of the original."""
    norm = torch.linalg.vector_norm(original)
    return float(torch.linalg.vector_norm(original - weight) / norm) if norm > 0 else 0.0


def _scores(kind: str, weight: Tensor, values: Tensor, basis: Basis, plan: TensorPlan, spec: ArmSpec) -> Tensor:
    if kind == "random":
        return select.random_scores(values.numel(), spec.seed, plan.name)
    if kind == "unit":
        return _per_weight(select.unit_scores(weight, plan.unit_axis), weight, plan)
    return select.magnitude_scores(values, basis.bands, spec.threshold.atom_norm)


def _finest(scores: Tensor, basis: Basis) -> Tensor:
    """Scores of the finest diagonal details, or all scores where the basis has no levels."""
    finest = [band for band in basis.bands if band.level == 1 and "a" not in band.orientation]
    return torch.cat([scores[band.slice] for band in finest]) if finest else scores
