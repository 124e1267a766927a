"""The columns of the table of trials: their names, their types, and where in a record they come from."""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any

from wavesweep.settings.schema import VOLATILE, Settings

# A newer record may mean other things by the same names; `tests/analysis` compares this with the one of trials.
NEWEST_SCHEMA = 2
_ENCODER = json.JSONEncoder(sort_keys=True)  # json.dumps would make one for each value
_SPLITS = ("validation", "test")
_QUALITIES = ("accuracy", "loss", "precision", "recall", "f1")


class UnfitError(ValueError):
    """A record lacks a field that the table needs, or has a value of another type there."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: of the column.
        kind: `text`, `integer`, `number`, `flag`, `json` (lists and mappings as JSON text) or `label` (text or number).
        path: where the value lies in the part of the record that the column describes.
        needed: whether a record without it is skipped.
        default: the value where a record has none.
    """

    name: str
    kind: str
    path: tuple[str, ...]
    needed: bool = False
    default: Any = None

    def value(self, tree: Any, where: str) -> Any:
        """The value in `tree`, which errors call `where`.

        Raises:
            UnfitError: it is needed and absent, or of another type.
        """
        found = tree
        try:
            for name in self.path:
                found = found[name]
        except (KeyError, TypeError, IndexError):
            if self.needed:
                raise UnfitError(f"{where}{'.'.join(self.path)} is missing") from None
            return self.default
        if found is None:
            if self.needed:
                raise UnfitError(f"{where}{'.'.join(self.path)} is missing")
            return None
        if type(found) is float and self.kind == "number":  # most are; the loop over millions of values is the cost
            return found
        try:
            return _CONVERTERS[self.kind](found)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise UnfitError(f"{where}{'.'.join(self.path)} is not {_NOUNS[self.kind]}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.isascii():
        value.encode()  # JSON can hold half a surrogate pair, a table cannot
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) >= 2**63:
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _json(value: Any) -> str:
    return _ENCODER.encode(value)


def _label(value: Any) -> str:
    return _text(value) if isinstance(value, str) else _json(value)


_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "flag": _flag,
    "json": _json,
    "label": _label,
}
_NOUNS = {
    "text": "a text",
    "integer": "an integer",
    "number": "a number",
    "flag": "true or false",
    "json": "JSON",
    "label": "a text or a number",
}
# What the annotations of the schema of settings are in the table.
_KINDS: Mapping[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "flag",
    str | None: "text",
    int | None: "integer",
    float | None: "number",
    bool | None: "flag",
    Any: "label",
}


def _setting_columns(schema: type, group: tuple[str, ...] = ()) -> list[Column]:
    columns = []
    for entry in fields(schema):
        path = (*group, entry.name)
        if not group and entry.name in VOLATILE:
            continue
        if isinstance(entry.type, type) and is_dataclass(entry.type):
            columns += _setting_columns(entry.type, path)
            continue
        kind = _KINDS.get(entry.type, "json")
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        columns.append(
            Column(".".join(path), kind, path, default=None if default is None else _CONVERTERS[kind](default))
        )
    return columns


def _quality_columns(prefix: str, needed: bool) -> list[Column]:
    return [
        Column(f"{prefix}{split}_{quality}", "number", (split, quality), needed)
        for split in _SPLITS
        for quality in _QUALITIES
    ]


def _interval_columns(prefix: str, split: str) -> list[Column]:
    """The ends of the 95 % interval of the points lost."""
    return [Column(f"{prefix}accuracy_drop_{end}", "number", ("drop", split, end)) for end in ("low", "high")]


def _latency_columns(prefix: str) -> list[Column]:
    """Median and quartiles in milliseconds."""
    ends = (("", "median"), ("_low", "q1"), ("_high", "q3"))
    return [
        Column(f"{prefix}inference_{calls}_ms{end}", "number", ("inference_ms", calls, name))
        for calls in ("single", "batch")
        for end, name in ends
    ]


# The settings that say which network and which data set a trial is about.
MODEL_IDENTITY = ("model.name", "model.source", "model.weights", "model.target", "model.arguments", "model.checkpoint")
DATASET_IDENTITY = ("dataset.name", "dataset.target", "dataset.arguments", "dataset.path")
TASK_IDENTITY = ("task.name", "task.target", "task.arguments")
# A setting that a record lacks came later than the record, so it had its default: see settings/keys.py.
SETTINGS: tuple[Column, ...] = tuple(_setting_columns(Settings))

RECORD: tuple[Column, ...] = (
    Column("schema_version", "integer", ("schema_version",), needed=True),
    Column("device", "text", ("environment", "device")),
    Column("seconds_total", "number", ("seconds", "total")),
    Column("seconds_baseline", "number", ("seconds", "baseline")),
    Column("notes", "json", ("notes",)),
    Column("not_coded_bytes", "integer", ("not_coded", "bytes")),
    Column("validation_images", "integer", ("splits", "validation")),
    Column("test_images", "integer", ("splits", "test")),
    Column("validation_from", "text", ("splits", "validation_from")),
    Column("validation_may_be_trained_on", "flag", ("splits", "validation_may_be_trained_on")),
)

