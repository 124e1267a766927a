"""Every check of the settings' values; their types are the schema's."""

import difflib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import pywt

from wavesweep.errors import SettingsError
from wavesweep.experiment.early import COUNTED
from wavesweep.settings.packages import check_onnx_packages
from wavesweep.settings.schema import (
    ALLOCATIONS,
    CODECS,
    COMPATS,
    DEVICES,
    EXPORTS,
    LAYER_TYPES,
    LAYOUTS,
    MATCHES,
    METHODS,
    MODEL_SOURCES,
    OBJECTIVES,
    OPTIMIZERS,
    OTHERS,
    PRECISIONS,
    QUANTIZERS,
    RETRAININGS,
    REWINDS,
    SAMPLERS,
    SCHEDULES,
    SEARCHES,
    THRESHOLD_RULES,
    DatasetSettings,
    LayersSettings,
    ModelSettings,
    QuantizeSettings,
    SearchSettings,
    Settings,
    ThresholdSettings,
    allowed_text,
    one_of,
)
from wavesweep.settings.timeline import timeline


def check(settings: Settings) -> None:
    """Refuse values that make no sense.

    Raises:
        SettingsError: naming the key, the value, what is allowed and what to do.
    """
    _check_method(settings)
    _check_threshold(settings.threshold)
    _check_wavelet("wavelet", settings.wavelet)
    _check_level("level", settings.level)
    if settings.boundary not in pywt.Modes.modes:
        raise SettingsError("boundary", settings.boundary, one_of(tuple(pywt.Modes.modes)))
    _member("layout", settings.layout, LAYOUTS)
    _named("compat", settings.compat, COMPATS)
    _check_quantize(settings.quantize)
    _check_retrain(settings)
    _named("codec.name", settings.codec.name, CODECS)
    _named("compare_match", settings.compare_match, MATCHES)
    _check_layers(settings.layers)
    _check_search(settings.search)
    _check_model(settings.model)
    _check_dataset(settings.dataset)
    recipe = settings.model.recipe
    _member("model.recipe.optimizer", recipe.optimizer, OPTIMIZERS)
    _member("model.recipe.schedule", recipe.schedule, SCHEDULES)
    _named("model.recipe.precision", recipe.precision, PRECISIONS)
    _number("model.recipe.learning_rate", recipe.learning_rate, recipe.learning_rate > 0)
    _number("model.recipe.momentum", recipe.momentum, 0 <= recipe.momentum < 1)
    _number("model.recipe.weight_decay", recipe.weight_decay, recipe.weight_decay >= 0)
    is_trained = settings.model.checkpoint or settings.model.weights
    _number("model.recipe.epochs", recipe.epochs, recipe.epochs >= (0 if is_trained else 1))
    _number("model.recipe.batch_size", recipe.batch_size, recipe.batch_size >= 1)
    _number("seed", settings.seed, 0 <= settings.seed < 1 << 32)
    if not settings.paths.outputs:
        raise SettingsError("paths.outputs", "", _text("paths.outputs"))
    _member("device", settings.device, DEVICES)
    _member("on_busy", settings.on_busy, ("wait", "skip"))
    _named("export", settings.export, EXPORTS)
    if settings.export == "onnx":
        check_onnx_packages()


def _check_arguments(key: str, arguments: Mapping[str, Any]) -> None:
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError):
        allowed = "must hold texts, finite numbers, true, false, null, lists and mappings"
        raise SettingsError(key, arguments, allowed) from None


def _check_dataset(dataset: DatasetSettings) -> None:
    if dataset.name == "custom" and dataset.target is None:
        raise SettingsError(
            "dataset.target", None, _text("dataset.target"), "set it to a function that returns the data"
        )
    # Another data set, used without a word, would be taken for the user's own.
    for key, value, name in (("target", dataset.target, "custom"), ("path", dataset.path, "image_folder")):
        if value is not None and dataset.name != name:
            raise SettingsError(f"dataset.{key}", value, f"is for dataset={name}", "choose that, or leave it out")
    _number("dataset.validation_fraction", dataset.validation_fraction, 0 < dataset.validation_fraction < 1)
    _number("dataset.image_size", dataset.image_size, dataset.image_size >= 1)
    if dataset.resize is not None:
        _number("dataset.resize", dataset.resize, dataset.resize >= dataset.image_size)
    _check_arguments("dataset.arguments", dataset.arguments)
    _number("dataset.channels", dataset.channels, dataset.channels in (1, 3))


