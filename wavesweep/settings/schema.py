"""The typed schema of all settings.

The dataclasses below are Hydra's schema, so a misspelt key or a value of the wrong type is refused when the
configuration is composed. Each field carries its constraint, from which come both the check of its value and the text
of the error; `rules` has the checks across fields.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wavesweep.settings.constraints import (
    Constraint,
    any_of_its_type,
    arguments,
    at_least,
    between,
    boundary,
    channels_or_row_of,
    each,
    each_row_of,
    flag,
    inside,
    integer_below,
    integer_from,
    level,
    one_of,
    pattern,
    positive,
    row_of,
    rows_of,
    wavelet,
)
from wavesweep.settings.registry import (
    Allocation,
    Codec,
    LayerType,
    Layout,
    Method,
    Normalization,
    Objective,
    Quantizer,
    Retraining,
    Sampler,
    Task,
    Threshold,
)

# Settings that cannot change a result, and so do not enter a trial's key.
VOLATILE = ("paths", "device", "progress", "retry_failed", "on_busy", "search", "export")
_OPTIMIZERS = ("sgd", "adam")
_SCHEDULES = ("constant", "cosine", "multistep")
_PRECISIONS = ("float32", "bfloat16")
# What is best within the limits of a search: the smallest file, or what loses least.
PREFERRED = ("small", "accurate")
# How `max_drop` is counted.
DROP_UNITS = ("units", "percent")
DROP_NOTE = "of the task's primary metric: points of a share such as accuracy; percent of the value before"
_GLOBS = "must be glob patterns of tensor names"
_OPTION = "must be one of the {} group's options, see --help"


def setting(default: Any, constraint: Constraint) -> Any:
    """A field with its default, which is copied for each object if it is mutable, and its constraint."""
    metadata = {"constraint": constraint}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


# OmegaConf makes a frozen dataclass read-only for overrides as well, so the schema is not frozen.
@dataclass
class Recipe:
    """How the baseline is trained."""

    optimizer: str = setting("adam", one_of(_OPTIMIZERS))
    learning_rate: float = setting(1e-3, positive())
    momentum: float = setting(0.9, inside(0, 1, includes_low=True).with_note("sgd only"))
    weight_decay: float = setting(0.0, at_least(0))
    schedule: str = setting("cosine", one_of(_SCHEDULES).with_note("multistep: a tenth at 50 and 75 %"))
    epochs: int = setting(30, integer_from(0).with_note("0 only with model.checkpoint or model.weights"))
    batch_size: int = setting(64, integer_from(1))
    augment: bool = setting(False, flag().with_note("random crop with padding, and flip"))
    precision: str = setting(
        "float32", one_of(_PRECISIONS).with_note("of forward passes in training; weights are float32")
    )


@dataclass
class ModelSettings:
    """Which network, and how its baseline is trained."""

    name: str = setting("mlp", any_of_its_type(_OPTION.format("model")))
    source: str = setting(
        "zoo", one_of(("zoo", "torchvision")).with_note("of torchvision: any of its classifiers by model.name")
    )
    weights: str | None = setting(
        None,
        any_of_its_type("must be DEFAULT, another name of that model's weights")
        .or_null()
        .with_note("model=torchvision only"),
    )
    target: str | None = setting(
        None, any_of_its_type("must be package.module.factory").or_null().with_note("model=custom only")
    )
    arguments: dict[str, Any] = setting({}, arguments())
    checkpoint: str | None = setting(
        None, any_of_its_type("must be a .safetensors file or a PyTorch state dict").or_null()
    )
    recipe: Recipe = field(default_factory=Recipe)


@dataclass
class DatasetSettings:
    """Which data; `path`, `image_size`, `resize` and `channels` are for `image_folder`, `target` is for `custom`."""

    name: str = setting("digits", any_of_its_type(_OPTION.format("dataset")))
    validation_fraction: float = setting(0.1, inside(0, 1))
    path: str | None = setting(
        None,
        any_of_its_type(
            "must be a directory that holds train/<class>/* and test/<class>/*, or val/<class>/*"
        ).or_null(),
    )
    image_size: int = setting(32, integer_from(1).with_note("pixels, height and width"))
    resize: int | None = setting(
        None,
        integer_from(1).or_null().with_note(">= dataset.image_size; of the shorter side, before the centre is cut out"),
    )
    channels: int = setting(3, one_of((1, 3)))
    mean: Any = setting(
        None,
        channels_or_row_of(Normalization)
        .or_null()
        .with_note("of images from 0 to 1, to normalise by; null: of the training images, or what model.weights need"),
    )
    std: Any = setting(
        None, channels_or_row_of(Normalization, 0, False).or_null().with_note("null: of the same name as dataset.mean")
    )
    target: str | None = setting(
        None, any_of_its_type("must be package.module.factory").or_null().with_note("dataset=custom only")
    )
    arguments: dict[str, Any] = setting({}, arguments())
    workers: int = setting(0, integer_from(0).with_note("processes that read examples which are not kept in memory"))
    in_memory: bool | None = setting(
        None, flag().or_null().with_note("null keeps a data set that fits; false reads it anew in each epoch")
    )


@dataclass
class TaskSettings:
    """What the network is trained for, and measured by."""

    name: str = setting("classification", row_of(Task))
    target: str | None = setting(
        None, any_of_its_type("must be package.module.Task").or_null().with_note("task=custom only")
    )
    arguments: dict[str, Any] = setting({}, arguments())


@dataclass
class MethodSettings:
    """Which row of the table of methods is the main arm."""

    name: str = setting("wavelet", row_of(Method))


@dataclass
class ThresholdSettings:
    """How many coefficients are kept, over which scope, and what happens to those that are."""

    rule: str = setting("percentile", row_of(Threshold))
    percentile: float = setting(80.0, between(0, 100).with_note("share of coefficients pruned, in %"))
    energy: float = setting(0.95, between(0, 1).with_note("share of the squared norm kept"))
    value: float = setting(0.01, at_least(0).with_note("smallest magnitude kept"))
    scope: str = setting("layer", one_of(("layer", "global")))
    shrinkage: str = setting("hard", one_of(("hard", "soft")))
    atom_norm: bool = setting(False, flag().with_note("rank by |coefficient| times its atom's norm"))
    allocation: str = setting(
        "uniform", row_of(Allocation).with_note("how threshold.percentile is shared out among the tensors")
    )
    sensitivity: str | None = setting(
        None,
        any_of_its_type("must be the table of experiment=sensitivity")
        .or_null()
        .with_note("threshold.allocation=sensitivity only"),
    )


@dataclass
class RetrainSettings:
    """How the network is trained on after pruning; null stands for what the baseline's recipe has."""

    name: str = setting("none", row_of(Retraining))
    epochs: int = setting(10, integer_from(1))
    optimizer: str | None = setting(None, one_of(_OPTIMIZERS).or_null())
    learning_rate: float | None = setting(None, positive().or_null())
    weight_decay: float | None = setting(None, at_least(0).or_null())
    schedule: str = setting("cosine", one_of(_SCHEDULES))
    batch_size: int | None = setting(None, integer_from(1).or_null())
    augment: bool | None = setting(None, flag().or_null())
    precision: str | None = setting(None, one_of(_PRECISIONS).or_null())
    regrow: bool = setting(False, flag().with_note("pruned coefficients may come back while the mask changes"))
    rounds: int = setting(5, integer_from(1).with_note("iterative and rewind only: prunings in equal ratios"))
    ramp: float = setting(
        0.7, between(0, 1).with_note("share of the epochs over which gradual prunes, or rate raises its weight")
    )
    distillation: float = setting(
        0.0, between(0, 1).with_note("share of the loss that is the distance from the baseline's outputs")
    )
    rewind: str = setting("learning_rate", one_of(("learning_rate", "weights")).with_note("rewind only"))
    rewind_epoch: int = setting(1, integer_from(0).with_note("below the baseline's epochs; rewind only"))
    quantize_epochs: int = setting(
        2, integer_from(0).with_note("below retrain.epochs; last epochs, in which the quantiser is trained as well")
    )
    rate_weight: float = setting(1.0, at_least(0).with_note("rate only: nats of loss per bit and coefficient"))
    step: float = setting(
        2.0, positive().with_note("rate only: first step in standard deviations of a tensor's coefficients")
    )
    group_weight: float = setting(
        0.0, at_least(0).with_note("rate only: penalty on units and inputs that are not empty")
    )
    freeze_epochs: int = setting(
        0, integer_from(0).with_note("below retrain.epochs; rate only: last epochs, in which zeros stay as they are")
    )


