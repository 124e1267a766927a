"""What charts and report are about: one network on one data set, its trials, and the means of equal settings.

Accuracies of different networks or data sets are never put on one axis, so every chart is of one workload.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import pandas as pd

from wavesweep.analysis.columns import DATASET_IDENTITY, MODEL_IDENTITY, SETTINGS

# What is shown by the last part of its path, and what is not worth a word.
_PATHS, _SILENT = ("model.checkpoint", "dataset.path"), (None, "zoo", "{}")
_LONGEST_SLUG = 120
# Settings that are no part of what is averaged over seeds; `method` says which row of the methods an arm is.
_NOT_GROUPED = frozenset({"seed", "method.name", "compare"})
_MEASURES = (
    "validation_accuracy",
    "test_accuracy",
    "accuracy_drop",
    "stored_bytes",
    "dense_bytes",
    "compression_ratio",
    "coefficient_sparsity",
    "weight_sparsity",
    *(f"inference_{calls}_ms{end}" for calls in ("single", "batch") for end in ("", "_low", "_high")),
)
# Methods whose result depends on `wavelet` and `level`.
WAVELET_METHODS = ("wavelet", "shuffled")
_WITHOUT_TRANSFORM = ("magnitude", "random", "unit")
# Settings named in this order, and shortly, where a setting is described in words.
_DESCRIBED = ("threshold.scope", "threshold.allocation", "layout", "quantize.name", "quantize.bits", "codec.name")


@dataclass(frozen=True)
class Workload:
    """One network on one data set.

    Attributes:
        model: its name, with what else tells it from other workloads.
        dataset: likewise.
        rows: of the collected table: a row per trial and arm.
    """

    model: str
    dataset: str
    rows: pd.DataFrame

    @property
    def label(self) -> str:
        """As in titles."""
        return f"{self.model} on {self.dataset}"

    @property
    def slug(self) -> str:
        """As in file names, of which many systems allow 255 bytes."""
        name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.model} {self.dataset}").strip("-.").lower() or "workload"
        return name if len(name) <= _LONGEST_SLUG else f"{name[:_LONGEST_SLUG]}-{sha256(name.encode()).hexdigest()[:8]}"

    @cached_property
    def means(self) -> pd.DataFrame:
        """A row per setting and method: see `means_over_seeds`."""
        return means_over_seeds(self.rows)

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The settings that are not the same in all trials."""
        main = self.rows[self.rows["is_main"]]
        names = [column.name for column in SETTINGS if column.name not in _NOT_GROUPED]
        return tuple(name for name in names if main[name].nunique(dropna=False) > 1)

    @cached_property
    def singles(self) -> pd.DataFrame:
        """The rows that the means are made of, with `setting`, the index of theirs."""
        parts = self.means[["keys", "arm_keys"]].explode(["keys", "arm_keys"])
        parts = parts.reset_index(names="setting").rename(columns={"keys": "key", "arm_keys": "arm_key"})
        return parts.merge(self.rows.drop_duplicates(["key", "arm_key"]), on=["key", "arm_key"])

    @property
    def seeds(self) -> int:
        """Number of different seeds."""
        return int(self.rows["seed"].nunique())

    @property
    def trials(self) -> int:
        """Number of trials."""
        return int(self.rows["key"].nunique())

    @cached_property
    def baseline(self) -> dict[str, float]:
        """Of the networks before pruning: mean, lowest and highest accuracy per split, and their number."""
        found: dict[str, float] = {"networks": self.rows["baseline_key"].nunique()}
        for split in ("validation", "test"):
            values = networks_before(self.rows, f"baseline_{split}_accuracy")
            found |= {split: values.mean(), f"{split}_low": values.min(), f"{split}_high": values.max()}
        return {name: float(value) for name, value in found.items()}


def networks_before(rows: pd.DataFrame, column: str) -> "pd.Series[Any]":
    """A measure of each network before pruning. Those of several machines differ in last bits: their mean."""
    if column not in rows:
        return pd.Series(dtype=float)
    found = rows.drop_duplicates(["baseline_key", column]).astype({column: float})
    return found.groupby("baseline_key")[column].mean()


def workloads(trials: pd.DataFrame) -> list[Workload]:
    """The workloads of the collected table, the one of most trials first."""
    every = []
    for identity, rows in trials.groupby([*MODEL_IDENTITY, *DATASET_IDENTITY], dropna=False, sort=True):
        values = dict(
            zip(
                (*MODEL_IDENTITY, *DATASET_IDENTITY),
                (None if pd.isna(part) else part for part in identity),
                strict=True,
            )
        )
        every.append((values, rows))
    names = [_names(values, whole_paths=False) for values, _ in every]
    found = [
        # Files of one name in several folders are told by their whole paths.
        Workload(*(name if names.count(name) == 1 else _names(values, whole_paths=True)), rows)
        for name, (values, rows) in zip(names, every, strict=True)
    ]
    return sorted(found, key=lambda workload: (-workload.trials, workload.label))