def _check_model(model: ModelSettings) -> None:
    _named("model.source", model.source, MODEL_SOURCES)
    _check_arguments("model.arguments", model.arguments)
    if model.target is not None and (model.name != "custom" or model.source != "zoo"):
        raise SettingsError("model.target", model.target, "is for model=custom", "choose that, or leave it out")
    if model.name == "custom" and model.source == "zoo" and model.target is None:
        raise SettingsError("model.target", None, _text("model.target"), "set it to a function that returns the model")
    if model.weights is None:
        return
    if model.source != "torchvision":
        raise SettingsError("model.weights", model.weights, "is for model=torchvision", "see also model.checkpoint")
    if model.checkpoint is not None:
        raise SettingsError("model.weights", model.weights, "is not for use with model.checkpoint", "leave one out")


def _check_method(settings: Settings) -> None:
    _member("method", settings.method.name, METHODS)
    if settings.method.name == "random" and settings.threshold.rule != "percentile":
        allowed = "is not for method=random, whose ranks are no magnitudes"
        raise SettingsError("threshold", settings.threshold.rule, allowed, "use threshold=percentile")
    for name in settings.compare:
        if name not in METHODS:
            raise SettingsError("compare", list(settings.compare), f"{name!r} is not a method", _text("compare"))
    if len(set(settings.compare)) != len(settings.compare):
        raise SettingsError("compare", list(settings.compare), "names a method twice", "name each once")


def _check_threshold(threshold: ThresholdSettings) -> None:
    _member("threshold.rule", threshold.rule, THRESHOLD_RULES)
    _number("threshold.percentile", threshold.percentile, 0 <= threshold.percentile <= 100)
    _number("threshold.energy", threshold.energy, 0 <= threshold.energy <= 1)
    _number("threshold.value", threshold.value, threshold.value >= 0)
    _member("threshold.scope", threshold.scope, ("layer", "global"))
    _member("threshold.shrinkage", threshold.shrinkage, ("hard", "soft"))
    _named("threshold.allocation", threshold.allocation, ALLOCATIONS)
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
    _named("quantize.name", quantize.name, QUANTIZERS)
    _named("quantize.per", quantize.per, ("layer", "band"))
    _named("quantize.importance", quantize.importance, ("none", "second_order"))
    _named("quantize.coefficients", quantize.coefficients, ("float16", "float32"))
    _named("quantize.other", quantize.other, OTHERS)
    _number("quantize.bits", quantize.bits, 2 <= quantize.bits <= 16)
    _number("quantize.other_bits", quantize.other_bits, 2 <= quantize.other_bits <= 16)
    _number("quantize.dead_zone", quantize.dead_zone, 1 <= quantize.dead_zone <= 4)
    _number("quantize.rate_weight", quantize.rate_weight, quantize.rate_weight >= 0)
    _number("quantize.damping", quantize.damping, quantize.damping > 0)
    _number("quantize.images", quantize.images, quantize.images >= 1)
    if quantize.step is not None:
        _number("quantize.step", quantize.step, quantize.step > 0)
    if quantize.max_drop is not None:
        _number("quantize.max_drop", quantize.max_drop, quantize.max_drop >= 0)
        if quantize.name != "uniform":
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
    _named("retrain.name", retrain.name, RETRAININGS)
    _number("retrain.epochs", retrain.epochs, retrain.epochs >= 1)
    _named("retrain.schedule", retrain.schedule, SCHEDULES)
    for key, value, names in (
        ("optimizer", retrain.optimizer, OPTIMIZERS),
        ("precision", retrain.precision, PRECISIONS),
    ):
        if value is not None:
            _named(f"retrain.{key}", value, names)
    if retrain.learning_rate is not None:
        _number("retrain.learning_rate", retrain.learning_rate, retrain.learning_rate > 0)
    if retrain.weight_decay is not None:
        _number("retrain.weight_decay", retrain.weight_decay, retrain.weight_decay >= 0)
    if retrain.batch_size is not None:
        _number("retrain.batch_size", retrain.batch_size, retrain.batch_size >= 1)
    _number("retrain.rounds", retrain.rounds, retrain.rounds >= 1)
    _number("retrain.ramp", retrain.ramp, 0 <= retrain.ramp <= 1)
    _number("retrain.distillation", retrain.distillation, 0 <= retrain.distillation <= 1)
    _named("retrain.rewind", retrain.rewind, REWINDS)
    _number("retrain.rewind_epoch", retrain.rewind_epoch, retrain.rewind_epoch >= 0)
    _number("retrain.quantize_epochs", retrain.quantize_epochs, retrain.quantize_epochs >= 0)
    _number("retrain.rate_weight", retrain.rate_weight, retrain.rate_weight >= 0)
    _number("retrain.step", retrain.step, retrain.step > 0)
    _number("retrain.group_weight", retrain.group_weight, retrain.group_weight >= 0)
    _number("retrain.freeze_epochs", retrain.freeze_epochs, retrain.freeze_epochs >= 0)
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


