"""The data of the page: each value once, by columns, with texts as numbers into a list."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from wavesweep.analysis.charts.style import LOOKS, look
from wavesweep.analysis.statistics.methods import WAVELET_METHODS
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.analysis.table.outputs import read_record
from wavesweep.analysis.table.rerun import UnknownSettingsError, command, differences

# Per-layer rows beyond this would make the page heavy; then those of compared arms are left out.
_LAYER_ROWS = 120_000
_TEXTS = ("method", "wavelet", "level", "threshold.rule", "threshold.scope", "layout", "retrain.name", "quantize.name")
_INTEGERS = ("seed", "setting", "stored_bytes", "quantize.bits")
# Digits after the point; more than a reader can use.
_NUMBERS = {
    "threshold.percentile": 4,
    "quantize.step": 6,
    "validation_accuracy": 5,
    "test_accuracy": 5,
    **{f"{split}accuracy_drop{end}": 3 for split in ("", "test_") for end in ("", "_low", "_high")},
    "compression_ratio": 3,
    "coefficient_sparsity": 6,
    "weight_sparsity": 6,
    "inference_single_ms": 4,
    "inference_batch_ms": 4,
}
_LAYER_COLUMNS = ("name", "shape", "levels", "coefficients", "kept", "nonzero", "zeros", "error")
# The markers of the charts, by Plotly's names.
_SYMBOLS = {"o": "circle", "s": "square", "X": "x", "^": "triangle-up", "D": "diamond", "v": "triangle-down",
            "P": "cross", "*": "star"}  # fmt: skip


@dataclass
class _Texts:
    """Different texts, each once."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


@dataclass
class _Layers:
    """The per-layer rows of arms, one after the other."""

    texts: _Texts
    start: list[int]
    columns: dict[str, list[Any]]

    def add(self, layers: Sequence[dict[str, Any]]) -> None:
        for layer in layers:
            weights = math.prod(layer["shape"])
            levels = "-" if layer.get("levels") is None else f"{layer['wavelet']} {' '.join(map(str, layer['levels']))}"
            values = (
                self.texts.number(str(layer["name"])),
                self.texts.number("×".join(map(str, layer["shape"]))),
                self.texts.number(levels),
                *(layer[name] for name in ("coefficients", "kept", "nonzero")),
                round(layer["zero_weights"] / weights, 4) if weights else None,
                _rounded(layer["error"], 4),
            )
            for name, value in zip(_LAYER_COLUMNS, values, strict=True):
                self.columns[name].append(value)
        self.start.append(len(self.columns["name"]))


def page_data(workloads: Iterable[Workload], outputs: Path) -> dict[str, Any]:
    """All that the page's script needs.

    `rows` are the arms; an arm that several trials share is there once. `trials` have their settings, their command,
    the numbers of their rows as `arms`, and accuracies and size of the network before pruning as `before`. `layers` are
    the layers of each row. `texts` are what the numbers in text columns stand for.
    """
    workloads = list(workloads)
    rows = pd.concat(
        [workload.singles.assign(workload=number) for number, workload in enumerate(workloads)], ignore_index=True
    )
    texts = _Texts()
    columns: dict[str, list[Any]] = {"workload": rows["workload"].tolist()}
    for name in _TEXTS:
        values = rows[name].astype("str")
        if name in ("wavelet", "level"):
            values = values.where(rows["method"].isin(WAVELET_METHODS), "")
        columns[name] = [texts.number(value) for value in values]
    for name in _INTEGERS:
        columns[name] = [int(value) for value in rows[name]]
    for name, digits in _NUMBERS.items():
        columns[name] = [_rounded(value, digits) for value in rows[name]]
    trials, layers, complete = _trials(workloads, rows, outputs, texts)
    columns["trial"] = _numbers_of(rows["key"], [trial["key"] for trial in trials])
    return {
        "workloads": [_workload(workload) for workload in workloads],
        "looks": {name: _look(name) for name in dict.fromkeys((*LOOKS, *rows["method"].astype(str)))},
        "texts": list(texts.numbers),
        "textColumns": list(_TEXTS),
        "rows": columns,
        "trials": trials,
        "layers": {"start": layers.start, **layers.columns},
        "layersComplete": complete,
    }


def as_json(data: dict[str, Any]) -> str:
    """Compact JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    # Within JSON these characters are only in strings, where the escape means the same.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode()


def _trials(
    workloads: Sequence[Workload], rows: pd.DataFrame, outputs: Path, texts: _Texts
) -> tuple[list[dict[str, Any]], _Layers, bool]:
    first_row = {arm: number for number, arm in reversed(list(enumerate(rows["arm_key"])))}
    own = {(key, arm): number for number, (key, arm) in enumerate(zip(rows["key"], rows["arm_key"], strict=True))}
    found: list[dict[str, Any]] = []
    layers_of: dict[int, Any] = {}
    for number, workload in enumerate(workloads):
        ordered = workload.rows.sort_values(["key", "arm"])
        first = ordered.drop_duplicates("key").set_index("key")
        for key, arm_keys in ordered.groupby("key", sort=True)["arm_key"].agg(list).items():
            # Equal settings and seed may have several keys, as after a checkpoint was overwritten; one has the rows.
            known = [own.get((key, arm), first_row.get(arm)) for arm in arm_keys]
            if known[0] is None:
                continue
            record = read_record(outputs, str(key)) or {}
            settings = record.get("settings") or {}
            trial = {"key": key, "workload": number, "arms": [row for row in known if row is not None]}
            before = first.loc[key]
            trial["before"] = [_rounded(before[f"baseline_{split}_accuracy"], 5) for split in ("validation", "test")]
            trial["before"].append(int(before["dense_bytes"]))
            trial["settings"] = {name: _setting(value) for name, value in differences(settings).items()}
            trial["notes"] = [str(note) for note in record.get("notes") or []]
            try:
                trial["command"] = command(settings) if settings else "the record can no longer be read"
            except UnknownSettingsError as error:
                trial["command"] = f"not known: {error}"
            for row, arm in zip(known, record.get("arms") or [], strict=False):
                if row is not None:
                    layers_of.setdefault(row, arm.get("layers") or [])
            found.append(trial)
    complete = sum(map(len, layers_of.values())) <= _LAYER_ROWS
    layers = _Layers(texts, [0], {name: [] for name in _LAYER_COLUMNS})
    for row, is_main in enumerate(rows["is_main"]):
        layers.add(layers_of.get(row, []) if complete or is_main else [])
    return found, layers, complete


def _workload(workload: Workload) -> dict[str, Any]:
    return {
        "model": workload.model,
        "dataset": workload.dataset,
        "seeds": workload.seeds,
        "baseline": _rounded(workload.baseline["validation"], 5),
        "axis": workload.axis("validation"),
        "unit": workload.metric.shown_unit,
    }


def _look(method: str) -> dict[str, str]:
    style = look(method)
    return {"color": style.color, "symbol": _SYMBOLS[style.marker]}


def _numbers_of(keys: Iterable[str], order: Sequence[str]) -> list[int]:
    number_of = {key: number for number, key in enumerate(order)}
    return [number_of[key] for key in keys]


def _setting(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else json.dumps(value)


def _rounded(value: Any, digits: int) -> float | None:
    number = float(value)
    return round(number, digits) if math.isfinite(number) else None
