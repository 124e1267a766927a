"""The typed schema of all settings, and every check of them.

The dataclasses below are Hydra's schema, so a misspelt key or a value of the wrong type is refused when the
configuration is composed. `check` refuses values that have the right type and make no sense.
`metadata["allowed"]` is the text that an error shows for that key.
"""

import difflib
import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import pywt

from wavesweep.errors import SettingsError

LAYOUTS = ("auto", "spatial", "channel", "all", "flat")
METHODS = ("wavelet", "magnitude", "random", "unit", "dct", "rotation", "shuffled")
THRESHOLD_RULES = ("percentile", "universal", "energy", "absolute")
LAYER_TYPES = ("conv", "linear", "embedding")
DEVICES = ("auto", "cpu", "cuda")
QUANTIZERS = ("none", "uniform", "kmeans")
CODECS = ("range", "huffman", "none")
OTHERS = ("float32", "float16", "quantized")
MATCHES = ("coefficients", "bytes")
OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "cosine", "multistep")
# Settings that cannot change a result, and so do not enter a trial's key.
VOLATILE = ("paths", "device", "progress", "retry_failed", "on_busy")


def _one_of(names: tuple[str, ...]) -> str:
    return "must be one of " + ", ".join(names)


def _setting(default: Any, allowed: str) -> Any:
    return field(default=default, metadata={"allowed": allowed})


# OmegaConf makes a frozen dataclass read-only for overrides as well, so the schema is not frozen.
@dataclass
class Recipe:
    """How the baseline is trained."""

    optimizer: str = _setting("adam", _one_of(OPTIMIZERS))
    learning_rate: float = _setting(1e-3, "must be a number > 0")
    momentum: float = _setting(0.9, "must be a number from 0 to below 1 (sgd only)")
    weight_decay: float = _setting(0.0, "must be a number >= 0")
    schedule: str = _setting("cosine", _one_of(SCHEDULES) + " (multistep: a tenth at 50 and 75 %)")
    epochs: int = _setting(30, "must be an integer >= 0 (0 only with model.checkpoint)")
    batch_size: int = _setting(64, "must be an integer >= 1")
    augment: bool = _setting(False, "must be true or false (random crop with padding, and flip)")


@dataclass
class ModelSettings:
    """Which network, and how its baseline is trained."""

    name: str = _setting("mlp", "must be one of the model group's options, see --help")
    target: str | None = _setting(None, "must be package.module.factory (model=custom only)")
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"allowed": "must be a mapping"})
    checkpoint: str | None = _setting(None, "must be a .safetensors file or a PyTorch state dict")
    recipe: Recipe = field(default_factory=Recipe)


@dataclass
class DatasetSettings:
    """Which data; `path`, `image_size` and `channels` are for `image_folder` only."""

    name: str = _setting("digits", "must be one of the dataset group's options, see --help")
    validation_fraction: float = _setting(0.1, "must be a number above 0 and below 1")
    path: str | None = _setting(None, "must be a directory that holds train/<class>/* and test/<class>/*")
    image_size: int = _setting(32, "must be an integer >= 1 (pixels, height and width)")
    channels: int = _setting(3, "must be 1 or 3")


@dataclass
class MethodSettings:
    """Which row of the table of methods is the main arm."""

    name: str = _setting("wavelet", _one_of(METHODS))


@dataclass
class ThresholdSettings:
    """How many coefficients are kept, over which scope, and what happens to those that are."""

    rule: str = _setting("percentile", _one_of(THRESHOLD_RULES))
    percentile: float = _setting(80.0, "must be a number from 0 to 100 (share of coefficients pruned, in %)")
    energy: float = _setting(0.95, "must be a number from 0 to 1 (share of the squared norm kept)")
    value: float = _setting(0.01, "must be a number >= 0 (smallest magnitude kept)")
    scope: str = _setting("layer", _one_of(("layer", "global")))
    shrinkage: str = _setting("hard", _one_of(("hard", "soft")))
    atom_norm: bool = _setting(False, "must be true or false (rank by |coefficient| times its atom's norm)")


@dataclass
class QuantizeSettings:
    """How kept coefficients become integers, and how the other tensors are stored."""

    name: str = _setting("uniform", _one_of(QUANTIZERS))
    bits: int = _setting(8, "must be an integer from 2 to 16 (ignored where quantize.step is set)")
    step: float | None = _setting(
        None, "must be a number > 0, or null (of the weights, or of the outputs with quantize.importance=second_order)"
    )
    dead_zone: float = _setting(1.0, "must be a number from 1 to 4 (width of the zero bin in steps)")
    per: str = _setting("layer", _one_of(("layer", "band")) + " (which coefficients share a step of quantize.bits)")
    atom_norm: bool = _setting(False, "must be true or false (divide a band's step by the norm of its synthesis atom)")
    max_drop: float | None = _setting(
        None,
        "must be a number >= 0, or null (points of validation accuracy that quantisation may cost; finds the step)",
    )
    rate_weight: float = _setting(0.0, "must be a number >= 0 (bits against distortion, in squared steps per bit)")
    importance: str = _setting("none", _one_of(("none", "second_order")))
    damping: float = _setting(
        1.0, "must be a number > 0 (share of the mean added to the second-order estimate, which few images make)"
    )
    images: int = _setting(1024, "must be an integer >= 1 (training images for quantize.importance)")
    coefficients: str = _setting("float16", _one_of(("float16", "float32")) + " (quantize=none only)")
    other: str = _setting("float16", _one_of(OTHERS) + " (biases and normalisation)")
    other_bits: int = _setting(8, "must be an integer from 2 to 16 (quantize.other=quantized only)")


