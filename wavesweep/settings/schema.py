"""The typed schema of all settings.

The dataclasses below are Hydra's schema, so a misspelt key or a value of the wrong type is refused when the
configuration is composed; `wavesweep.settings.rules` refuses values that have the right type and make no sense.
`metadata["allowed"]` is the text that an error shows for that key.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

LAYOUTS = ("auto", "spatial", "channel", "all", "flat")
METHODS = ("wavelet", "magnitude", "random", "unit", "dct", "rotation", "shuffled")
THRESHOLD_RULES = ("percentile", "universal", "energy", "absolute")
LAYER_TYPES = ("conv", "linear", "embedding")
DEVICES = ("auto", "cpu", "cuda")
QUANTIZERS = ("none", "uniform", "kmeans")
CODECS = ("range", "huffman", "none")
OTHERS = ("float32", "float16", "quantized")
MATCHES = ("coefficients", "bytes")
MODEL_SOURCES = ("zoo", "torchvision")
COMPATS = ("none", "clamped_level")
OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "cosine", "multistep")
PRECISIONS = ("float32", "bfloat16")
ALLOCATIONS = ("uniform", "erk", "lamp", "sensitivity")
RETRAININGS = ("none", "finetune", "iterative", "gradual", "rewind", "rate")
REWINDS = ("learning_rate", "weights")
SEARCHES = ("none", "pareto")
EXPORTS = ("none", "onnx")
OBJECTIVES = ("accuracy", "f1", "stored_bytes", "sparsity", "macs")
SAMPLERS = ("tpe", "gp", "nsga2", "nsga3", "qmc", "random", "grid", "brute_force")
# How notes say of a setting that was given that it changes nothing.
PLAYS_NO_PART = "plays no part"
MATCHES_NO_TENSOR = "matches no tensor"
# Settings that cannot change a result, and so do not enter a trial's key.
VOLATILE = ("paths", "device", "progress", "retry_failed", "on_busy", "search", "export")


def one_of(names: tuple[str, ...]) -> str:
    """The text that allows one of `names`."""
    return "must be one of " + ", ".join(names)


def _setting(default: Any, allowed: str) -> Any:
    return field(default=default, metadata={"allowed": allowed})


# OmegaConf makes a frozen dataclass read-only for overrides as well, so the schema is not frozen.
@dataclass
class Recipe:
    """How the baseline is trained."""

    optimizer: str = _setting("adam", one_of(OPTIMIZERS))
    learning_rate: float = _setting(1e-3, "must be a number > 0")
    momentum: float = _setting(0.9, "must be a number from 0 to below 1 (sgd only)")
    weight_decay: float = _setting(0.0, "must be a number >= 0")
    schedule: str = _setting("cosine", one_of(SCHEDULES) + " (multistep: a tenth at 50 and 75 %)")
    epochs: int = _setting(30, "must be an integer >= 0 (0 only with model.checkpoint or model.weights)")
    batch_size: int = _setting(64, "must be an integer >= 1")
    augment: bool = _setting(False, "must be true or false (random crop with padding, and flip)")
    precision: str = _setting("float32", one_of(PRECISIONS) + " (of forward passes in training; weights are float32)")


@dataclass
class ModelSettings:
    """Which network, and how its baseline is trained."""

    name: str = _setting("mlp", "must be one of the model group's options, see --help")
    source: str = _setting("zoo", one_of(MODEL_SOURCES) + " (of torchvision: any of its classifiers by model.name)")
    weights: str | None = _setting(
        None, "must be DEFAULT, another name of that model's weights, or null (model=torchvision only)"
    )
    target: str | None = _setting(None, "must be package.module.factory (model=custom only)")
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"allowed": "must be a mapping"})
    checkpoint: str | None = _setting(None, "must be a .safetensors file or a PyTorch state dict")
    recipe: Recipe = field(default_factory=Recipe)


@dataclass
class DatasetSettings:
    """Which data; `path`, `image_size`, `resize` and `channels` are for `image_folder`, `target` is for `custom`."""

    name: str = _setting("digits", "must be one of the dataset group's options, see --help")
    validation_fraction: float = _setting(0.1, "must be a number above 0 and below 1")
    path: str | None = _setting(
        None, "must be a directory that holds train/<class>/* and test/<class>/*, or val/<class>/*"
    )
    image_size: int = _setting(32, "must be an integer >= 1 (pixels, height and width)")
    resize: int | None = _setting(
        None, "must be an integer >= dataset.image_size (of the shorter side, before the centre is cut out), or null"
    )
    channels: int = _setting(3, "must be 1 or 3")
    target: str | None = _setting(None, "must be package.module.factory (dataset=custom only)")
    arguments: dict[str, Any] = field(default_factory=dict, metadata={"allowed": "must be a mapping"})


@dataclass
class MethodSettings:
    """Which row of the table of methods is the main arm."""

    name: str = _setting("wavelet", one_of(METHODS))


@dataclass
class ThresholdSettings:
    """How many coefficients are kept, over which scope, and what happens to those that are."""

    rule: str = _setting("percentile", one_of(THRESHOLD_RULES))
    percentile: float = _setting(80.0, "must be a number from 0 to 100 (share of coefficients pruned, in %)")
    energy: float = _setting(0.95, "must be a number from 0 to 1 (share of the squared norm kept)")
    value: float = _setting(0.01, "must be a number >= 0 (smallest magnitude kept)")
    scope: str = _setting("layer", one_of(("layer", "global")))
    shrinkage: str = _setting("hard", one_of(("hard", "soft")))
    atom_norm: bool = _setting(False, "must be true or false (rank by |coefficient| times its atom's norm)")
    allocation: str = _setting(
        "uniform", one_of(ALLOCATIONS) + " (how threshold.percentile is shared out among the tensors)"
    )
    sensitivity: str | None = _setting(
        None, "must be the table of experiment=sensitivity, or null (threshold.allocation=sensitivity only)"
    )


@dataclass
class RetrainSettings:
    """How the network is trained on after pruning; null stands for what the baseline's recipe has."""

    name: str = _setting("none", one_of(RETRAININGS))
    epochs: int = _setting(10, "must be an integer >= 1")
    optimizer: str | None = _setting(None, one_of(OPTIMIZERS) + ", or null")
    learning_rate: float | None = _setting(None, "must be a number > 0, or null")
    weight_decay: float | None = _setting(None, "must be a number >= 0, or null")
    schedule: str = _setting("cosine", one_of(SCHEDULES))
    batch_size: int | None = _setting(None, "must be an integer >= 1, or null")
    augment: bool | None = _setting(None, "must be true or false, or null")
    precision: str | None = _setting(None, one_of(PRECISIONS) + ", or null")
    regrow: bool = _setting(False, "must be true or false (pruned coefficients may come back while the mask changes)")
    rounds: int = _setting(5, "must be an integer >= 1 (iterative and rewind only: prunings in equal ratios)")
    ramp: float = _setting(
        0.7, "must be a number from 0 to 1 (share of the epochs over which gradual prunes, or rate raises its weight)"
    )
    distillation: float = _setting(
        0.0, "must be a number from 0 to 1 (share of the loss that is the distance from the baseline's outputs)"
    )
    rewind: str = _setting("learning_rate", one_of(REWINDS) + " (rewind only)")
    rewind_epoch: int = _setting(1, "must be an integer >= 0 and below the baseline's epochs (rewind only)")
    quantize_epochs: int = _setting(
        2, "must be an integer >= 0 and below retrain.epochs (last epochs, in which the quantiser is trained as well)"
    )
    rate_weight: float = _setting(1.0, "must be a number >= 0 (rate only: nats of loss per bit and coefficient)")
    step: float = _setting(
        2.0, "must be a number > 0 (rate only: first step in standard deviations of a tensor's coefficients)"
    )
    group_weight: float = _setting(
        0.0, "must be a number >= 0 (rate only: penalty on units and inputs that are not empty)"
    )
    freeze_epochs: int = _setting(
        0, "must be an integer >= 0 and below retrain.epochs (rate only: last epochs, in which zeros stay as they are)"
    )


