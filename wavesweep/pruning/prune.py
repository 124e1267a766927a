"""One arm: a method applied to all tensors of a network. The five steps of the design in one place.

weight -> signal -> coefficients -> score and select -> mask -> synthesis -> weight
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wavesweep.errors import TrialError
from wavesweep.pruning.allocation import Curve, Participant
from wavesweep.pruning.plan import TensorPlan
from wavesweep.pruning.scores import AnalysedTensor, for_each_weight, magnitude_scores
from wavesweep.pruning.selection import keep_top, keep_top_units, kept_count, soften
from wavesweep.pruning.thresholds import Cut
from wavesweep.runtime.finite import is_finite, not_finite
from wavesweep.settings import registry
from wavesweep.settings.effective import uses_basis_with_levels
from wavesweep.settings.schema import ThresholdSettings
from wavesweep.transform.basis import Band, Basis, BasisSpec, make_basis
from wavesweep.transform.wavelet import canonical_name

# How large the largest weight of a tensor may be: sums of weights must not leave float32, nor the type of the network
# when they are read back; below the least, float32's steps would be coarser than those of most quantisers.
_FLOAT32_RANGE, _FLOAT16_RANGE = (2.0**-140, 2.0**120), (0.0, 2.0**15)


@dataclass(frozen=True)
class ArmSpec:
    """Everything besides the weights that decides an arm's result.

    `kept` is the number of coefficients to keep per selection group (see `selection_groups`), or None to let
    the threshold rule decide; arms that are compared get the numbers of the main arm. `step_scale` is a factor
    of the quantiser's step, with which arms are matched by stored bytes. `curves` are the sensitivity of each plan's
    tensor, for `threshold.allocation=sensitivity` only.
    """

    method: str
    plans: tuple[TensorPlan, ...]
    boundary: str
    threshold: ThresholdSettings
    seed: int
    kept: tuple[int, ...] | None = None
    step_scale: float = 1.0
    curves: tuple[Curve, ...] = ()


def has_bands(spec: ArmSpec) -> bool:
    """Whether the arm's basis has more than one subband for some tensor."""
    return uses_basis_with_levels(spec.method) and any(any(plan.levels) for plan in spec.plans)


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


def selection_groups(plans: Sequence[TensorPlan], threshold: ThresholdSettings) -> list[list[int]]:
    """Positions of the plans that share one threshold: each alone, or all that have no percentile of their own."""
    has_own = [threshold.rule == "percentile" and plan.percentile is not None for plan in plans]
    alone = [[index] for index, own in enumerate(has_own) if own or threshold.scope == "layer"]
    shared = [index for index, plan in enumerate(plans) if [index] not in alone]
    return [*alone, shared] if shared else alone


def basis_spec(method: str, plan: TensorPlan, boundary: str, seed: int) -> BasisSpec:
    """The basis that `method` uses for one tensor; what does not matter for it is left out."""
    kind = registry.row(registry.Basis, registry.row(registry.Method, method).basis)
    if kind.has_levels and not any(plan.levels):
        return BasisSpec("identity")
    wavelet = canonical_name(plan.wavelet) if plan.wavelet else ""
    full = BasisSpec(kind.name, plan.axes, wavelet, plan.levels, boundary, seed, plan.name)
    return BasisSpec(kind.name, **{field: getattr(full, field) for field in kind.stores})


def build_basis(method: str, plan: TensorPlan, boundary: str, seed: int) -> Basis:
    """The basis that `method` uses for one tensor."""
    return make_basis(basis_spec(method, plan, boundary, seed), plan.view)