@dataclass
class CodecSettings:
    """How symbols become bytes."""

    name: str = _setting("range", _one_of(CODECS))


@dataclass
class LayerOverride:
    """Settings of its own for the tensors whose name matches the glob `match`."""

    match: str = _setting("*", "must be a glob pattern of tensor names, e.g. fc1*")
    percentile: float | None = _setting(None, "must be a number from 0 to 100, or null")
    wavelet: str | None = _setting(None, "must be a discrete wavelet of PyWavelets, or null")
    level: Any = _setting(None, "must be an integer >= 1, max, or null")
    layout: str | None = _setting(None, _one_of(LAYOUTS))
    bits: int | None = _setting(None, "must be an integer from 2 to 16, or null")


@dataclass
class LayersSettings:
    """Which tensors may be pruned."""

    types: list[str] = field(default_factory=lambda: ["conv", "linear"], metadata={"allowed": _one_of(LAYER_TYPES)})
    include: list[str] = field(
        default_factory=lambda: ["*"], metadata={"allowed": "must be glob patterns of tensor names"}
    )
    exclude: list[str] = field(default_factory=list, metadata={"allowed": "must be glob patterns of tensor names"})
    overrides: list[LayerOverride] = field(
        default_factory=list,
        metadata={"allowed": "must be a list such as [{match: 'fc1*', percentile: 90}]"},
    )


@dataclass
class PathsSettings:
    """Where things are on this machine."""

    outputs: str = _setting("outputs", "must be a directory that can be written")
    data: str = _setting("data", "must be the directory of the data sets")


@dataclass
class Settings:
    """All settings of one trial."""

    model: ModelSettings = field(default_factory=ModelSettings)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    method: MethodSettings = field(default_factory=MethodSettings)
    threshold: ThresholdSettings = field(default_factory=ThresholdSettings)
    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    codec: CodecSettings = field(default_factory=CodecSettings)
    layers: LayersSettings = field(default_factory=LayersSettings)
    wavelet: str = _setting("bior2.2", "must be a discrete wavelet of PyWavelets")
    level: Any = _setting(3, "must be an integer >= 1, or max")
    boundary: str = _setting("periodization", "must be a boundary mode of PyWavelets")
    layout: str = _setting("auto", _one_of(LAYOUTS))
    compare: list[str] = field(
        default_factory=lambda: ["magnitude", "random"],
        metadata={"allowed": f"must be a list of methods ({', '.join(METHODS)}), [] for none"},
    )
    compare_match: str = _setting("coefficients", _one_of(MATCHES) + " (what compared methods have in common)")
    seed: int = _setting(0, "must be an integer >= 0 and below 2**32")
    device: str = _setting("auto", _one_of(DEVICES))
    paths: PathsSettings = field(default_factory=PathsSettings)
    progress: bool = _setting(True, "must be true or false")
    retry_failed: bool = _setting(False, "must be true or false")
    on_busy: str = _setting("wait", _one_of(("wait", "skip")))


def allowed_text(key: str, schema: type = Settings) -> str | None:
    """The text that says what the dotted `key` may be, or None where the schema has no such key."""
    first, _, rest = key.partition(".")
    for entry in fields(schema):
        if entry.name != first:
            continue
        if is_dataclass(entry.type) and isinstance(entry.type, type):
            return allowed_text(rest, entry.type) if rest else "is a group of keys; set one of them"
        return str(entry.metadata["allowed"]) if not rest else None
    return None


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
        raise SettingsError("boundary", settings.boundary, _one_of(tuple(pywt.Modes.modes)))
    _member("layout", settings.layout, LAYOUTS)
    _check_quantize(settings.quantize)
    _named("codec.name", settings.codec.name, CODECS)
    _named("compare_match", settings.compare_match, MATCHES)
    _check_layers(settings.layers)
    if settings.model.name == "custom" and settings.model.target is None:
        raise SettingsError("model.target", None, _text("model.target"), "set it to a function that returns the model")
    recipe = settings.model.recipe
    _member("model.recipe.optimizer", recipe.optimizer, OPTIMIZERS)
    _member("model.recipe.schedule", recipe.schedule, SCHEDULES)
    _number("model.recipe.learning_rate", recipe.learning_rate, recipe.learning_rate > 0)
    _number("model.recipe.momentum", recipe.momentum, 0 <= recipe.momentum < 1)
    _number("model.recipe.weight_decay", recipe.weight_decay, recipe.weight_decay >= 0)
    _number("model.recipe.epochs", recipe.epochs, recipe.epochs >= (0 if settings.model.checkpoint else 1))
    _number("model.recipe.batch_size", recipe.batch_size, recipe.batch_size >= 1)
    dataset = settings.dataset
    _number("dataset.validation_fraction", dataset.validation_fraction, 0 < dataset.validation_fraction < 1)
    _number("dataset.image_size", dataset.image_size, dataset.image_size >= 1)
    _number("dataset.channels", dataset.channels, dataset.channels in (1, 3))
    _number("seed", settings.seed, 0 <= settings.seed < 1 << 32)
    if not settings.paths.outputs:
        raise SettingsError("paths.outputs", "", _text("paths.outputs"))
    _member("device", settings.device, DEVICES)
    _member("on_busy", settings.on_busy, ("wait", "skip"))


def _check_method(settings: Settings) -> None:
    _member("method", settings.method.name, METHODS)
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
        raise SettingsError(key, value, _one_of(names))


def _named(key: str, value: str, names: tuple[str, ...]) -> None:
    if value not in names:
        raise SettingsError(key, value, _text(key))


def _number(key: str, value: float, fits: bool) -> None:
    if not fits or not math.isfinite(value):
        raise SettingsError(key, value, _text(key))
