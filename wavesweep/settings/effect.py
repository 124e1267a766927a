"""Settings that were given and play no part, as when a step that was meant does not happen."""

from collections.abc import Iterator, Sequence
from typing import Any

from wavesweep.experiment.effective import effective_quantization, prunes_nothing, retrainings_with
from wavesweep.pruning.prune import METHODS
from wavesweep.settings.keys import differences
from wavesweep.settings.schema import PLAYS_NO_PART, RETRAININGS, Settings

# A setting, its value, and what it needs to play a part.
Idle = Iterator[tuple[str, Any, str]]
_WAVELET = "method=wavelet or shuffled"
_QUANTIZE_NEEDS = {
    "step": "quantize=uniform",
    "bits": "quantize=kmeans, or quantize=uniform without quantize.step",
    "dead_zone": "quantize=uniform, and where bits are weighed a wider zone",
    "per": f"{_WAVELET}, and quantize=uniform without quantize.step",
    "atom_norm": f"{_WAVELET}, and quantize=uniform without weighing bits",
    "damping": "quantize.importance=second_order",
    "images": "quantize.importance=second_order",
    "coefficients": "quantize=none",
    "other_bits": "quantize.other=quantized",
}


def idle_notes(settings: Settings) -> list[str]:
    """A line for each setting that differs from its default and changes nothing, with what it needs.

    Settings of where and how a trial runs are not looked at: those that do not fit are refused.
    """
    found = (_of_dataset, _of_arms, _of_recipe, _of_threshold, _of_retraining, _of_quantization)
    return [
        f"{key}: {value!r} {PLAYS_NO_PART}, it needs {needs}" for idle in found for key, value, needs in idle(settings)
    ]


def _methods(settings: Settings) -> list[str]:
    return [settings.method.name, *settings.compare]


def _uses_wavelet(settings: Settings) -> bool:
    return any(METHODS[name].basis in ("wavelet", "shuffled") for name in _methods(settings))


def _of_dataset(settings: Settings) -> Idle:
    own = {"arguments": "custom", "image_size": "image_folder", "resize": "image_folder", "channels": "image_folder"}
    for key, value in differences(settings.dataset).items():
        if key not in own:
            continue
        if own[key] != settings.dataset.name:
            yield f"dataset.{key}", value, f"dataset={own[key]}"
        elif key != "arguments" and settings.model.weights is not None:  # which say how images are prepared
            yield f"dataset.{key}", value, "a model without model.weights"


def _of_arms(settings: Settings) -> Idle:
    others = [name for name in settings.compare if name != settings.method.name]
    if others != settings.compare and "compare" in differences(settings):
        yield "compare", settings.method.name, "another method than the main one"
    if settings.compare_match != "coefficients" and not others:
        yield "compare_match", settings.compare_match, "a method to compare with"
    if _uses_wavelet(settings):
        return
    for key, value in differences(settings).items():
        if key in ("wavelet", "level", "boundary", "compat"):
            yield key, value, _WAVELET
    for override in settings.layers.overrides:
        for key in ("wavelet", "level"):
            if getattr(override, key) is not None:
                yield f"layers.overrides[match={override.match}].{key}", getattr(override, key), _WAVELET


def _of_recipe(settings: Settings) -> Idle:
    recipe, retrain = settings.model.recipe, settings.retrain
    retrains_by_it = retrain.name != "none" and retrain.optimizer == "sgd"
    if "momentum" in differences(recipe) and recipe.optimizer != "sgd" and not retrains_by_it:
        yield "model.recipe.momentum", recipe.momentum, "model.recipe.optimizer=sgd"


def _of_threshold(settings: Settings) -> Idle:
    threshold, overrides = settings.threshold, settings.layers.overrides
    own = {"percentile": "percentile", "energy": "energy", "value": "absolute"}
    ranks = any(METHODS[name].score == "magnitude" for name in _methods(settings))
    keeps_all = prunes_nothing(threshold) and all(override.percentile is None for override in overrides)
    for key, value in differences(threshold).items():
        if key in own and own[key] != threshold.rule:
            yield f"threshold.{key}", value, f"threshold={own[key]}"
        elif key in ("scope", "shrinkage", "atom_norm", "allocation") and keeps_all:
            yield f"threshold.{key}", value, "threshold.percentile above 0"
        elif key == "atom_norm" and not _uses_wavelet(settings):
            yield "threshold.atom_norm", value, _WAVELET
        elif key == "shrinkage" and not ranks:
            yield "threshold.shrinkage", value, "a method that ranks by magnitude"
        elif key == "sensitivity" and threshold.allocation != "sensitivity":
            yield "threshold.sensitivity", value, "threshold.allocation=sensitivity"
    for override in overrides:
        if override.percentile is not None and threshold.rule != "percentile":
            yield f"layers.overrides[match={override.match}].percentile", override.percentile, "threshold=percentile"


def _of_retraining(settings: Settings) -> Idle:
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


def _of_quantization(settings: Settings) -> Idle:
    quantize = settings.quantize
    decided = differences(effective_quantization(quantize, _uses_wavelet(settings)))
    for key, value in differences(quantize).items():
        # quantize=rdo brings its images along, also where importance is taken from it.
        brought = key == "images" and not quantize.is_trainable
        if key not in decided and not brought:
            yield f"quantize.{key}", value, _QUANTIZE_NEEDS[key]
    for override in settings.layers.overrides:
        if override.bits is not None and not quantize.uses_bits:
            yield f"layers.overrides[match={override.match}].bits", override.bits, _QUANTIZE_NEEDS["bits"]


def _either(names: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
