"""By how much methods differ from one of them in the same trials: mean differences over seeds with their intervals."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.lines import Axis
from wavesweep.analysis.charts.style import INK, Look, new_figure
from wavesweep.analysis.statistics.evidence import Evidence
from wavesweep.analysis.statistics.pairs import Paired, paired


def paired_in_trials(rows: pd.DataFrame, reference: pd.DataFrame, x: str) -> dict[float, Paired]:
    """Points of test accuracy of `rows` less those of `reference` in the same trial, for each value of `x`.

    Trials of one seed start from the same network: where there are several, as of other quantisers, their mean counts.

    Args:
        rows: of one form, one or more for each value of `x` and seed.
        reference: one for each trial: an arm that several trials share is in all of them.
        x: a setting.
    """
    pairs = rows.merge(reference[["key", "test_accuracy"]], on="key", suffixes=("", "_other"))
    points = 100 * (pairs["test_accuracy"] - pairs["test_accuracy_other"])
    of_seeds = points.groupby([pairs[x], pairs["seed"]]).mean()
    return {float(value): paired(part.to_numpy()) for value, part in of_seeds.groupby(level=0)}


def paired_lines(
    found: Evidence,
    title: str,
    x: Axis,
    form: Callable[["pd.Series[Any]"], str],
    reference: str,
    rows: pd.DataFrame,
    looks: Mapping[Any, Look],
) -> Chart:
    """Lines of the mean difference from `reference` over `x`, with 95 % t-intervals over seeds.

    Args:
        found: the evidence.
        title: of the chart.
        x: the setting along the axis.
        form: what the line of a row is called.
        reference: the method that the others are compared with, each in its own trial.
        rows: those of `found.workload.singles` that are compared.
        looks: how each line is drawn.
    """
    name = f"difference_{x.column}".replace(".", "_")
    forms = rows.assign(form=rows.apply(form, axis=1))
    others = forms[forms["method"] != reference]
    if others.empty or rows["seed"].nunique() < 2:
        return left_out(name, title, "there are fewer than two seeds, or nothing to compare")
    shown = f"mean difference from {reference} with 95 % t-intervals over seeds"
    figure = new_figure(title, caption(found.workload, "test split", shown, [rows["seed"].nunique()]), height=3.4)
    axes = figure.subplots()
    axes.axhline(0, color=INK, linewidth=1)
    every, lines = found.workload.rows, list(others.groupby("form", sort=False))
    for number, (text, part) in enumerate(lines):
        differences = paired_in_trials(part, every[every["method"] == reference], x.column)
        means = [difference.mean for difference in differences.values()]
        halves = [
            0.0 if difference.high is None else difference.high - difference.mean for difference in differences.values()
        ]
        style = looks[text]
        # Side by side, so that intervals do not hide each other.
        places = [value + 0.5 * (number - (len(lines) - 1) / 2) for value in differences]
        axes.errorbar(places, means, halves, color=style.color, marker=style.marker, linestyle=style.line, capsize=3,
                      label=str(text))  # fmt: skip
    axes.set_xlabel(x.label)
    axes.set_ylabel(f"test accuracy less {reference} (points)")
    figure.legend(loc="outside lower center", ncols=4, handlelength=2.8)
    return Chart(name, title, figure, f"Difference in test accuracy of {found.workload.label} against {x.label}.")