@dataclass
class QuantizeSettings:
    """How kept coefficients become integers, and how the other tensors are stored."""

    name: str = setting("uniform", row_of(Quantizer))
    bits: int = setting(8, integer_from(2, 16).with_note("ignored where quantize.step is set"))
    step: float | None = setting(
        None,
        positive()
        .or_null()
        .with_note("of the weights; with quantize.importance=second_order relative to the outputs' spread"),
    )
    dead_zone: float = setting(1.0, between(1, 4).with_note("width of the zero bin in steps"))
    per: str = setting("layer", one_of(("layer", "band")).with_note("which coefficients share a step of quantize.bits"))
    atom_norm: bool = setting(False, flag().with_note("divide a band's step by the norm of its synthesis atom"))
    max_drop: float | None = setting(
        None,
        at_least(0).or_null().with_note("points of validation accuracy that quantisation may cost; finds the step"),
    )
    max_drop_in: str = setting("units", one_of(DROP_UNITS).with_note(DROP_NOTE))
    rate_weight: float = setting(0.0, at_least(0).with_note("bits against distortion, in squared steps per bit"))
    importance: str = setting("none", one_of(("none", "second_order")))
    damping: float = setting(
        1.0, positive().with_note("share of the mean added to the second-order estimate, which few images make")
    )
    images: int = setting(1024, integer_from(1).with_note("training images for quantize.importance"))
    coefficients: str = setting("float16", one_of(("float16", "float32")).with_note("quantize=none only"))
    other: str = setting("float16", one_of(("float32", "float16", "quantized")).with_note("biases and normalisation"))
    other_bits: int = setting(8, integer_from(2, 16).with_note("quantize.other=quantized only"))

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

    name: str = setting("range", row_of(Codec))


