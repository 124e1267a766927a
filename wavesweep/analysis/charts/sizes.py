"""Before against after: size, accuracy and time of the chosen settings beside the network before pruning."""

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import FAINT, INK, LOOKS, look, new_figure
from wavesweep.analysis.statistics.choices import Choice
from wavesweep.analysis.statistics.descriptions import describe, plural, readable_bytes
from wavesweep.analysis.statistics.seeds import networks_before
from wavesweep.analysis.statistics.workloads import Workload

_BEFORE = "#9A9A9A"


@dataclass(frozen=True)
class Bar:
    """One row of the chart; accuracies in fractions, NaN where not measured."""

    label: str
    size: float
    validation: float
    test: float
    color: str


def bars(workload: Workload, chosen: list[Choice]) -> list[Bar]:
    """The network before, as float32, under gzip and as int8, and then the chosen settings, once each."""

    def mean(name: str) -> float:
        return float(networks_before(workload.rows, f"baseline_{name}").mean())

    accuracy = mean("validation_accuracy"), mean("test_accuracy")
    of_int8 = mean("int8_validation_accuracy"), mean("int8_test_accuracy")
    before = [
        Bar("before: float32", workload.rows["dense_bytes"].iloc[0], *accuracy, _BEFORE),
        Bar("before: float32, gzip", mean("gzip_bytes"), *accuracy, _BEFORE),
        Bar("before: int8 weights", mean("int8_bytes"), *of_int8, _BEFORE),
    ]
    after = [
        Bar(
            _broken(f"after, {rules}:") + "\n" + _label(workload, row),
            row["stored_bytes"],
            row["validation_accuracy"],
            row["test_accuracy"],
            look(row["method"]).color,
        )
        for rules, row in distinct(chosen)
    ]
    return [bar for bar in before + after if np.isfinite(bar.size)]


def distinct(chosen: list[Choice]) -> list[tuple[str, "pd.Series[Any]"]]:
    """The chosen settings, one that was chosen twice once, with the rules that chose it."""
    found: dict[str, tuple[str, pd.Series]] = {}
    for choice in chosen:
        if choice.row is not None:
            key = str(choice.row["arm_keys"])
            rules = f"{found[key][0]}; {choice.label}" if key in found else choice.label
            found[key] = (rules, choice.row)
    return list(found.values())


def before_after(workload: Workload, chosen: list[Choice]) -> Chart:
    """Bars of size, and the accuracy on both splits beside them."""
    name, title = "before_after", "Before and after"
    rows = bars(workload, chosen)
    seeds = [row["seeds"] for _, row in distinct(chosen)]
    if not seeds:
        return left_out(name, title, "no setting was chosen")
    shown = "chosen on validation; test is reported beside it and chose nothing"
    figure = new_figure(
        title, caption(workload, "validation and test split", shown, seeds),
        height=_height([bar.label for bar in rows]),
    )  # fmt: skip
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.35, 1])
    places = range(len(rows))
    left.barh(places, [bar.size for bar in rows], color=[bar.color for bar in rows], height=0.62)
    dense = rows[0].size
    for place, bar in zip(places, rows, strict=True):
        ratio = "" if bar.size == dense else f"  {dense / bar.size:.1f}×"
        left.annotate(f"{readable_bytes(bar.size)}{ratio}", (bar.size, place), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    left.set_xlim(0, max(bar.size for bar in rows) * 1.22)
    left.xaxis.set_major_formatter(lambda value, _: readable_bytes(value) if value else "0")
    left.xaxis.set_major_locator(MaxNLocator(4))
    left.set_xlabel("size (× smaller than float32)")
    left.set_yticks(places, [bar.label for bar in rows], fontsize=7.5)
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.grid(axis="y", visible=False)
    right.plot([100 * bar.validation for bar in rows], places, "o", color=INK, label="validation")
    right.plot([100 * bar.test for bar in rows], places, "D", color=INK, markerfacecolor="none",
               markersize=8, label="test")  # fmt: skip
    right.axvline(100 * rows[0].validation, color=FAINT, linewidth=0.8, linestyle=(0, (4, 2)))
    right.margins(x=0.12)
    right.set_xlabel(workload.axis(""))
    figure.legend(loc="outside lower right", ncols=2)
    return Chart(name, title, figure, f"Sizes and accuracies of {workload.label} before and after compression.")


def inference_time(workload: Workload, chosen: list[Choice]) -> Chart:
    """Median time of a call with its quartiles, for single images and batches."""
    name, title = "inference_time", "Inference time"
    main = workload.rows[workload.rows["is_main"]]
    measured = distinct(chosen)
    if main["inference_single_ms"].isna().all() or not measured:
        return left_out(name, title, "no inference time was recorded")
    labels = ["before pruning"] + [_broken(f"{rules}:") + "\n" + _label(workload, row) for rules, row in measured]
    shown = "bars: median of a call, whiskers: quartiles; grey dots: medians of all trials"
    if not main["shrink"].any():
        shown += ". Zeros in a dense layer do not make it faster: differences are noise"
    seeds = [row["seeds"] for _, row in measured]
    figure = new_figure(title, caption(workload, "blank images, no split", shown, seeds),
                        height=_height(labels) + 0.3)  # fmt: skip
    panels = figure.subplots(1, 2, sharey=True)
    colors = [_BEFORE] + [look(row["method"]).color for _, row in measured]
    for axes, calls, what in zip(panels, ("single", "batch"), ("one image", "a batch of 64"), strict=True):
        fields = [f"inference_{calls}_ms{end}" for end in ("", "_low", "_high")]
        values = [[networks_before(main, f"baseline_{field}").median() for field in fields]]
        values += [[row[field] for field in fields] for _, row in measured]
        median, low, high = np.array(values, dtype=float).T
        spread = np.clip([median - low, high - median], 0, None)
        axes.barh(range(len(labels)), median, color=colors, height=0.6)
        axes.errorbar(median, range(len(labels)), xerr=spread, fmt="none", ecolor=INK, elinewidth=1.1, capsize=3)
        every = main[fields[0]].dropna()
        every = every.sample(min(len(every), 400), random_state=0)
        shift = np.linspace(-0.22, 0.22, len(every))
        axes.plot(every, len(labels) + shift, ".", color=LOOKS["random"].color, alpha=0.45, markersize=3)
        axes.set_title(what, loc="left")
        axes.set_xlabel("milliseconds")
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(labels) + 1), [*labels, f"all {plural(len(main), 'trial')}"], fontsize=7.5)
    panels[0].set_ylim(len(labels) + 0.5, -0.5)
    return Chart(name, title, figure, f"Inference times of {workload.label} with quartiles.")


def _label(workload: Workload, row: "pd.Series[Any]") -> str:
    return _broken(f"{describe(row, workload.varying)}, {plural(row['seeds'], 'seed')}")


def _height(labels: list[str]) -> float:
    """Of a panel with these labels at its bars, in inches."""
    lines = max(label.count("\n") + 1 for label in labels)
    return 0.9 + max(0.34, 0.1 + 0.135 * lines) * len(labels)


def _broken(text: str, width: int = 46) -> str:
    return "\n".join(textwrap.wrap(text, width))
