"""What charts and report are about: one network on one data set, and its trials.

Accuracies of different networks or data sets are never put on one axis, so every chart is of one workload.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import pandas as pd

from wavesweep.analysis.statistics.seeds import NOT_GROUPED, means_over_seeds, networks_before
from wavesweep.analysis.table.columns import DATASET_IDENTITY, MODEL_IDENTITY, SETTINGS, TASK_IDENTITY
from wavesweep.runtime.metrics import ACCURACY, SHARE, PrimaryMetric

# Paths of which only the last part is shown, and values that are not mentioned.
_PATHS, _SILENT = ("model.checkpoint", "dataset.path"), (None, "zoo", "{}", "classification")
_OF_DATA = (*DATASET_IDENTITY, *TASK_IDENTITY)
_LONGEST_SLUG = 120


@dataclass(frozen=True)
class Workload:
    """One network on one data set, for one task.

    Attributes:
        model: its name, with what else distinguishes it from other workloads.
        dataset: likewise, with the task, unless that is classification.
        rows: of the collected table: a row per trial and arm.
    """

    model: str
    dataset: str
    rows: pd.DataFrame

    @cached_property
    def metric(self) -> PrimaryMetric:
        """The primary metric of the task."""
        row = self.rows.iloc[0]
        name = row.get("metric")
        if pd.isna(name) or name == ACCURACY.name:
            return ACCURACY
        return PrimaryMetric(row["metric"], row["metric_unit"], row["metric_direction"] == "higher", row["task.name"])

    def axis(self, split: str) -> str:
        """The label of an axis of `<split>_accuracy` in hundreds: accuracy, or the primary metric as `comparable`."""
        if self.metric.is_accuracy:
            return f"{split} accuracy (%)".strip()
        unit = f" ({self.metric.shown_unit})" if self.metric.shown_unit else ""
        return f"{split} {self._sign}{self.metric.name}{unit}".strip()

    @property
    def quality(self) -> str:
        """What the values are of, in a sentence."""
        return "accuracy" if self.metric.is_accuracy else self.metric.name

    @property
    def lost_unit(self) -> str:
        """The unit of losses, with a space before it: ` points` of accuracy."""
        return f" {self.metric.lost_unit}".rstrip()

    def shown(self, value: float, digits: int = 1) -> str:
        """A value of `<split>_accuracy` with its unit."""
        if self.metric.is_accuracy:
            return f"{100 * value:.{digits}f} %"
        return self.metric.with_unit(100 * value * self.metric.sign / self.metric.scale)

    @property
    def _sign(self) -> str:
        return "" if self.metric.maximize else "−"

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
        names = [column.name for column in SETTINGS if column.name not in NOT_GROUPED]
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


def workloads(trials: pd.DataFrame) -> list[Workload]:
    """The workloads of the collected table, the one of most trials first."""
    every = []
    for identity, rows in comparable(trials).groupby([*MODEL_IDENTITY, *_OF_DATA], dropna=False, sort=True):
        values = dict(
            zip(
                (*MODEL_IDENTITY, *_OF_DATA),
                (None if pd.isna(part) else part for part in identity),
                strict=True,
            )
        )
        every.append((values, rows))
    names = [_names(values, whole_paths=False) for values, _ in every]
    found = [
        # Files of one name in several folders are shown with their whole paths.
        Workload(*(name if names.count(name) == 1 else _names(values, whole_paths=True)), rows)
        for name, (values, rows) in zip(names, every, strict=True)
    ]
    return sorted(found, key=lambda workload: (-workload.trials, workload.label))


def comparable(trials: pd.DataFrame) -> pd.DataFrame:
    """The table with the primary metric of other tasks in the columns of accuracy, which statistics and charts read.

    It has the sign by which more is better, in hundredths of its shown unit: accuracy is a fraction shown in percent.
    """
    # Tables of studies from before there were tasks do not have it.
    metric = trials["metric"] if "metric" in trials else pd.Series(None, index=trials.index, dtype="object")
    other = metric.notna() & (metric != ACCURACY.name)
    if not other.any():
        return trials
    found = trials.copy()
    sign = trials["metric_direction"].eq("higher").astype(float) * 2 - 1
    factor = sign.where(trials["metric_unit"].eq(SHARE), sign / 100)
    for place in ("", "baseline_"):
        for split in ("validation", "test"):
            column = f"{place}{split}_accuracy"
            found[column] = found[column].where(~other, trials[f"{place}{split}_metric"] * factor)
    return found


def last_part(path: str) -> str:
    """The last part of a path of any system; the whole of one that has none."""
    end = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return path if end in ("", ".", "..") else end


def _names(values: Mapping[str, Any], whole_paths: bool) -> tuple[str, str]:
    return _named(values, MODEL_IDENTITY, whole_paths), _named(values, _OF_DATA, whole_paths)


def _named(values: Mapping[str, Any], names: Sequence[str], whole_paths: bool) -> str:
    """The value of the first name, and in parentheses what else distinguishes it from others."""
    first, *others = names
    is_short = {name: name in _PATHS and values[name] and not whole_paths for name in others}
    details = [last_part(values[name]) if is_short[name] else values[name] for name in others]
    mentioned = [str(detail) for detail in details if detail not in _SILENT]
    return f"{values[first]} ({', '.join(mentioned)})" if mentioned else str(values[first])