def prune(weights: Mapping[str, Tensor], spec: ArmSpec) -> PrunedArm:
    """Prune the tensors of `spec.plans` and synthesise their weights from what is kept.

    Args:
        weights: tensor name to weight, on the CPU.
        spec: method, plans, threshold and seed.

    Raises:
        TrialError: a weight is not finite, or of a size that cannot be coded.
    """
    bases, coefficients = [], []
    originals = {plan.name: _checked(plan.name, weights[plan.name]) for plan in spec.plans}
    for plan in spec.plans:
        weight = originals[plan.name]
        basis = build_basis(spec.method, plan, spec.boundary, spec.seed)
        bases.append(basis)
        coefficients.append(basis.analyse(weight.reshape(plan.view)))
    scores = score(spec, bases, coefficients)
    counts = spec.kept if spec.kept is not None else allocated(coefficients, bases, spec)
    cuts = []
    for number, group in enumerate(selection_groups(spec.plans, spec.threshold)):
        cuts.append(_cut(group, scores, bases, spec) if counts is None else Cut(counts[number]))
    selection = choose(spec, scores, [cut.kept for cut in cuts])
    # Soft thresholding moves coefficients by a magnitude, so it needs a score that is one.
    soft = spec.threshold.shrinkage == "soft" and score_row(spec.method).is_magnitude
    group_of = {i: number for number, group in enumerate(selection.groups) for i in group}
    tensors = []
    for i, (plan, basis) in enumerate(zip(spec.plans, bases, strict=True)):
        pruned = coefficients[i] * selection.masks[i]
        if soft:
            given = cuts[group_of[i]].threshold
            edge = selection.largest_pruned[group_of[i]] if given is None else given
            pruned = soften(pruned, scores[i], edge)
        original = originals[plan.name]
        weight = basis.synthesise(pruned).reshape(plan.shape)
        form = basis_spec(spec.method, plan, spec.boundary, spec.seed)
        tensors.append(
            PrunedTensor(plan, form, basis.bands, pruned, selection.masks[i], weight, relative_error(original, weight))
        )
    return PrunedArm(tuple(tensors), selection.kept, "soft" if soft else "hard")


def _checked(name: str, weight: Tensor) -> Tensor:
    """A weight as it is transformed: in float32 at least.

    Raises:
        TrialError: it is not finite, or would not be after the transform or in the type in which it is decoded.
    """
    if not is_finite(weight):
        raise not_finite(name)
    largest = float(weight.detach().abs().max()) if weight.numel() else 0.0
    least, most = _FLOAT16_RANGE if weight.dtype == torch.float16 else _FLOAT32_RANGE
    if largest and not least <= largest <= most:
        kind = str(weight.dtype).removeprefix("torch.")
        raise TrialError(
            f"tensor {name} of {kind} holds numbers of up to {largest:.2g}, which cannot be coded (from {least:.2g} to "
            f"{most:.2g} can); rescale it, or leave it out by layers.exclude"
        )
    return weight.float() if weight.dtype == torch.float16 else weight


@dataclass(frozen=True)
class Selection:
    """Masks of all tensors; and per selection group its members, the number kept and the largest pruned score."""

    masks: tuple[Tensor, ...]
    groups: tuple[list[int], ...]
    kept: tuple[int, ...]
    largest_pruned: tuple[float, ...]


def score_row(method: str) -> registry.Score:
    """What a method ranks coefficients by."""
    return registry.row(registry.Score, registry.row(registry.Method, method).score)


def score(spec: ArmSpec, bases: Sequence[Basis], coefficients: Sequence[Tensor]) -> list[Tensor]:
    """Scores of the flat coefficients of every tensor of `spec.plans`, by the method; on the CPU."""
    score_of: Callable[[AnalysedTensor, bool, int], Tensor] = score_row(spec.method).load()
    return [
        score_of(AnalysedTensor(plan, values, basis.bands), spec.threshold.atom_norm, spec.seed)
        for plan, basis, values in zip(spec.plans, bases, coefficients, strict=True)
    ]


def choose(spec: ArmSpec, scores: Sequence[Tensor], kept: Sequence[int]) -> Selection:
    """Keep the `kept[g]` best scores of each selection group g."""
    groups = tuple(selection_groups(spec.plans, spec.threshold))
    masks: dict[int, Tensor] = {}
    counts, edges = [], []
    for group, wanted in zip(groups, kept, strict=True):
        group_scores = torch.cat([scores[i] for i in group])
        count = min(wanted, group_scores.numel())
        if score_row(spec.method).is_of_units:
            group_mask = _unit_mask([scores[i] for i in group], [spec.plans[i] for i in group], count)
        else:
            group_mask = keep_top(group_scores, count)
        # Whole units seldom fit the count exactly; what is compared gets the number that was really kept.
        counts.append(int(group_mask.sum()))
        pruned_scores = group_scores[~group_mask]
        edges.append(float(pruned_scores.max()) if pruned_scores.numel() else 0.0)
        masks |= dict(zip(group, torch.split(group_mask, [scores[i].numel() for i in group]), strict=True))
    return Selection(tuple(masks[i] for i in range(len(scores))), groups, tuple(counts), tuple(edges))


