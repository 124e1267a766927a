"""What readers rely on in each kind of JSON file, as types that msgspec checks.

A file may hold more than its shape names, as those of newer and older versions do; what is read is the whole content.
Shapes ask for what is used and no more, so that older records stay valid.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

_Share = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Size = Annotated[int, Meta(ge=1, le=2**63 - 1)]
_Name = Annotated[str, Meta(min_length=1)]


class DamagedError(ValueError):
    """The content of a file is not what its kind of file holds; the message says where it differs."""


class Anything(Struct):
    """A JSON object whose content is checked elsewhere."""


class Failure(Struct):
    """`failure.json` and `onnx_failure.json`."""

    reason: str


class Quality(Struct):
    """Measures on one split."""

    accuracy: _Share
    loss: float
    precision: _Share
    recall: _Share
    f1: _Share


class Accuracy(Struct):
    """The measure of a split that an older baseline has at least."""

    accuracy: _Share


class TaskEntry(Struct):
    """What a record of another task than classification says of it."""

    name: _Name
    primary: _Name
    unit: str
    direction: Literal["higher", "lower"]


Measures = dict[str, Any]


def _check_measures(task: TaskEntry | None, kind: type[Struct], *splits: Measures) -> None:
    """Refuse measures that lack what is read: of classification those of `kind`, of others numbers and the primary."""
    for measures in splits:
        if task is None:
            msgspec.convert(measures, kind)
        elif not isinstance(msgspec.convert(measures, dict[str, float]).get(task.primary), float):
            raise ValueError(f"lacks {task.primary}")


class Calls(Struct):
    """How long calls take, in milliseconds."""

    median: float


class Latency(Struct):
    """`inference_ms`."""

    single: Calls
    batch: Calls


class Reference(Struct):
    """What the record of a trial says of its baseline."""

    key: str
    parameters: _Size
    validation: Measures
    test: Measures
    macs: _Count


class Baseline(Struct):
    """`baseline.json`."""

    key: str
    parameters: _Size
    validation: Measures
    test: Measures
    inference_ms: Latency
    macs: _Count
    dense_bytes: _Size
    task: TaskEntry | None = None

    def __post_init__(self) -> None:
        _check_measures(self.task, Quality, self.validation, self.test)


class EarlyWeights(Struct):
    """`weights.json`: a baseline after some of its epochs."""

    epoch: _Count


class ArmTensor(Struct):
    """What `arm.json` says of a tensor."""

    coefficients: _Count
    kept: _Count
    nonzero: _Count
    zero_weights: _Count
    error: float
    steps: list[float] | None = None


class Retraining(Struct):
    """How the retraining of an arm went."""

    epochs: _Count
    chosen_epoch: _Count
    curve: list[dict[str, Any]] = []


class Shrunk(Struct):
    """What removing units changed."""

    macs: _Count
    removed: dict[str, _Count]
    kept_because: list[dict[str, Any]]


class OutputDifference(Struct):
    """How far outputs are from others."""

    relative: float | None
    agreement: _Share | None


class OutputErrors(Struct):
    """How far an arm's outputs are from those of the trained network."""

    inputs: _Count
    pruned: OutputDifference
    decoded: OutputDifference
    quantized: float | None


class NotCoded(Struct):
    """What a file holds number by number."""

    bytes: _Count
    share: float


class Arm(Struct, kw_only=True):
    """`arm.json`."""

    arm_key: str
    kept_coefficients: _Count
    total_coefficients: _Size
    nonzero_coefficients: _Count
    coefficient_sparsity: _Share
    weight_sparsity: _Share
    kept_per_group: list[_Count]
    tensors: dict[str, ArmTensor]
    validation: Measures
    test: Measures
    inference_ms: Latency
    stored_bytes: _Size
    retraining: Retraining | None = None
    shrunk: Shrunk | None = None
    task: TaskEntry | None = None
    output_error: OutputErrors | None = None

    def __post_init__(self) -> None:
        _check_measures(self.task, Quality, self.validation, self.test)


class Layer(Struct, kw_only=True):
    """A pruned tensor, in the record of a trial."""

    name: str
    shape: list[_Count]
    coefficients: _Count
    kept: _Count
    nonzero: _Count
    zero_weights: _Count
    error: float
    wavelet: str | None = None
    levels: list[_Count] | None = None