@dataclass
class LayerOverride:
    """Settings of its own for the tensors whose name matches the glob `match`."""

    match: str = setting("*", any_of_its_type("must be a glob pattern of tensor names, e.g. fc1*"))
    percentile: float | None = setting(None, between(0, 100).or_null())
    wavelet: str | None = setting(None, wavelet().or_null())
    level: Any = setting(None, level().or_null())
    layout: str | None = setting(None, row_of(Layout).or_null())
    bits: int | None = setting(None, integer_from(2, 16).or_null())


@dataclass
class LayersSettings:
    """Which tensors may be pruned."""

    types: list[str] = setting(
        ["conv", "linear", "large"], each_row_of(LayerType, "must be a list, such as [all], of {}")
    )
    include: list[str] = setting(["*"], any_of_its_type(_GLOBS))
    exclude: list[str] = setting([], any_of_its_type(_GLOBS))
    overrides: list[LayerOverride] = setting(
        [], any_of_its_type("must be a list such as [{match: 'fc1*', percentile: 90}]")
    )


@dataclass
class ConstraintSettings:
    """What a search's trials must satisfy; null leaves it open."""

    max_drop: float | None = setting(
        None, at_least(0).or_null().with_note("points of validation accuracy below the baseline")
    )
    max_drop_in: str = setting("units", one_of(DROP_UNITS).with_note(DROP_NOTE))
    max_bytes: int | None = setting(None, integer_from(1).or_null().with_note("size of the file"))
    max_ms: float | None = setting(None, positive().or_null().with_note("inference time of one input, on this machine"))
    min_sparsity: float | None = setting(None, between(0, 100).or_null().with_note("%, of the coefficients"))
    prefer: str | None = setting(
        None,
        one_of(PREFERRED).or_null().with_note("of what is within the limits; null: small where max_drop is set"),
    )


@dataclass
class StageSettings:
    """The first trials of a search, in which some of the keys that vary have one value."""

    share: float = setting(0.5, between(0, 1).with_note("of all trials"))
    values: dict[str, Any] = setting({}, arguments())


