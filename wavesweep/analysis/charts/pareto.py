"""Accuracy against what it costs: the fronts of every method, and the baseline."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from wavesweep.analysis.charts.chart import Chart, caption
from wavesweep.analysis.charts.style import FAINT, INK, log_ticks, look, new_figure
from wavesweep.analysis.statistics.descriptions import plural, readable_bytes
from wavesweep.analysis.statistics.methods import in_order
from wavesweep.analysis.statistics.pareto import ACCURACY, SPARSITY, STORED_BYTES, Objective, front
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.runtime.metrics import SHARE

# Beyond this many points a vector image would be slow to open, so the points (not the text) become pixels.
_RASTER_FROM = 1500


@dataclass(frozen=True)
class Curve:
    """One method: all its settings, and those on its front by rising cost."""

    method: str
    points: pd.DataFrame
    front: pd.DataFrame


def curves(means: pd.DataFrame, cost: Objective) -> list[Curve]:
    """What is drawn, a curve per method."""
    found = []
    for method in in_order(means["method"]):
        points = means[means["method"] == method]
        found.append(Curve(method, points, front(points, (cost, ACCURACY))))
    return found


def accuracy_against_bytes(workload: Workload) -> Chart:
    """Validation accuracy against the size of the file, on a logarithmic axis."""
    title = "Accuracy against stored bytes"
    figure, axes = _figure(workload, title)
    for curve in curves(workload.means, STORED_BYTES):
        _draw(axes, curve, curve.points["stored_bytes"], curve.front["stored_bytes"], "post")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: readable_bytes(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(log_ticks(*axes.get_xlim()))
    axes.tick_params(axis="x", which="minor", length=0)
    dense = workload.rows["dense_bytes"].iloc[0]
    axes.set_xlabel(f"stored bytes of the whole model (logarithmic; float32 weights take {readable_bytes(dense)})")
    _finish(axes, workload, STORED_BYTES)
    text = f"Fronts of {workload.label}: validation {workload.quality} against file size."
    return Chart("accuracy_bytes", title, figure, text)


def accuracy_against_sparsity(workload: Workload) -> Chart:
    """Validation accuracy against the share of coefficients that are zero, stretched towards 100 %."""
    title = "Accuracy against sparsity"
    figure, axes = _figure(workload, title)
    kept = 1 - workload.means["coefficient_sparsity"]
    floor = max(kept[kept > 0].min() if (kept > 0).any() else 1e-3, 1e-6)
    for curve in curves(workload.means, SPARSITY):
        x, front_x = ((1 - part["coefficient_sparsity"]).clip(lower=floor) for part in (curve.points, curve.front))
        _draw(axes, curve, x, front_x, "pre")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(high, 1.05), low)
    ticks = log_ticks(low, min(high, 1.05))
    axes.set_xticks(ticks, [f"{100 * (1 - tick):.6g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel("coefficients of the file that are zero (%), stretched towards 100")
    _finish(axes, workload, SPARSITY)
    return Chart(
        "accuracy_sparsity",
        title,
        figure,
        f"Fronts of {workload.label}: validation {workload.quality} against sparsity.",
    )


def _figure(workload: Workload, title: str) -> Any:
    many = int(workload.means["seeds"].max()) > 1
    shown = (
        f"{plural(len(workload.means), 'setting')} ("
        + ("points are means over seeds, bars their range" if many else "one point each")
        + "), lines are fronts"
    )
    if workload.means["retrain.name"].nunique() > 1:
        shown += "; a dark edge marks what was retrained"
    figure = new_figure(title, caption(workload, "validation split", shown, workload.means["seeds"]))
    return figure, figure.add_subplot()


def _draw(axes: Axes, curve: Curve, x: "pd.Series[float]", front_x: "pd.Series[float]", step: Any) -> None:
    style, on_front = look(curve.method), curve.front
    accuracy = 100 * curve.points["validation_accuracy"]
    axes.scatter(
        x, accuracy, s=14, marker=style.marker, color=style.color, alpha=0.4, linewidths=0,
        rasterized=len(x) > _RASTER_FROM, gid=f"points-{curve.method}",
    )  # fmt: skip
    retrained = curve.points["retrain.name"] != "none"
    if retrained.any() and not retrained.all():
        axes.scatter(
            x[retrained], accuracy[retrained], s=42, marker=style.marker, facecolors="none", edgecolors=INK,
            linewidths=0.9, zorder=4, rasterized=len(x) > _RASTER_FROM,
        )  # fmt: skip
    best = 100 * on_front["validation_accuracy"]
    ends = [best - 100 * on_front["validation_accuracy_low"], 100 * on_front["validation_accuracy_high"] - best]
    if (on_front["seeds"] > 1).any():
        axes.errorbar(
            front_x, best, yerr=np.clip(ends, 0, None), fmt="none", ecolor=style.color, elinewidth=0.9, capsize=1.5
        )
    axes.plot(
        front_x, best, color=style.color, linestyle=style.line, marker=style.marker, markersize=5.5,
        markeredgecolor="white", markeredgewidth=0.6, drawstyle=f"steps-{step}", label=curve.method,
    )  # fmt: skip


def _finish(axes: Axes, workload: Workload, by: Objective) -> None:
    baseline = workload.baseline
    axes.axhline(100 * baseline["validation"], color=INK, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    if baseline["validation_high"] > baseline["validation_low"]:
        axes.axhspan(100 * baseline["validation_low"], 100 * baseline["validation_high"], color=FAINT, alpha=0.15, lw=0)
    axes.margins(y=0.06)
    low, high = axes.get_ylim()
    high += 0.04 * (high - low)
    axes.set_ylim((max(low, 0), min(high, 104)) if workload.metric.unit == SHARE else (low, high))
    # Small files and sparse networks lose most, so that side has room beside the line.
    side = 0.005 if by == STORED_BYTES else 0.995
    axes.annotate(
        f"baseline {workload.shown(baseline['validation'])}",
        (side, 100 * baseline["validation_high"]), xycoords=("axes fraction", "data"), xytext=(0, 2),
        textcoords="offset points", ha="left" if side < 0.5 else "right", va="bottom", fontsize=8,
    )  # fmt: skip
    axes.set_ylabel(workload.axis("validation"))
    count = len(axes.get_legend_handles_labels()[1])
    axes.figure.legend(loc="outside lower center", ncols=min(count, 7), handlelength=2.6)
