"""The checks of settings: each field by its constraint, then the rules across fields."""

from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from wavesweep.errors import SettingsError
from wavesweep.settings import registry
from wavesweep.settings.effective import getter
from wavesweep.settings.registry import Objective
from wavesweep.settings.schema import (
    DatasetSettings,
    LayerOverride,
    ModelSettings,
    QuantizeSettings,
    SearchSettings,
    Settings,
    ThresholdSettings,
    allowed_text,
    constraint_of,
    fields_by_key,
)
from wavesweep.settings.timeline import timeline

_ONLY = "is for task=classification"


def check(settings: Settings) -> None:
    """Refuse values that make no sense.

    Raises:
        SettingsError: naming the key, the value, what is allowed and what to do.
    """
    for key, value, entry in _values(settings):
        constraint = constraint_of(entry)
        if not constraint.accepts(value):
            raise SettingsError(key, _wrong_item(key, value), constraint.allowed, constraint.hint(value))
    _check_method(settings)
    _check_threshold(settings.threshold)
    _check_quantize(settings.quantize)
    _check_retrain(settings)
    _check_search(settings.search)
    _check_model(settings.model)
    _check_dataset(settings.dataset)
    _check_task(settings)
    if settings.export == "onnx":
        check_onnx_packages()


def check_onnx_packages() -> None:
    """Refuse an export where a package that it needs is absent.

    Raises:
        SettingsError: naming it.
    """
    if missing := _missing_packages():
        allowed = f"needs packages that are not installed ({', '.join(missing)})"
        raise SettingsError("export", "onnx", allowed, "pip install 'wavesweep[onnx]'")


@lru_cache  # a sweep asks for each of its points
def _missing_packages() -> tuple[str, ...]:
    return tuple(name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None)


def _values(settings: Settings) -> Iterator[tuple[str, Any, Any]]:
    """Key, value and field of every setting, those of single tensors with them."""
    get = getter(settings)
    for key, entry in fields_by_key().items():
        yield key, get(key), entry
    for override in settings.layers.overrides:
        for name, entry in fields_by_key(LayerOverride).items():
            yield f"layers.overrides[match={override.match}].{name}", getattr(override, name), entry


def _wrong_item(key: str, value: Any) -> Any:
    """Of a list of kinds of layers the one that is unknown."""
    known = constraint_of(fields_by_key()["layers.types"])
    return next(one for one in value if not known.accepts([one])) if key == "layers.types" else value


def _check_dataset(dataset: DatasetSettings) -> None:
    if dataset.name == "custom" and dataset.target is None:
        raise _lacks("dataset.target", "set it to a function that returns the data")
    # Another data set, used without a word, would be taken for the user's own.
    for key, value, name in (("target", dataset.target, "custom"), ("path", dataset.path, "image_folder")):
        if value is not None and dataset.name != name:
            raise SettingsError(f"dataset.{key}", value, f"is for dataset={name}", "choose that, or leave it out")
    if dataset.std is not None and dataset.mean is None:
        raise _lacks("dataset.mean", "give it beside dataset.std")
    if isinstance(dataset.mean, list) and dataset.std is None:
        raise _lacks("dataset.std", "give it beside dataset.mean")
    if dataset.resize is not None and dataset.resize < dataset.image_size:
        raise SettingsError("dataset.resize", dataset.resize, allowed_text("dataset.resize") or "")


def _check_model(model: ModelSettings) -> None:
    if model.target is not None and (model.name != "custom" or model.source != "zoo"):
        raise SettingsError("model.target", model.target, "is for model=custom", "choose that, or leave it out")
    if model.name == "custom" and model.source == "zoo" and model.target is None:
        raise _lacks("model.target", "set it to a function that returns the model")
    if not model.recipe.epochs and not (model.checkpoint or model.weights):
        raise SettingsError("model.recipe.epochs", 0, allowed_text("model.recipe.epochs") or "")
    if model.weights is None:
        return
    if model.source != "torchvision":
        raise SettingsError("model.weights", model.weights, "is for model=torchvision", "see also model.checkpoint")
    if model.checkpoint is not None:
        raise SettingsError("model.weights", model.weights, "is not for use with model.checkpoint", "leave one out")