@dataclass
class QuantizeSettings:
    """How kept coefficients become integers, and how the other tensors are stored."""

    name: str = _setting("uniform", one_of(QUANTIZERS))
    bits: int = _setting(8, "must be an integer from 2 to 16 (ignored where quantize.step is set)")
    step: float | None = _setting(
        None, "must be a number > 0, or null (of the weights, or of the outputs with quantize.importance=second_order)"
    )
    dead_zone: float = _setting(1.0, "must be a number from 1 to 4 (width of the zero bin in steps)")
    per: str = _setting("layer", one_of(("layer", "band")) + " (which coefficients share a step of quantize.bits)")
    atom_norm: bool = _setting(False, "must be true or false (divide a band's step by the norm of its synthesis atom)")
    max_drop: float | None = _setting(
        None,
        "must be a number >= 0, or null (points of validation accuracy that quantisation may cost; finds the step)",
    )
    rate_weight: float = _setting(0.0, "must be a number >= 0 (bits against distortion, in squared steps per bit)")
    importance: str = _setting("none", one_of(("none", "second_order")))
    damping: float = _setting(
        1.0, "must be a number > 0 (share of the mean added to the second-order estimate, which few images make)"
    )
    images: int = _setting(1024, "must be an integer >= 1 (training images for quantize.importance)")
    coefficients: str = _setting("float16", one_of(("float16", "float32")) + " (quantize=none only)")
    other: str = _setting("float16", one_of(OTHERS) + " (biases and normalisation)")
    other_bits: int = _setting(8, "must be an integer from 2 to 16 (quantize.other=quantized only)")

    @property
    def uses_bits(self) -> bool:
        """Whether `bits`, or those of a layer, decide anything."""
        return self.name == "kmeans" or (self.name == "uniform" and self.step is None)

    @property
    def is_trainable(self) -> bool:
        """Whether retraining can train this quantiser: not one that weighs bits against what each symbol does."""
        return not self.rate_weight and self.importance == "none"


