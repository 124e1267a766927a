"""What single trials and searches recorded beyond the table: layers, learning curves, sensitivity, histories.

A file that lacks a column that is used, or has another type in one, counts as absent.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wavesweep.analysis.table.outputs import read_record
from wavesweep.runtime.metrics import ACCURACY, PrimaryMetric

# The columns that are used, and their types: text or number.
_LAYERS = {"method": str, "name": str, "coefficients": float, "nonzero": float, "error": float}
_CURVES = {"method": str, "epoch": float, "sparsity": float}
_SENSITIVITY = {
    **dict.fromkeys(("model", "dataset", "method", "wavelet", "level", "tensor"), str),
    **dict.fromkeys(("seed", "percentile", "accuracy_lost"), float),
}
_HISTORY = {"number": float, "key": str, "state": str}


def layers(outputs: Path, keys: Iterable[str]) -> pd.DataFrame:
    """The per-layer rows of trials: `key`, `method`, `name`, `weights`, `sparsity`, `energy` and all of `layers.csv`.

    `energy` is the share of the squared norm of a weight that is kept, 1 - e^2 with e its relative L2 error.
    """
    found = []
    for key in keys:
        table = _table(outputs / "runs" / key / "layers.csv", _LAYERS)
        if table is None:
            table = _layers_of(read_record(outputs, key))
        found.append(table.assign(key=key))
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    if rows.empty:
        return pd.DataFrame(columns=["key", "method", "name", "sparsity", "energy"])
    rows["sparsity"] = 1 - rows["nonzero"] / rows["coefficients"]
    rows["energy"] = (1 - rows["error"] ** 2).clip(lower=0)
    return rows


def learning_curves(outputs: Path, keys: Iterable[str], metric: PrimaryMetric = ACCURACY) -> pd.DataFrame:
    """The rows of `learning_curves.csv` of trials, with their `key`.

    `validation_accuracy` is of other tasks the primary metric, as `workloads.comparable` has it.
    """
    column, factor = f"validation_{metric.name}", metric.sign * metric.scale / 100
    found = [
        table.assign(key=key, validation_accuracy=factor * table[column])
        for key in keys
        if (table := _table(outputs / "runs" / key / "learning_curves.csv", {**_CURVES, column: float})) is not None
    ]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["key", "method", "epoch"])


def sensitivity(outputs: Path, model: str, dataset: str) -> pd.DataFrame:
    """All rows of the sensitivity scans of a network and a data set."""
    paths = sorted(outputs.glob("sensitivity/*/table.csv"))
    found = [table for path in paths if (table := _table(path, _SENSITIVITY)) is not None]
    if not found:
        return pd.DataFrame(columns=["tensor", "percentile", "accuracy_lost"])
    rows = pd.concat(found, ignore_index=True)
    return rows[(rows["model"] == model) & (rows["dataset"] == dataset)]


def search_histories(outputs: Path) -> dict[str, pd.DataFrame]:
    """The `history.csv` of every Optuna search, by the name of its study."""
    found = {}
    for path in sorted(outputs.glob("studies/*/history.csv")):
        table = _table(path, _HISTORY)
        if table is not None:
            found[path.parent.name] = table.sort_values("number")
    return found


def _table(path: Path, types: Mapping[str, type]) -> pd.DataFrame | None:
    try:
        table = pd.read_csv(path)
        for name, kind in types.items():
            table[name] = table[name].astype(kind)
    except (OSError, ValueError, KeyError):
        return None
    return None if table.empty else table


def _layers_of(record: dict[str, Any] | None) -> pd.DataFrame:
    arms = record["arms"] if record else []
    return pd.DataFrame([{"method": arm["method"], **layer} for arm in arms for layer in arm.get("layers", [])])