def means_over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per setting and method, averaged over seeds.

    The same compared arm belongs to many trials (their settings differ in what does not matter to it); it
    is counted once.
    Columns: `method`, the settings, the measures as means, `validation_accuracy_low` and `_high` over seeds, `seeds`
    (their number), `is_main`, `keys` (of the trials, by seed) and `arm_keys`.
    """
    rows = rows.sort_values(["seed", "key", "arm"], kind="stable")
    names = [column.name for column in SETTINGS if column.name not in _NOT_GROUPED] + ["other_settings"]
    split_by = [name for name in names if rows[name].nunique(dropna=False) > 1]
    by = ["method", "is_main", *split_by]
    rows = rows.assign(group=rows.groupby(by, dropna=False, sort=False).ngroup())
    rows = rows.drop_duplicates(["group", "seed"])
    grouped = rows.groupby("group", sort=False)
    first = grouped.first() if rows.empty else rows.drop_duplicates("group").set_index("group")
    means = first[["method", "is_main", *names, "key", "requested", "effective_level"]].copy()
    means[list(_MEASURES)] = grouped[list(_MEASURES)].mean()
    means["validation_accuracy_low"] = grouped["validation_accuracy"].min()
    means["validation_accuracy_high"] = grouped["validation_accuracy"].max()
    means["seeds"] = grouped["seed"].nunique()
    means["keys"] = grouped["key"].agg(tuple)
    means["arm_keys"] = grouped["arm_key"].agg(tuple)
    means = means.sort_values(["is_main", "seeds", "key"], ascending=[False, False, True], kind="stable")
    return means[_is_new(means)].reset_index(drop=True)


def describe(row: "pd.Series[Any]", varying: Sequence[str]) -> str:
    """A setting in a few words: the method, what it is pruned to, and what differs among the trials."""
    parts = [str(row["method"])]
    if row["method"] in WAVELET_METHODS:
        parts[0] = f"{row['wavelet']} level {row['level']}"
        if row["method"] != "wavelet":
            parts[0] = f"{row['method']} {parts[0]}"
    rule = row["threshold.rule"]
    if rule == "percentile":
        parts.append(f"{row['threshold.percentile']:g} % pruned")
    else:
        number = {"energy": "threshold.energy", "absolute": "threshold.value"}.get(rule)
        parts.append(f"{rule} {row[number]:g}" if number else str(rule))
    if row["retrain.name"] != "none":
        parts.append(f"retrain {row['retrain.name']}")
    said = {"wavelet", "level", "threshold.rule", "threshold.percentile", "threshold.energy", "threshold.value"}
    said |= {"retrain.name", "compare_match"}
    telling = [name for name in (*_DESCRIBED, *varying) if name in varying and name not in said]
    parts += [
        f"{name.removesuffix('.name')} {value_text(row[name])}" for name in dict.fromkeys(telling) if matters(row, name)
    ]
    return ", ".join(parts[:8])


def matters(row: "pd.Series[Any]", name: str) -> bool:
    """Whether a setting has a say in this row: that of a retraining that is not done has none."""
    if pd.isna(row[name]):
        return False
    if name in ("layout", "compat") and row["method"] in _WITHOUT_TRANSFORM:
        return False
    if name.startswith("retrain.") and name != "retrain.name":
        return bool(row["retrain.name"] != "none")
    return not (name == "quantize.bits" and pd.notna(row["quantize.step"]))


def value_text(value: Any) -> str:
    """A setting's value as in a sentence."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_new(means: pd.DataFrame) -> list[bool]:
    """Whether a group is of the main method, or has an arm that no group before it has."""
    seen: set[str] = set()
    new = []
    for is_main, arms in zip(means["is_main"], means["arm_keys"], strict=True):
        new.append(bool(is_main) or not seen.issuperset(arms))
        seen.update(arms)
    return new


def _names(values: Mapping[str, Any], whole_paths: bool) -> tuple[str, str]:
    return _named(values, MODEL_IDENTITY, whole_paths), _named(values, DATASET_IDENTITY, whole_paths)


def _named(values: Mapping[str, Any], names: Sequence[str], whole_paths: bool) -> str:
    """The first of the names' values, and in parentheses what else tells it from others."""
    first, *others = names
    is_short = {name: name in _PATHS and values[name] and not whole_paths for name in others}
    details = [last_part(values[name]) if is_short[name] else values[name] for name in others]
    told = [str(detail) for detail in details if detail not in _SILENT]
    return f"{values[first]} ({', '.join(told)})" if told else str(values[first])


def last_part(path: str) -> str:
    """The last part of a path of any system; the whole of one that has none."""
    end = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return path if end in ("", ".", "..") else end
