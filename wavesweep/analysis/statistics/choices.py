"""The best settings under plain constraints, in words. Choices are made on the validation split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wavesweep.analysis.statistics.descriptions import describe, readable_bytes
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.measure.fronts import knee
from wavesweep.runtime.metrics import SHARE

POINTS_LOST, RATIO = 1.0, 10.0


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen, or why there is none.

    Attributes:
        rule: the constraint, in words.
        label: the same, shortly.
        row: of `Workload.means`, or None.
        words: what it is and what it costs, or why nothing was chosen.
    """

    rule: str
    label: str
    row: "pd.Series[Any] | None"
    words: str


def choices(workload: Workload) -> list[Choice]:
    """The three of a workload, all methods competing, on means over seeds."""
    means = workload.means
    return [_smallest(workload, means), _most_accurate(workload, means), _knee(workload, means)]


def _smallest(workload: Workload, means: pd.DataFrame) -> Choice:
    most, limit = _most_lost(workload)
    rule = f"smallest file that loses at most {most}", f"smallest, at most {most} lost"
    fitting = means[means["accuracy_drop"] <= limit + 1e-9]
    if fitting.empty:
        least = means.loc[means["accuracy_drop"].idxmin()]
        return Choice(
            *rule,
            None,
            f"None: no setting loses at most {most} of validation {workload.quality}. The one that loses least, "
            f"{describe(least, workload.varying)}, loses {_lost(workload, least['accuracy_drop'])} "
            f"at {readable_bytes(least['stored_bytes'])}.",
        )
    return _chosen(workload, rule, _first(fitting, ["stored_bytes", "accuracy_drop"], [True, True]))


def _most_accurate(workload: Workload, means: pd.DataFrame) -> Choice:
    highest = "highest" if workload.metric.maximize else "best"
    rule = f"{highest} {workload.quality} at {RATIO:g} times smaller or more", f"best at {RATIO:g}× or more"
    fitting = means[means["compression_ratio"] >= RATIO]
    if fitting.empty:
        return Choice(
            *rule,
            None,
            f"None: no file is {RATIO:g} times smaller than the float32 weights; the smallest is "
            f"{means['compression_ratio'].max():.1f} times smaller. Prune more, or quantise to fewer bits.",
        )
    return _chosen(workload, rule, _first(fitting, ["validation_accuracy", "stored_bytes"], [False, True]))


def _knee(workload: Workload, means: pd.DataFrame) -> Choice:
    points = np.column_stack([means["validation_accuracy"], np.log(means["stored_bytes"].astype(float))])
    rule = f"knee of the front of {workload.quality} and bytes", "knee"
    return _chosen(workload, rule, means.iloc[knee(points, (True, False))])


def _first(rows: pd.DataFrame, by: Sequence[str], ascending: Sequence[bool]) -> "pd.Series[Any]":
    return rows.sort_values(list(by), ascending=list(ascending), kind="stable").iloc[0]


def _chosen(workload: Workload, rule: tuple[str, str], row: "pd.Series[Any]") -> Choice:
    drop = row["accuracy_drop"]
    is_some = abs(drop) >= (0.05 if workload.metric.unit == SHARE else 1e-4 * abs(_before(workload)))
    cost = f"{'loses' if drop > 0 else 'gains'} {_lost(workload, abs(drop))} of" if is_some else "loses no"
    seeds = f"mean of {row['seeds']} seeds" if row["seeds"] > 1 else f"one seed of {workload.seeds}"
    if workload.seeds == 1:
        seeds = "one seed"
    test = f"test {workload.shown(row['test_accuracy'])}, {_signed_loss(workload, row['test_accuracy_drop'])}"
    validation = workload.shown(row["validation_accuracy"])
    accuracy = f"{validation}{_interval(workload, row, '')}; {test}{_interval(workload, row, 'test_')}; {seeds}"
    compared = "" if row["is_main"] else " (as a compared arm)"
    setting = describe(row, workload.varying) + compared
    words = (
        f"{setting}: {readable_bytes(row['stored_bytes'])}, {row['compression_ratio']:.1f} times smaller; "
        f"{cost} validation {workload.quality} ({accuracy})."
    )
    return Choice(*rule, row, words)


def _most_lost(workload: Workload) -> tuple[str, float]:
    """What may be lost, in words and in the unit of losses: a point of a share, a percent of another metric."""
    if workload.metric.unit == SHARE:
        return f"{POINTS_LOST:g} point", POINTS_LOST
    return f"{POINTS_LOST:g} %", POINTS_LOST / 100 * abs(_before(workload))


def _before(workload: Workload) -> float:
    """The metric before pruning, in its shown unit."""
    return 100 * workload.baseline["validation"]


def _lost(workload: Workload, lost: float) -> str:
    return f"{lost:.1f} points" if workload.metric.unit == SHARE else f"{lost:.4g}{workload.lost_unit}"


def _signed_loss(workload: Workload, drop: float) -> str:
    return f"{_lost(workload, abs(drop))} {'gained' if drop < 0 else 'lost'}"


def _interval(workload: Workload, row: "pd.Series[Any]", prefix: str) -> str:
    """The 95 % interval of the points lost; of several seeds the mean of theirs, as each is of its own images."""
    low, high = row[f"{prefix}accuracy_drop_low"], row[f"{prefix}accuracy_drop_high"]
    if pd.isna(low) or pd.isna(high):
        return ""
    what = "95 % interval of the loss" if row["seeds"] == 1 else "95 % interval of the loss with one seed, on average,"
    return f", {what} {' to '.join(map(workload.metric.shown_end, (low, high)))}"
