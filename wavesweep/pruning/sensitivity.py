"""The table of a sensitivity scan: what it holds, and what an allocation reads from it."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavesweep.errors import SettingsError
from wavesweep.pruning.allocation import Curve
from wavesweep.pruning.plan import TensorPlan
from wavesweep.settings.schema import Settings

_KEY = "threshold.sensitivity"
COLUMNS = (
    "model",
    "dataset",
    "seed",
    "method",
    "wavelet",
    "level",
    "layout",
    "tensor",
    "weights",
    "coefficients",
    "percentile",
    "kept",
    "accuracy",
    "accuracy_lost",
    "loss",
    "baseline_accuracy",
    "baseline_loss",
    "stored_bytes",
)
# Those that an allocation needs, so that a table can also be written by hand.
_NEEDED = ("model", "dataset", "tensor", "weights", "percentile", "accuracy_lost")
_AGAIN = "python -m wavesweep -m experiment=sensitivity with the same model and dataset makes one"


@dataclass(frozen=True)
class Table:
    """A table as read: the networks and data sets it is of, and per tensor its number of weights and its curve.

    `digest` is that of the file's content, which enters a trial's key in place of the path.
    """

    path: str
    digest: str
    workloads: frozenset[tuple[str, str]]
    weights: Mapping[str, int]
    curves: Mapping[str, Curve]


def table_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows of a scan as a CSV file."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def read_table(path: str) -> Table:
    """Read the table at `path`.

    Raises:
        SettingsError: it cannot be read, or is no table of a sensitivity scan.
    """
    try:
        content = Path(path).read_bytes()
        rows = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
        missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
        if missing:
            raise SettingsError(
                _KEY, path, f"must have the columns {', '.join(_NEEDED)}; lacks {', '.join(missing)}", _AGAIN
            )
        return _table(path, hashlib.sha256(content).hexdigest()[:16], list(rows))
    except OSError as error:
        raise SettingsError(_KEY, path, f"cannot be read ({error.strerror})", _AGAIN) from None
    except (UnicodeDecodeError, csv.Error):
        raise SettingsError(_KEY, path, "must be a CSV table", _AGAIN) from None


def curves_for(table: Table, plans: Sequence[TensorPlan]) -> tuple[Curve, ...]:
    """The curve of each plan's tensor; an empty one for a tensor with a percentile of its own.

    Raises:
        SettingsError: the table lacks a tensor, or has one of another size.
    """
    shared = [plan for plan in plans if plan.percentile is None]
    missing = [plan.name for plan in shared if plan.name not in table.curves]
    if missing:
        remedy = f"{_AGAIN}; or give them a percentile in layers.overrides"
        raise SettingsError(_KEY, table.path, f"must have rows for every tensor; lacks {', '.join(missing)}", remedy)
    for plan in shared:
        if table.weights[plan.name] != plan.weights:
            allowed = (
                f"must be of this network: its {plan.name} has {table.weights[plan.name]} weights, not {plan.weights}"
            )
            raise SettingsError(_KEY, table.path, allowed, _AGAIN)
    return tuple(() if plan.percentile is not None else table.curves[plan.name] for plan in plans)


def check_workload(table: Table, settings: Settings) -> None:
    """Refuse the table of another network or data set.

    Raises:
        SettingsError: the table is of another model or dataset than the settings.
    """
    wanted = (settings.model.name, settings.dataset.name)
    others = sorted(table.workloads - {wanted})
    if others:
        found = ", ".join(f"{model} on {dataset}" for model, dataset in others)
        raise SettingsError(_KEY, table.path, f"must be of {wanted[0]} on {wanted[1]}, is of {found}", _AGAIN)


def _table(path: str, digest: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    if not rows:
        raise SettingsError(_KEY, path, "must have rows, has none", _AGAIN)
    weights: dict[str, int] = {}
    points: dict[str, list[tuple[float, float]]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            name, percentile, lost = row["tensor"], float(row["percentile"]), float(row["accuracy_lost"])
            count = int(row["weights"])
        except (TypeError, ValueError):
            raise SettingsError(_KEY, path, f"must have numbers in line {line}", _AGAIN) from None
        if not (0 <= percentile <= 100 and -1 <= lost <= 1):
            allowed = f"must have percentiles from 0 to 100 and accuracy_lost from -1 to 1; see line {line}"
            raise SettingsError(_KEY, path, allowed, _AGAIN)
        if weights.setdefault(name, count) != count:
            raise SettingsError(_KEY, path, f"must give {name} one number of weights; see line {line}", _AGAIN)
        points.setdefault(name, []).append((percentile, lost))
    workloads = frozenset((row["model"], row["dataset"]) for row in rows)
    return Table(path, digest, workloads, weights, {name: tuple(sorted(found)) for name, found in points.items()})