class TrialArm(Struct, kw_only=True):
    """An arm, in the record of a trial."""

    method: _Name
    arm_key: str
    requested: dict[str, Any]
    kept_coefficients: _Count
    total_coefficients: _Size
    coefficient_sparsity: _Share
    validation: Measures
    test: Measures
    stored_bytes: _Size
    dense_bytes: _Size
    macs: _Count
    layers: list[Layer] = []
    output_error: OutputErrors | None = None


class NamedSettings(Struct):
    """A group of settings that has a name."""

    name: str


class TrialSettings(Struct):
    """The settings of a trial that tables and searches read."""

    model: NamedSettings
    dataset: NamedSettings
    compare: list[str]
    seed: int


class Seconds(Struct):
    """Durations of a trial."""

    total: float


class Trial(Struct):
    """`result.json`."""

    key: str
    settings: TrialSettings
    seconds: Seconds
    baseline: Reference
    arms: Annotated[list[TrialArm], Meta(min_length=1)]
    notes: list[str]
    task: TaskEntry | None = None
    not_coded: NotCoded | None = None

    def __post_init__(self) -> None:
        for arm in self.arms:
            _check_measures(self.task, Quality, arm.validation, arm.test)
        _check_measures(self.task, Accuracy, self.baseline.validation, self.baseline.test)


class Alone(Struct):
    """`point.json`: a tensor that was pruned alone."""

    coefficients: _Count
    kept: _Count
    accuracy: float
    loss: float
    stored_bytes: _Size


class Trained(Struct):
    """The plain part of a checkpoint: the learning curve, and loss and seconds of an epoch without a row in it."""

    curve: list[dict[str, Any]]
    unmeasured: tuple[float, float] | None


class Images(Struct):
    """`images.json`: a folder of images that was decoded."""

    classes: list[str]
    image_size: _Size
    channels: _Size


class Export(Struct):
    """`onnx.json`."""

    arm_key: str
    bytes: _Size
    equal_predictions: _Share
    inference_ms: Latency
    pytorch_inference_ms: Latency


class Sweep(Struct):
    """`sweep.json`."""

    keys: list[str]
    arguments: list[str] = []
    experiments: dict[str, list[str]] = {}


class Study(Struct):
    """`study.json`."""

    name: _Name
    storage: str
    n_trials: _Count | None = None


class StudyDescription(Struct):
    """What a study keeps of its objectives, space and settings."""

    objectives: list[str]
    space: dict[str, str]
    settings: dict[str, str]


class StudyMeasures(Struct):
    """What a study keeps of a trial's record."""

    drop: float
    stored_bytes: _Size
    sparsity: _Share
    reference: list[float]
    accuracy: _Share | None = None
    test_accuracy: _Share | None = None
    task: TaskEntry | None = None

    def __post_init__(self) -> None:
        if self.task is None and (self.accuracy is None or self.test_accuracy is None):
            raise ValueError("lacks an accuracy")


class StudyTrial(Struct):
    """What a study keeps of a complete trial beside its parameters and values."""

    key: _Name
    measures: StudyMeasures


class JournalOperation(Struct):
    """A line of the journal in which Optuna may keep a study."""

    op_code: _Count
    worker_id: str


class FrontTrial(Struct):
    """A trial of `front.json`."""

    values: list[float]


class Front(Struct):
    """`front.json`."""

    front: list[FrontTrial]


def checked(content: bytes, shape: type[Struct]) -> dict[str, Any]:
    """The JSON object in `content`, whole, if it has that shape.

    Raises:
        DamagedError: it has not, or is no JSON.
    """
    try:
        found = msgspec.json.decode(content)
    except (ValueError, RecursionError):  # of text that is not UTF-8 as well, and of NaN, which is no JSON
        raise DamagedError("is not JSON" if content.strip() else "is empty") from None
    if not isinstance(found, dict):
        raise DamagedError("is not a JSON object")
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        raise DamagedError(str(error)) from None
    return found


def has_shape(content: object, shape: type[Struct]) -> bool:
    """Whether plain values, such as a database keeps, have that shape."""
    try:
        msgspec.convert(content, shape)
    except msgspec.ValidationError:
        return False
    return True