def allocated(coefficients: Sequence[Tensor], bases: Sequence[Basis], spec: ArmSpec) -> tuple[int, ...] | None:
    """Coefficients to keep per tensor under `threshold.allocation`; None where every tensor keeps the same share.

    Tensors with a percentile of their own keep it; the others keep together what the percentile leaves of them all.

    Args:
        coefficients: of each plan's tensor, flat.
        bases: in which they are.
        spec: with `threshold.rule` percentile and `threshold.scope` layer, unless the allocation is uniform.
    """
    threshold, plans = spec.threshold, spec.plans
    if threshold.allocation == "uniform":
        return None
    shared = [index for index, plan in enumerate(plans) if plan.percentile is None]
    participants = []
    for index in shared:
        # Of the coefficients whatever the method's own score is: random and unit pruning get counts to compare with.
        analysed = AnalysedTensor(plans[index], coefficients[index], bases[index].bands)
        magnitudes = magnitude_scores(analysed, threshold.atom_norm, spec.seed)
        participants.append(Participant(plans[index].shape, magnitudes, spec.curves[index] if spec.curves else ()))
    total = kept_count(sum(tensor.size for tensor in participants), threshold.percentile)
    counts: tuple[int, ...] = registry.row(registry.Allocation, threshold.allocation).load()(participants, total)
    found = dict(zip(shared, counts, strict=True))
    own = ((index, plan.percentile) for index, plan in enumerate(plans) if plan.percentile is not None)
    found |= {index: kept_count(coefficients[index].numel(), percentile) for index, percentile in own}
    return tuple(found[index] for index in range(len(plans)))


def _cut(group: list[int], scores: Sequence[Tensor], bases: Sequence[Basis], spec: ArmSpec) -> Cut:
    """How many scores of a group the threshold rule keeps; a tensor's own percentile replaces the common one."""
    rule = registry.row(registry.Threshold, spec.threshold.rule)
    number = None if rule.number is None else getattr(spec.threshold, rule.number)
    own = spec.plans[group[0]].percentile
    if rule.number == "percentile" and own is not None:
        number = own
    finest = torch.cat([_finest(scores[i], bases[i]) for i in group])
    found: Cut = rule.load()(torch.cat([scores[i] for i in group]), number, finest)
    return found


def _unit_mask(scores: Sequence[Tensor], plans: Sequence[TensorPlan], kept: int) -> Tensor:
    """Mask over all weights of the tensors, in which each unit is kept whole or not at all."""
    norms = [
        values.reshape(plan.shape).movedim(plan.unit_axis, 0).flatten(1)[:, 0]
        for values, plan in zip(scores, plans, strict=True)
    ]
    sizes = [torch.full((len(norm),), plan.weights // len(norm)) for norm, plan in zip(norms, plans, strict=True)]
    units_mask = keep_top_units(torch.cat(norms), torch.cat(sizes), kept)
    kept_units = torch.split(units_mask, [len(norm) for norm in norms])
    masks = [for_each_weight(units, plan.shape, plan.unit_axis) for units, plan in zip(kept_units, plans, strict=True)]
    return torch.cat(masks)


def relative_error(original: Tensor, weight: Tensor) -> float:
    """L2 norm of the difference over that of the original."""
    norm = torch.linalg.vector_norm(original)
    return float(torch.linalg.vector_norm(original - weight) / norm) if norm > 0 else 0.0


def _finest(scores: Tensor, basis: Basis) -> Tensor:
    """Scores of the finest diagonal details, or all scores where the basis has no levels."""
    finest = [band for band in basis.bands if band.level == 1 and "a" not in band.orientation]
    return torch.cat([scores[band.slice] for band in finest]) if finest else scores
