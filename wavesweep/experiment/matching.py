"""Arms of equal stored size: how many coefficients, or which step, a method may have for the bytes of another."""

import math
from collections.abc import Callable
from dataclasses import replace

from wavesweep.experiment.arms import EvaluationContext, obtain_arm
from wavesweep.experiment.coding import code_arm
from wavesweep.pruning.prune import ArmSpec

# Stored sizes count as equal within this share of the target.
TOLERANCE = 0.01
# Files that are made at most to find the factor; retraining for each of them takes long.
_TRIES, _TRIES_RETRAINED, _FARTHEST = 14, 6, 64.0


def match_bytes(spec: ArmSpec, target_bytes: int, prunes: bool, context: EvaluationContext) -> ArmSpec:
    """`spec` with as many kept coefficients as make its file `target_bytes` long, to within 1 % where that exists.

    Args:
        spec: an arm with `kept` set.
        target_bytes: stored size of the arm it is compared with.
        prunes: whether that arm pruned anything; if not, the step of the quantiser (or with `retrain=rate` the weight
            of the rate) is changed instead.
        context: what all arms of the trial have in common. Where arms are retrained, each that is tried gets its own
            record, so that the search goes on where it was stopped.
    """
    network, retrains = context.network(), context.coding.retrain.name != "none"

    if not prunes and not _has_factor(context):
        return spec  # each try would be the same file

    def changed(factor: float) -> ArmSpec:
        if not prunes:
            return replace(spec, step_scale=spec.step_scale / factor)
        return replace(spec, kept=tuple(max(0, round(count * factor)) for count in spec.kept or ()))

    def size_bytes(factor: float) -> int:
        if retrains:
            return int(obtain_arm(changed(factor), context)["stored_bytes"])
        return len(code_arm(changed(factor), context.coding, network).content)

    return changed(_search(size_bytes, target_bytes, _TRIES_RETRAINED if retrains else _TRIES))


def _has_factor(context: EvaluationContext) -> bool:
    """Whether `step_scale` changes anything: not the codebooks and floats, nor a step that `max_drop` finds."""
    retraining, quantizer = context.coding.retrain, context.coding.quantize
    if retraining.name == "rate":
        return retraining.rate_weight > 0
    return quantizer.name == "uniform" and quantizer.max_drop is None


def _search(size_bytes: Callable[[float], int], target_bytes: int, tries: int) -> float:
    """The factor whose size is nearest to the target, if sizes grow with it: false position in logarithms."""
    # Logarithms of factors and of their sizes against the target, the nearest known below and above it.
    below: tuple[float, float] | None = None
    above: tuple[float, float] | None = None
    place, best, distance, slope = 0.0, 0.0, math.inf, 1.0
    before: tuple[float, float] | None = None
    for _ in range(tries):
        ratio = math.log(size_bytes(math.exp(place)) / target_bytes)
        if abs(ratio) < distance:
            best, distance = place, abs(ratio)
        if distance <= TOLERANCE / 4:
            break
        if ratio < 0:
            below = place, ratio
        else:
            above = place, ratio
        if below and above:
            share = below[1] / (below[1] - above[1])
            # Not too near an end: sizes need not be a straight line between them.
            place = below[0] + min(max(share, 0.1), 0.9) * (above[0] - below[0])
        else:
            # Beyond both of the last two: along their line, a little farther so as to have the target between.
            if before is not None and before[0] != place:
                slope = min(max((ratio - before[1]) / (place - before[0]), 0.2), 2.0)
            before, limit = (place, ratio), math.log(_FARTHEST)
            place = min(max(place - 1.2 * ratio / slope, -limit), limit)
    return math.exp(best)
