"""From one record to its rows of the table, checked: one row per arm, in the order of `columns.TRIALS`."""

import json
from typing import Any

from wavesweep.analysis.table.columns import (
    ARM,
    ARM_OF_TASK,
    BASELINE,
    BASELINE_OF_TASK,
    NEWEST_SCHEMA,
    ONNX,
    RECORD,
    SETTINGS,
    Column,
    UnfitError,
)
from wavesweep.runtime.metrics import PrimaryMetric, primary_of
from wavesweep.runtime.shapes import Anything, DamagedError, checked
from wavesweep.settings.schema import VOLATILE

_KEY = Column("key", "text", ("key",), needed=True)
_METHOD = Column("method", "text", ("method",), needed=True)
_ARM_KEY = Column("arm_key", "text", ("arm_key",), needed=True)
_SPLITS = ("validation", "test")
# Names of the known settings by the group that they are in; at the top also those of how a trial was run.
_LEAVES: dict[tuple[str, ...], set[str]] = {(): set(VOLATILE)}
for _column in SETTINGS:
    _LEAVES.setdefault(_column.path[:-1], set()).add(_column.path[-1])


def trial_rows(content: bytes, key: str, written_ns: int, exported: bytes | None = None) -> list[tuple[Any, ...]]:
    """The rows of a record.

    Args:
        content: of `result.json`.
        key: of the trial: the name of the record's directory.
        written_ns: when the record was written, in nanoseconds since 1970.
        exported: content of the record of its export, if it was exported; a damaged one leaves its columns empty.

    Raises:
        UnfitError: it is no record, or lacks what the table needs; the message says what.
    """
    record = parsed(content)
    version = RECORD[0].value(record, "")
    age = "" if version == NEWEST_SCHEMA else f" (a record of schema_version {version}; {NEWEST_SCHEMA} is current)"
    if version > NEWEST_SCHEMA:
        raise UnfitError(f"was written by a newer version of wavesweep{age}")
    try:
        return _rows(record, key, written_ns, exported)
    except UnfitError as error:
        raise UnfitError(f"{error}{age}") from None


def failure_row(reason: str, key: str, written_ns: int, settings: list[Any] | None) -> tuple[Any, ...]:
    """The row of a failed trial, in the order of `columns.FAILURES`."""
    return (key, reason, written_ns, *(settings or [None] * len(SETTINGS)))


def failure_reason(content: bytes) -> str:
    """Why the trial failed, from the content of `failure.json`.

    Raises:
        UnfitError: it does not say.
    """
    reason: str = Column("reason", "text", ("reason",), needed=True).value(parsed(content), "")
    return reason


def setting_values(settings: Any) -> list[Any]:
    """The values of all settings, in the order of `columns.SETTINGS`; a setting that is not there has its default.

    Raises:
        UnfitError: a setting is of another type.
    """
    return [column.value(settings, "settings.") for column in SETTINGS]


def parsed(content: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UnfitError: it is none.
    """
    try:
        return checked(content, Anything)
    except DamagedError as error:
        raise UnfitError(str(error)) from None


def _rows(record: dict[str, Any], key: str, written_ns: int, exported: bytes | None) -> list[tuple[Any, ...]]:
    for name, kind in (("settings", dict), ("baseline", dict), ("arms", list)):
        if not record.get(name) or not isinstance(record[name], kind):
            raise UnfitError(f"{name} is missing")
    own_key = _KEY.value(record, "")
    if own_key != key:
        raise UnfitError(f"its key is {own_key}, its directory another: a copy?")
    settings = setting_values(record["settings"])
    others = _other_settings(record["settings"])
    metric = _metric(record)
    of_baseline, of_arm = (BASELINE, ARM) if metric.is_accuracy else (BASELINE_OF_TASK, ARM_OF_TASK)
    baseline = [column.value(record["baseline"], "baseline.") for column in of_baseline]
    before = _primary(record["baseline"], metric, "baseline.")
    shared = [column.value(record, "") for column in RECORD]
    rows = []
    for number, arm in enumerate(record["arms"]):
        where = f"arms[{number}]."
        measures = [column.value(arm, where) for column in of_arm]
        after = _primary(arm, metric, where)
        pairs = zip(before, after, strict=True)
        drops = [metric.drop({metric.name: one}, {metric.name: other}) for one, other in pairs]
        head = (key, number, number == 0, _METHOD.value(arm, where), _ARM_KEY.value(arm, where))
        onnx = _onnx_values(exported if number == 0 else None)
        described = (metric.name, metric.unit, "higher" if metric.maximize else "lower")
        derived = (*drops, *described, *after, *before, _effective_level(arm))
        rows.append((*head, *settings, others, *measures, *derived, *onnx, *baseline, *shared, written_ns))
    return rows


def _metric(record: dict[str, Any]) -> PrimaryMetric:
    try:
        return primary_of(record)
    except KeyError as error:
        raise UnfitError(f"task.{error.args[0]} is missing") from None


def _primary(part: Any, metric: PrimaryMetric, where: str) -> list[float]:
    """The primary metric on both splits."""
    return [Column(metric.name, "number", (split, metric.name), needed=True).value(part, where) for split in _SPLITS]


def _onnx_values(exported: bytes | None) -> list[Any]:
    if exported is None:
        return [None] * len(ONNX)
    try:
        record = parsed(exported)
        return [column.value(record, "") for column in ONNX]
    except UnfitError:  # the trial's own record is whole
        return [None] * len(ONNX)


def _other_settings(settings: dict[str, Any]) -> str | None:
    """Settings that this version does not know, as JSON, so that trials which differ in them are not taken as equal."""
    found: dict[str, Any] = {}

    def visit(tree: dict[str, Any], group: tuple[str, ...]) -> None:
        for name in tree.keys() - _LEAVES.get(group, frozenset()):
            path, value = (*group, name), tree[name]
            if isinstance(value, dict):
                visit(value, path)
            else:
                found[".".join(path)] = value

    visit(settings, ())
    return json.dumps(found, sort_keys=True) if found else None


def _effective_level(arm: Any) -> str | None:
    """The levels that were done, as in `1-3`; None where the method has none."""
    try:
        levels = [int(level) for layer in arm["layers"] for level in layer.get("levels") or ()]
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    low, high = min(levels, default=None), max(levels, default=None)
    if low is None:
        return None
    return str(low) if low == high else f"{low}-{high}"
