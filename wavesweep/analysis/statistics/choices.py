"""The best settings under plain constraints, in words. Choices are made on the validation split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wavesweep.analysis.statistics.descriptions import describe, readable_bytes
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.measure.fronts import knee

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
    rule = f"smallest file that loses at most {POINTS_LOST:g} point", f"smallest, at most {POINTS_LOST:g} point lost"
    fitting = means[means["accuracy_drop"] <= POINTS_LOST + 1e-9]
    if fitting.empty:
        least = means.loc[means["accuracy_drop"].idxmin()]
        return Choice(
            *rule,
            None,
            f"None: no setting loses at most {POINTS_LOST:g} point of validation accuracy. The one that loses least, "
            f"{describe(least, workload.varying)}, loses {least['accuracy_drop']:.1f} points "
            f"at {readable_bytes(least['stored_bytes'])}.",
        )
    return _chosen(workload, rule, _first(fitting, ["stored_bytes", "accuracy_drop"], [True, True]))


def _most_accurate(workload: Workload, means: pd.DataFrame) -> Choice:
    rule = f"highest accuracy at {RATIO:g} times smaller or more", f"best at {RATIO:g}× or more"
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
    rule = "knee of the front of accuracy and bytes", "knee"
    return _chosen(workload, rule, means.iloc[knee(points, (True, False))])


def _first(rows: pd.DataFrame, by: Sequence[str], ascending: Sequence[bool]) -> "pd.Series[Any]":
    return rows.sort_values(list(by), ascending=list(ascending), kind="stable").iloc[0]


def _chosen(workload: Workload, rule: tuple[str, str], row: "pd.Series[Any]") -> Choice:
    drop = row["accuracy_drop"]
    cost = f"{'loses' if drop > 0 else 'gains'} {abs(drop):.1f} points of" if abs(drop) >= 0.05 else "loses no"
    seeds = f"mean of {row['seeds']} seeds" if row["seeds"] > 1 else f"one seed of {workload.seeds}"
    if workload.seeds == 1:
        seeds = "one seed"
    test = f"test {100 * row['test_accuracy']:.1f} %, {_signed_loss(row['test_accuracy_drop'])}"
    accuracy = f"{100 * row['validation_accuracy']:.1f} %{_interval(row, '')}; {test}{_interval(row, 'test_')}; {seeds}"
    compared = "" if row["is_main"] else " (as a compared arm)"
    setting = describe(row, workload.varying) + compared
    words = (
        f"{setting}: {readable_bytes(row['stored_bytes'])}, {row['compression_ratio']:.1f} times smaller; "
        f"{cost} validation accuracy ({accuracy})."
    )
    return Choice(*rule, row, words)


def _signed_loss(drop: float) -> str:
    return f"{abs(drop):.1f} points {'gained' if drop < 0 else 'lost'}"


def _interval(row: "pd.Series[Any]", prefix: str) -> str:
    """The 95 % interval of the points lost; of several seeds the mean of theirs, as each is of its own images."""
    low, high = row[f"{prefix}accuracy_drop_low"], row[f"{prefix}accuracy_drop_high"]
    if pd.isna(low) or pd.isna(high):
        return ""
    what = "95 % interval of the loss" if row["seeds"] == 1 else "95 % interval of the loss with one seed, on average,"
    return f", {what} {low:.1f} to {high:.1f}"
