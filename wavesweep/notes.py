"""The notes of a trial's record: what its reader must know, and what a step that did nothing says."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from wavesweep.coding import retrainings_with
from wavesweep.compression.arm import METHODS
from wavesweep.compression.layers import TensorPlan, transforms_nothing
from wavesweep.config import RETRAININGS, LayersSettings, Settings
from wavesweep.matching import TOLERANCE
from wavesweep.store.keys import differences


def selection_notes(names: Sequence[str], layers: LayersSettings) -> list[str]:
    """Patterns that match none of the tensors `names`, which most likely are misspelt."""
    patterns = [("layers.include", pattern) for pattern in layers.include]
    patterns += [("layers.exclude", pattern) for pattern in layers.exclude]
    patterns += [("layers.overrides", override.match) for override in layers.overrides]
    unused = [(key, one) for key, one in patterns if not any(fnmatchcase(name, one) for name in names)]
    return [f"{key}: {pattern!r} matches no tensor of the network" for key, pattern in unused]


def idle_notes(settings: Settings) -> list[str]:
    """Settings of pruning, retraining and quantisation that were given and play no part, with what they need."""
    idle = (*_idle_threshold(settings), *_idle_retraining(settings), *_idle_quantization(settings))
    return [f"{key}: {value!r} plays no part, it needs {needs}" for key, value, needs in idle]


def _idle_threshold(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    threshold = settings.threshold
    for key, value in differences(threshold).items():
        rule = {"percentile": "percentile", "energy": "energy", "value": "absolute"}.get(key, threshold.rule)
        if rule != threshold.rule:
            yield f"threshold.{key}", value, f"threshold={rule}"
    if threshold.sensitivity is not None and threshold.allocation != "sensitivity":
        yield "threshold.sensitivity", threshold.sensitivity, "threshold.allocation=sensitivity"
    for override in settings.layers.overrides:
        if override.percentile is not None and threshold.rule != "percentile":
            yield f"layers.overrides[match={override.match}].percentile", override.percentile, "threshold=percentile"


def _idle_retraining(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    retrain, quantizes = settings.retrain, settings.quantize.is_trainable
    for key, value in differences(retrain).items():
        kinds = retrainings_with(key, retrain, quantizes)
        if key == "name" or retrain.name in kinds:
            continue
        if not kinds:  # because of the quantiser
            needs = "quantize=uniform or kmeans"
        else:
            needs = "a retrain that is not none" if kinds == RETRAININGS[1:] else f"retrain={_either(kinds)}"
        yield f"retrain.{key}", value, needs


def _idle_quantization(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    quantize = settings.quantize
    uniform, second_order = quantize.name == "uniform", quantize.importance != "none"
    without_step = uniform and quantize.step is None
    plays_and_needs = {
        "step": (uniform, "quantize=uniform"),
        "bits": (
            without_step or quantize.name == "kmeans",
            "quantize=kmeans, or quantize=uniform without quantize.step",
        ),
        "dead_zone": (uniform, "quantize=uniform"),
        "per": (without_step, "quantize=uniform without quantize.step"),
        "atom_norm": (uniform and quantize.is_trainable, "quantize=uniform"),
        "damping": (second_order, "quantize.importance=second_order"),
        "images": (second_order, "quantize.importance=second_order"),
        "coefficients": (quantize.name == "none", "quantize=none"),
        "other_bits": (quantize.other == "quantized", "quantize.other=quantized"),
    }
    for key, value in differences(quantize).items():
        plays, needs = plays_and_needs.get(key, (True, ""))
        if not plays:
            yield f"quantize.{key}", value, needs
    for override in settings.layers.overrides:
        plays, needs = plays_and_needs["bits"]
        if override.bits is not None and not plays:
            yield f"layers.overrides[match={override.match}].bits", override.bits, needs


def _either(names: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def transform_notes(plans: Sequence[TensorPlan], settings: Settings) -> list[str]:
    """What a reader must know about the transform: levels that were clamped, tensors left alone."""
    if METHODS[settings.method.name].basis not in ("wavelet", "shuffled"):
        return []
    clamped = settings.compat == "clamped_level"
    if clamped and transforms_nothing(plans):
        return ["nothing was transformed: compat=clamped_level left no tensor a level, which is magnitude pruning"]
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
            notes.append(f"{arm['method']}: no unit could be removed, see shrunk.kept_because")
        wanted = arm["requested"].get("kept_coefficients")
        if wanted is not None and arm["kept_coefficients"] != wanted:
            notes.append(
                f"{arm['method']}: keeps {arm['kept_coefficients']} coefficients where {wanted} were asked for"
            )
        size = arm["requested"].get("stored_bytes")
        if size is not None and abs(arm["stored_bytes"] - size) > TOLERANCE * size:
            notes.append(f"{arm['method']}: takes {arm['stored_bytes']} bytes where {size} were asked for")
    return notes
