"""The notes of a trial's record: what its reader must know, and what a step that did nothing says."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from wavesweep.experiment.matching import TOLERANCE
from wavesweep.pruning.plan import TensorPlan, transforms_nothing
from wavesweep.pruning.prune import METHODS
from wavesweep.settings.effective import MATCHES_NO_TENSOR
from wavesweep.settings.schema import LayersSettings, Settings


def selection_notes(names: Sequence[str], layers: LayersSettings) -> list[str]:
    """Patterns that match none of the tensors `names`, which most likely are misspelt."""
    patterns = [("layers.include", pattern) for pattern in layers.include]
    patterns += [("layers.exclude", pattern) for pattern in layers.exclude]
    patterns += [("layers.overrides", override.match) for override in layers.overrides]
    unused = [(key, one) for key, one in patterns if not any(fnmatchcase(name, one) for name in names)]
    return [f"{key}: {pattern!r} {MATCHES_NO_TENSOR} of the network" for key, pattern in unused]


def transform_notes(plans: Sequence[TensorPlan], settings: Settings) -> list[str]:
    """What a reader must know about the transform: levels that were clamped, tensors left alone."""
    if METHODS[settings.method.name].basis not in ("wavelet", "shuffled"):
        return []
    method = settings.method.name
    clamped = bool(METHODS[method].level_limit)
    if clamped and transforms_nothing(plans):
        return [f"nothing was transformed: method={method} left no tensor a level, which is magnitude pruning"]
    notes = []
    for plan in plans:
        wanted = plan.requested_level
        if not any(plan.levels):
            which = "its shortest axis allows no" if clamped else f"no axis of layout {plan.layout} allows a"
            notes.append(f"{plan.name}: not transformed, {which} level of {plan.wavelet}")
        elif wanted != "max" and min(plan.levels) < int(wanted):
            notes.append(f"{plan.name}: level {wanted} was asked for, its axes allow {list(plan.levels)}")
    return notes


def arm_notes(arms: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know about the arms: what was not pruned, removed or reached as asked for."""
    notes = []
    for arm in arms:
        if arm.get("retraining", {}).get("chosen_epoch") == 0:
            notes.append(f"{arm['method']}: no epoch of retraining was better on validation; the one-shot arm is kept")
        if arm["nonzero_coefficients"] == arm["total_coefficients"]:
            notes.append(f"{arm['method']}: nothing was pruned")
        if "shrunk" in arm and not any(arm["shrunk"]["removed"].values()):
            why = "see shrunk.kept_because" if arm["shrunk"]["kept_because"] else "none is all zero"
            notes.append(f"{arm['method']}: no unit could be removed, {why}")
        wanted = arm["requested"].get("kept_coefficients")
        if wanted is not None and arm["kept_coefficients"] != wanted:
            notes.append(
                f"{arm['method']}: keeps {arm['kept_coefficients']} coefficients where {wanted} were asked for"
            )
        size = arm["requested"].get("stored_bytes")
        if size is not None and abs(arm["stored_bytes"] - size) > TOLERANCE * size:
            notes.append(f"{arm['method']}: takes {arm['stored_bytes']} bytes where {size} were asked for")
    return notes
