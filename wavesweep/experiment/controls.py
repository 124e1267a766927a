"""Controls: other methods at the cost of the main arm, as many coefficients or as many stored bytes."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from wavesweep.compression.compressor import compress_arm
from wavesweep.errors import BusyError
from wavesweep.experiment.arms import EvaluationContext, MeasuredArm, obtain_arm
from wavesweep.pruning.prune import ArmSpec

# Stored sizes count as equal within this share of the target.
TOLERANCE = 0.01
# Files that are made at most to find the factor; retraining for each of them takes long.
_TRIES, _TRIES_RETRAINED, _FARTHEST = 14, 6, 64.0


def obtain_controls(
    main: MeasuredArm, methods: Sequence[str], match: str, context: EvaluationContext
) -> list[MeasuredArm]:
    """The arms of other methods at the cost of the main one, in their order.

    Trials share these arms: one that another process is computing now comes last.

    Args:
        main: the arm to compare with.
        methods: of the others; the main one's is left out.
        match: which cost is equal, `coefficients` or `bytes`.
        context: what all arms of the trial have in common.
    """
    kept = tuple(main.record["kept_per_group"])
    specs = [replace(main.spec, method=name, kept=kept, curves=()) for name in methods if name != main.spec.method]
    found: dict[int, MeasuredArm] = {}
    for wait in (False, True):
        for number, spec in enumerate(specs):
            if number not in found:
                with suppress(BusyError):
                    found[number] = _control(spec, main, match, context, wait)
    return [found[number] for number in range(len(specs))]


def _control(spec: ArmSpec, main: MeasuredArm, match: str, context: EvaluationContext, wait: bool) -> MeasuredArm:
    if match == "coefficients":
        cost = "kept_coefficients"
    else:
        cost, wait = "stored_bytes", True  # such an arm is hardly ever shared, and finding it takes long
        prunes = main.record["kept_coefficients"] < main.record["total_coefficients"]
        spec = _match_bytes(spec, main.record[cost], prunes, context)
    return MeasuredArm(spec, obtain_arm(spec, context, wait), {cost: main.record[cost]})


def _match_bytes(spec: ArmSpec, target_bytes: int, prunes: bool, context: EvaluationContext) -> ArmSpec:
    """`spec` with as many kept coefficients as make its file `target_bytes` long, to within 1 % where that exists.

    Args:
        spec: an arm with `kept` set.
        target_bytes: stored size of the arm it is compared with.
        prunes: whether that arm pruned anything; if not, the step of the quantiser (or with `retrain=rate` the weight
            of the rate) is changed instead.
        context: what all arms of the trial have in common. Where arms are retrained, each that is tried gets its own
            record, so that a search that was stopped continues from there.
    """
    retrains = context.settings.retrain.name != "none"

    if not prunes and not _has_factor(context):
        return spec  # each try would be the same file

    def changed(factor: float) -> ArmSpec:
        if not prunes:
            return replace(spec, step_scale=spec.step_scale / factor)
        return replace(spec, kept=tuple(max(0, round(count * factor)) for count in spec.kept or ()))

    def size_bytes(factor: float) -> int:
        if retrains:
            return int(obtain_arm(changed(factor), context)["stored_bytes"])
        return len(compress_arm(changed(factor), context.settings, context.network).content)

    return changed(_search(size_bytes, target_bytes, _TRIES_RETRAINED if retrains else _TRIES))


def _has_factor(context: EvaluationContext) -> bool:
    """Whether `step_scale` changes anything: not the codebooks and floats, nor a step that `max_drop` finds."""
    retraining, quantizer = context.settings.retrain, context.settings.quantize
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