@dataclass
class SearchSettings:
    """How Optuna looks for the Pareto front; the space is what the sweep's lists, intervals and ranges span."""

    name: str = setting("none", one_of(("none", "pareto")))
    study: str | None = setting(
        None,
        pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*", "must be a name of letters, digits, '.', '_' and '-'")
        .or_null()
        .with_note("made of search, model and dataset"),
    )
    objectives: list[str] = setting(
        ["accuracy", "stored_bytes"], rows_of(Objective, "must be a list of two of {}", count=2)
    )
    sampler: str = setting("tpe", row_of(Sampler))
    n_trials: int = setting(100, integer_from(1).with_note("of the whole study, over all its processes"))
    n_jobs: int | None = setting(
        None, integer_from(1).or_null().with_note("trials at once: as many as the launcher runs")
    )
    seed: int = setting(0, integer_below(0, 32).with_note("of the sampler"))
    storage: str | None = setting(
        None,
        any_of_its_type("must be a URL (sqlite:///..., journal:///..., postgresql://...)")
        .or_null()
        .with_note("SQLite beside the study"),
    )
    start: list[Any] = setting(
        [], each(arguments(), "must be a list of points, such as [{method: dct, quantize.step: 0.05}]")
    )
    refine: bool = setting(True, flag().with_note("every second trial is close to the best one so far"))
    first_stage: StageSettings = field(default_factory=StageSettings)
    warm_start: bool = setting(False, flag().with_note("begin with what earlier sweeps have computed"))
    early_images: int | None = setting(
        None,
        integer_from(1).or_null().with_note("validation images by which trials far from the front are stopped early"),
    )
    constraints: ConstraintSettings = field(default_factory=ConstraintSettings)


@dataclass
class PathsSettings:
    """Where things are on this machine."""

    outputs: str = setting("outputs", any_of_its_type("must be a directory that can be written"))
    data: str = setting("data", any_of_its_type("must be the directory of the data sets"))


@dataclass
class Settings:
    """All settings of one trial."""

    model: ModelSettings = field(default_factory=ModelSettings)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    method: MethodSettings = field(default_factory=MethodSettings)
    threshold: ThresholdSettings = field(default_factory=ThresholdSettings)
    retrain: RetrainSettings = field(default_factory=RetrainSettings)
    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    codec: CodecSettings = field(default_factory=CodecSettings)
    layers: LayersSettings = field(default_factory=LayersSettings)
    wavelet: str = setting("bior2.2", wavelet())
    level: Any = setting(3, level())
    boundary: str = setting("periodization", boundary())
    layout: str = setting("auto", row_of(Layout))
    shrink: bool = setting(False, flag().with_note("remove units that are all zero from the network"))
    compare: list[str] = setting(
        ["magnitude", "random"], rows_of(Method, "must be a list of different methods ({}), [] for none")
    )
    compare_match: str = setting(
        "coefficients", one_of(("coefficients", "bytes")).with_note("what compared methods have in common")
    )
    search: SearchSettings = field(default_factory=SearchSettings)
    seed: int = setting(0, integer_below(0, 32))
    device: str = setting("auto", one_of(("auto", "cpu", "cuda")))
    paths: PathsSettings = field(default_factory=PathsSettings)
    progress: bool = setting(True, flag())
    retry_failed: bool = setting(False, flag())
    on_busy: str = setting("wait", one_of(("wait", "skip")))
    export: str = setting(
        "none", one_of(("none", "onnx")).with_note("the network of the main arm as a file for other runtimes")
    )


@cache  # a search asks for each value that it could try
def fields_by_key(schema: type = Settings, prefix: str = "") -> Mapping[str, "Field[Any]"]:
    """Every setting by its dotted key, with its field; groups are not in it."""
    found: dict[str, Field[Any]] = {}
    for entry in fields(schema):
        if is_dataclass(entry.type) and isinstance(entry.type, type):
            found |= fields_by_key(entry.type, f"{prefix}{entry.name}.")
        else:
            found[prefix + entry.name] = entry
    return found


def allowed_text(key: str) -> str | None:
    """The text that says what the dotted `key` may be, or None where the schema has no such key."""
    every = fields_by_key()
    if any(name.startswith(f"{key}.") for name in every):
        return "is a group of keys; set one of them"
    return constraint_of(every[key]).allowed if key in every else None


def constraint_of(entry: "Field[Any]") -> Constraint:
    """The constraint that a field of the schema carries."""
    constraint: Constraint = entry.metadata["constraint"]
    return constraint


def config_directory() -> Path:
    """`conf/`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