def _check_layers(layers: LayersSettings) -> None:
    for name in layers.types:
        _member("layers.types", name, LAYER_TYPES)
    for override in layers.overrides:
        prefix = f"layers.overrides[match={override.match}]"
        if override.percentile is not None and not 0 <= override.percentile <= 100:
            raise SettingsError(f"{prefix}.percentile", override.percentile, "must be a number from 0 to 100")
        if override.wavelet is not None:
            _check_wavelet(f"{prefix}.wavelet", override.wavelet)
        if override.level is not None:
            _check_level(f"{prefix}.level", override.level)
        if override.bits is not None and not 2 <= override.bits <= 16:
            raise SettingsError(f"{prefix}.bits", override.bits, "must be an integer from 2 to 16")
        if override.layout is not None:
            _member(f"{prefix}.layout", override.layout, LAYOUTS)


def _check_search(search: SearchSettings) -> None:
    _named("search.name", search.name, SEARCHES)
    _named("search.sampler", search.sampler, SAMPLERS)
    if search.study is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", search.study):
        raise SettingsError("search.study", search.study, _text("search.study"))
    known = [name for name in dict.fromkeys(search.objectives) if name in OBJECTIVES]
    if len(known) != 2 or len(search.objectives) != 2:
        raise SettingsError("search.objectives", list(search.objectives), _text("search.objectives"))
    _number("search.n_trials", search.n_trials, search.n_trials >= 1)
    _number("search.seed", search.seed, 0 <= search.seed < 1 << 32)
    for key, number in (("n_jobs", search.n_jobs), ("early_images", search.early_images)):
        if number is not None:
            _number(f"search.{key}", number, number >= 1)
    if search.early_images is not None and not {"accuracy", *COUNTED} >= {*search.objectives} >= {"accuracy"}:
        allowed = f"needs search.objectives of accuracy and one of {', '.join(COUNTED)}"
        raise SettingsError("search.early_images", search.early_images, allowed, "or set it to null")
    limits = search.constraints
    if limits.max_drop is not None:
        _number("search.constraints.max_drop", limits.max_drop, limits.max_drop >= 0)
    if limits.max_bytes is not None:
        _number("search.constraints.max_bytes", limits.max_bytes, limits.max_bytes >= 1)
    if limits.min_sparsity is not None:
        _number("search.constraints.min_sparsity", limits.min_sparsity, 0 <= limits.min_sparsity <= 100)


def _check_wavelet(key: str, name: str) -> None:
    names = pywt.wavelist(kind="discrete")
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see pywt.wavelist(kind='discrete')"
        families = "haar, db1-db38, sym2-sym20, coif1-coif17, bior1.1-bior6.8, rbio1.1-rbio6.8, dmey"
        raise SettingsError(key, name, f"must be a discrete wavelet of PyWavelets ({families})", hint)


def _check_level(key: str, level: object) -> None:
    if level == "max" or (isinstance(level, int) and not isinstance(level, bool) and level >= 1):
        return
    raise SettingsError(
        key,
        level,
        "must be an integer >= 1, or max",
        "level 0 transforms nothing: use method=magnitude for that",
    )


def _text(key: str) -> str:
    return allowed_text(key) or ""


def _member(key: str, value: str, names: tuple[str, ...]) -> None:
    if value not in names:
        raise SettingsError(key, value, one_of(names))


def _named(key: str, value: str, names: tuple[str, ...]) -> None:
    if value not in names:
        raise SettingsError(key, value, _text(key))


def _number(key: str, value: float, fits: bool) -> None:
    if not fits or not math.isfinite(value):
        raise SettingsError(key, value, _text(key))