@dataclass
class CodecSettings:
    """How symbols become bytes."""

    name: str = _setting("range", one_of(CODECS))


@dataclass
class LayerOverride:
    """Settings of its own for the tensors whose name matches the glob `match`."""

    match: str = _setting("*", "must be a glob pattern of tensor names, e.g. fc1*")
    percentile: float | None = _setting(None, "must be a number from 0 to 100, or null")
    wavelet: str | None = _setting(None, "must be a discrete wavelet of PyWavelets, or null")
    level: Any = _setting(None, "must be an integer >= 1, max, or null")
    layout: str | None = _setting(None, one_of(LAYOUTS))
    bits: int | None = _setting(None, "must be an integer from 2 to 16, or null")


@dataclass
class LayersSettings:
    """Which tensors may be pruned."""

    types: list[str] = field(default_factory=lambda: ["conv", "linear"], metadata={"allowed": one_of(LAYER_TYPES)})
    include: list[str] = field(
        default_factory=lambda: ["*"], metadata={"allowed": "must be glob patterns of tensor names"}
    )
    exclude: list[str] = field(default_factory=list, metadata={"allowed": "must be glob patterns of tensor names"})
    overrides: list[LayerOverride] = field(
        default_factory=list,
        metadata={"allowed": "must be a list such as [{match: 'fc1*', percentile: 90}]"},
    )


@dataclass
class ConstraintSettings:
    """What a search's trials must satisfy; null leaves it open."""

    max_drop: float | None = _setting(
        None, "must be a number >= 0, or null (points of validation accuracy below the baseline)"
    )
    max_bytes: int | None = _setting(None, "must be an integer >= 1, or null (size of the file)")
    min_sparsity: float | None = _setting(None, "must be a number from 0 to 100, or null (%, of the coefficients)")


@dataclass
class SearchSettings:
    """How Optuna looks for the Pareto front; the space is what the sweep's lists, intervals and ranges span."""

    name: str = _setting("none", one_of(SEARCHES))
    study: str | None = _setting(
        None, "must be a name of letters, digits, '.', '_' and '-', or null (made of search, model and dataset)"
    )
    objectives: list[str] = field(
        default_factory=lambda: ["accuracy", "stored_bytes"],
        metadata={"allowed": f"must be a list of two of {', '.join(OBJECTIVES)}"},
    )
    sampler: str = _setting("tpe", one_of(SAMPLERS))
    n_trials: int = _setting(100, "must be an integer >= 1 (of the whole study, over all its processes)")
    n_jobs: int | None = _setting(
        None, "must be an integer >= 1, or null (trials at once: as many as the launcher runs)"
    )
    seed: int = _setting(0, "must be an integer >= 0 and below 2**32 (of the sampler)")
    storage: str | None = _setting(
        None, "must be a URL (sqlite:///..., journal:///..., postgresql://...), or null (SQLite beside the study)"
    )
    warm_start: bool = _setting(False, "must be true or false (begin with what earlier sweeps have computed)")
    early_images: int | None = _setting(
        None, "must be an integer >= 1, or null (validation images by which trials far from the front are given up)"
    )
    constraints: ConstraintSettings = field(default_factory=ConstraintSettings)


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
    retrain: RetrainSettings = field(default_factory=RetrainSettings)
    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    codec: CodecSettings = field(default_factory=CodecSettings)
    layers: LayersSettings = field(default_factory=LayersSettings)
    wavelet: str = _setting("bior2.2", "must be a discrete wavelet of PyWavelets")
    level: Any = _setting(3, "must be an integer >= 1, or max")
    boundary: str = _setting("periodization", "must be a boundary mode of PyWavelets")
    layout: str = _setting("auto", one_of(LAYOUTS))
    compat: str = _setting(
        "none", one_of(COMPATS) + " (clamped_level: the level of a tensor is what its shortest axis allows, 0 included)"
    )
    shrink: bool = _setting(False, "must be true or false (remove units that are all zero from the network)")
    compare: list[str] = field(
        default_factory=lambda: ["magnitude", "random"],
        metadata={"allowed": f"must be a list of methods ({', '.join(METHODS)}), [] for none"},
    )
    compare_match: str = _setting("coefficients", one_of(MATCHES) + " (what compared methods have in common)")
    search: SearchSettings = field(default_factory=SearchSettings)
    seed: int = _setting(0, "must be an integer >= 0 and below 2**32")
    device: str = _setting("auto", one_of(DEVICES))
    paths: PathsSettings = field(default_factory=PathsSettings)
    progress: bool = _setting(True, "must be true or false")
    retry_failed: bool = _setting(False, "must be true or false")
    on_busy: str = _setting("wait", one_of(("wait", "skip")))
    export: str = _setting("none", one_of(EXPORTS) + " (the network of the main arm as a file for other runtimes)")


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


def config_directory() -> Path:
    """`conf/`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