BASELINE: tuple[Column, ...] = (
    Column("baseline_key", "text", ("key",)),
    Column("baseline_parameters", "integer", ("parameters",), needed=True),
    *(
        Column(column.name, column.kind, column.path, needed=column.path[1] == "accuracy")
        for column in _quality_columns("baseline_", needed=False)
    ),
    *_latency_columns("baseline_"),
    Column("baseline_macs", "integer", ("macs",)),
    Column("baseline_safetensors_bytes", "integer", ("alternatives", "safetensors_bytes")),
    Column("baseline_gzip_bytes", "integer", ("alternatives", "gzip_bytes")),
    Column("baseline_int8_bytes", "integer", ("alternatives", "int8", "bytes")),
    Column("baseline_int8_validation_accuracy", "number", ("alternatives", "int8", "validation", "accuracy")),
    Column("baseline_int8_test_accuracy", "number", ("alternatives", "int8", "test", "accuracy")),
)

ARM: tuple[Column, ...] = (
    *_quality_columns("", needed=True),
    Column("stored_bytes", "integer", ("stored_bytes",), needed=True),
    Column("dense_bytes", "integer", ("dense_bytes",), needed=True),
    Column("compression_ratio", "number", ("compression_ratio",), needed=True),
    Column("bits_per_weight", "number", ("bits_per_weight",), needed=True),
    Column("coefficient_sparsity", "number", ("coefficient_sparsity",), needed=True),
    Column("weight_sparsity", "number", ("weight_sparsity",), needed=True),
    Column("kept_coefficients", "integer", ("kept_coefficients",), needed=True),
    Column("nonzero_coefficients", "integer", ("nonzero_coefficients",), needed=True),
    Column("total_coefficients", "integer", ("total_coefficients",), needed=True),
    Column("macs", "integer", ("macs",)),
    Column("gzip_bytes", "integer", ("gzip_bytes",)),
    *_latency_columns(""),
    Column("output_error", "number", ("output_error", "decoded", "relative")),
    Column("output_error_pruned", "number", ("output_error", "pruned", "relative")),
    Column("output_agreement", "number", ("output_error", "decoded", "agreement")),
    Column("requested", "json", ("requested",), needed=True),
    Column("step_scale", "number", ("step_scale",)),
    Column("seconds_encode", "number", ("seconds", "encode")),
    Column("seconds_decode", "number", ("seconds", "decode")),
    Column("seconds_measure", "number", ("seconds", "measure")),
    Column("retrained_epochs", "integer", ("retraining", "epochs")),
    Column("chosen_epoch", "integer", ("retraining", "chosen_epoch")),
    *_interval_columns("", "validation"),
    *_interval_columns("test_", "test"),
)

# The primary metric of the task: accuracy, where the record says nothing of a task.
METRIC = ("metric", "metric_unit", "metric_direction")
# Of another task than classification, which has none of the measures of that.
ARM_OF_TASK = tuple(replace(column, needed=False) if column in _quality_columns("", True) else column for column in ARM)
BASELINE_OF_TASK = tuple(replace(column, needed=False) if column.path[0] in _SPLITS else column for column in BASELINE)

# Of the main arm where it was exported, which has a record of its own beside that of the trial.
ONNX: tuple[Column, ...] = (
    Column("onnx_bytes", "integer", ("bytes",), needed=True),
    Column("onnx_largest_difference", "number", ("largest_difference",)),
    Column("onnx_equal_predictions", "number", ("equal_predictions",)),
    Column("onnx_validation_accuracy", "number", ("validation", "accuracy")),
    Column("onnx_test_accuracy", "number", ("test", "accuracy")),
    *_latency_columns("onnx_"),
    Column("onnx_pytorch_inference_single_ms", "number", ("pytorch_inference_ms", "single", "median")),
    Column("onnx_pytorch_inference_batch_ms", "number", ("pytorch_inference_ms", "batch", "median")),
)

# (name, kind) of every column of the table, in its order.
TRIALS: tuple[tuple[str, str], ...] = (
    ("key", "text"),
    ("arm", "integer"),
    ("is_main", "flag"),
    ("method", "text"),
    ("arm_key", "text"),
    *((column.name, column.kind) for column in SETTINGS),
    ("other_settings", "json"),
    *((column.name, column.kind) for column in ARM),
    ("accuracy_drop", "number"),
    ("test_accuracy_drop", "number"),
    *((name, "text") for name in METRIC),
    *((f"{place}{split}_metric", "number") for place in ("", "baseline_") for split in _SPLITS),
    ("effective_level", "text"),
    *((column.name, column.kind) for column in ONNX),
    *((column.name, column.kind) for column in BASELINE),
    *((column.name, column.kind) for column in RECORD),
    ("recorded_at", "time"),
)
FAILURES: tuple[tuple[str, str], ...] = (
    ("key", "text"),
    ("reason", "text"),
    ("recorded_at", "time"),
    *((column.name, column.kind) for column in SETTINGS),
)