def _check_task(settings: Settings) -> None:
    """A custom task has a target, and what is only of classification is not asked of another task."""
    task, search = settings.task, settings.search
    if task.name == "custom" and task.target is None:
        raise _lacks("task.target", "set it to your class")
    if task.target is not None and task.name != "custom":
        raise SettingsError("task.target", task.target, "is for task=custom", "choose that, or leave it out")
    if task.name == "classification":
        return
    if settings.export != "none":
        raise SettingsError("export", settings.export, _ONLY, "set it to none")
    if search.early_images is not None:
        raise SettingsError("search.early_images", search.early_images, _ONLY, "or set it to null")
    if "f1" in search.objectives:
        allowed = f"names f1, which {_ONLY}"
        raise SettingsError("search.objectives", search.objectives, allowed, "accuracy stands for its primary metric")
    if settings.model.recipe.augment and settings.task.name != "regression":
        raise SettingsError("model.recipe.augment", True, "changes inputs and not their targets", "set it to false")
    if settings.retrain.augment and settings.task.name != "regression":
        raise SettingsError("retrain.augment", True, "changes inputs and not their targets", "set it to false")


def _lacks(key: str, remedy: str) -> SettingsError:
    return SettingsError(key, None, allowed_text(key) or "", remedy)


def _check_method(settings: Settings) -> None:
    if settings.method.name == "random" and settings.threshold.rule != "percentile":
        allowed = "is not for method=random, whose ranks are no magnitudes"
        raise SettingsError("threshold", settings.threshold.rule, allowed, "use threshold=percentile")


def _check_threshold(threshold: ThresholdSettings) -> None:
    if threshold.allocation == "uniform":
        return
    for key, value, needed in (("rule", threshold.rule, "percentile"), ("scope", threshold.scope, "layer")):
        if value != needed:
            raise SettingsError(
                "threshold.allocation",
                threshold.allocation,
                f"needs threshold.{key}={needed}, which is {value}",
                f"set it, or threshold.allocation=uniform to use {value}",
            )
    if threshold.allocation == "sensitivity" and threshold.sensitivity is None:
        raise SettingsError(
            "threshold.sensitivity",
            None,
            "must be the table of experiment=sensitivity",
            "python -m wavesweep -m experiment=sensitivity with the same model and dataset makes it",
        )


def _check_quantize(quantize: QuantizeSettings) -> None:
    if quantize.max_drop is not None and quantize.name != "uniform":
        raise SettingsError("quantize.max_drop", quantize.max_drop, "needs quantize=uniform", "or set it to null")
    if quantize.name == "uniform" and quantize.step is not None:
        return
    for key, value in (("rate_weight", quantize.rate_weight), ("importance", quantize.importance)):
        if value not in (0, "none"):
            raise SettingsError(
                f"quantize.{key}", value, "needs quantize=uniform and quantize.step", "see quantize=rdo"
            )


def _check_retrain(settings: Settings) -> None:
    retrain = settings.retrain
    quantize = settings.quantize
    if retrain.name != "none":
        timeline(retrain, settings.model.recipe, quantize.is_trainable)  # are there epochs enough?
    in_rounds = retrain.name in ("iterative", "rewind") and retrain.rounds > 1
    reloads = retrain.name == "rewind" and retrain.rewind == "weights"
    if settings.threshold.shrinkage == "soft" and (retrain.name == "gradual" or in_rounds or reloads):
        raise SettingsError(
            "threshold.shrinkage",
            "soft",
            f"is not for retrain={retrain.name}, which prunes what it trains by masks alone",
            "use hard, or retrain=finetune",
        )
    if retrain.name != "rate":
        return
    if retrain.regrow:
        raise SettingsError("retrain.regrow", True, "is not for retrain=rate: it has no mask to change", "leave it out")
    learned = "is not for retrain=rate, which learns the steps of quantize=uniform"
    if quantize.name != "uniform":
        raise SettingsError("quantize.name", quantize.name, learned, "leave it out")
    if quantize.importance != "none":
        allowed = f"{learned} (quantize=rdo has it)"
        raise SettingsError("quantize.importance", quantize.importance, allowed, "leave quantize=rdo out")
    unused = {"step": None, "max_drop": None, "rate_weight": 0.0}
    unused |= {"bits": 8, "dead_zone": 1.0, "atom_norm": False}
    for key, default in unused.items():
        if getattr(quantize, key) != default:
            raise SettingsError(
                f"quantize.{key}", getattr(quantize, key), learned, "use retrain.rate_weight and retrain.step"
            )
    for override in settings.layers.overrides:
        if override.bits is not None:
            raise SettingsError(
                f"layers.overrides[match={override.match}].bits", override.bits, learned, "leave it out"
            )


def _check_search(search: SearchSettings) -> None:
    if search.early_images is None:
        return
    known = [one.name for one in registry.rows(Objective).values() if one.is_known_early]
    if not {"accuracy", *known} >= {*search.objectives} >= {"accuracy"}:
        allowed = f"needs search.objectives of accuracy and one of {', '.join(known)}"
        raise SettingsError("search.early_images", search.early_images, allowed, "or set it to null")
