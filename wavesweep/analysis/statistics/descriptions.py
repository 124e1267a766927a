"""Settings in words, for charts and the report."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from wavesweep.analysis.statistics.methods import WAVELET_METHODS, WITHOUT_TRANSFORM
from wavesweep.settings.effective import needs
from wavesweep.settings.registry import Threshold, rows
from wavesweep.settings.schema import LayerOverride

# Of the settings that vary, those that are named first, in this order.
_DESCRIBED = ("threshold.scope", "threshold.allocation", "layout", "quantize.name", "quantize.bits", "codec.name")


def describe(row: "pd.Series[Any]", varying: Sequence[str]) -> str:
    """A setting in a few words: the method, what it is pruned to, and what differs among the trials."""
    parts = [str(row["method"])]
    if row["method"] in WAVELET_METHODS:
        parts[0] = f"{row['wavelet']} level {row['level']}"
        if row["method"] != "wavelet":
            parts[0] = f"{row['method']} {parts[0]}"
    rule, numbers = row["threshold.rule"], {one.name: one.number for one in rows(Threshold).values()}
    if rule == "percentile":
        parts.append(f"{row['threshold.percentile']:g} % pruned")
    else:
        number = numbers.get(rule)
        parts.append(f"{rule} {row[f'threshold.{number}']:g}" if number else str(rule))
    if row["retrain.name"] != "none":
        parts.append(f"retrain {row['retrain.name']}")
    mentioned = {"wavelet", "level", "threshold.rule", "retrain.name", "compare_match"}
    mentioned |= {f"threshold.{number}" for number in numbers.values()}
    others = [name for name in (*_DESCRIBED, *varying) if name in varying and name not in mentioned]
    parts += [
        f"{name.removesuffix('.name')} {value_text(row[name])}" for name in dict.fromkeys(others) if matters(row, name)
    ]
    return ", ".join(parts[:8])


def matters(row: "pd.Series[Any]", name: str) -> bool:
    """Whether a setting is known and has an effect in a row: that of a retraining that is not done has none.

    Args:
        row: of the table of trials, or of means over seeds.
        name: of the setting, dotted.
    """

    def get(key: str) -> Any:
        # Of a compared arm the settings are those of its trial, but its method is its own.
        if key == "compare":
            return []
        value = row["method"] if key == "method.name" else row.get(key)
        if key == "layers.overrides":
            return [LayerOverride(**one) for one in json.loads(value or "[]")]
        return None if pd.isna(value) else value

    if name == "layout" and row["method"] in WITHOUT_TRANSFORM:
        return False  # nothing is transformed along it; it orders what the coder reads
    return get(name) is not None and needs(get, name) is None


def value_text(value: Any) -> str:
    """A setting's value as in a sentence."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def plural(count: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def readable_bytes(count: float) -> str:
    """Bytes in powers of a thousand, three digits."""
    for unit in ("bytes", "kB"):
        if count < 1000:
            return _with_unit(count, unit)
        count /= 1000
    return _with_unit(count, "MB")


def _with_unit(count: float, unit: str) -> str:
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.3g} {unit}"
