"""Accuracy against stored bytes, and differences at equal bytes with their intervals; a panel per retraining."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import FAINT, log_ticks, look, new_figure
from wavesweep.analysis.statistics.descriptions import readable_bytes
from wavesweep.analysis.statistics.equal_bytes import REFERENCE, STAGES, differences_at_sizes
from wavesweep.analysis.statistics.evidence import Evidence
from wavesweep.analysis.statistics.methods import in_order

# The least ratio of the ends of the axis of bytes.
_LEAST_SPAN = 1.1


def accuracy_curves(found: Evidence) -> Chart:
    """A line per method: means over seeds of test accuracy and of stored bytes, with bands of one deviation."""
    title, table = "Accuracy against stored bytes", found.table
    stages = [name for name in STAGES if (table["retrain.name"] == name).any()]
    if not stages:
        return left_out("accuracy_bytes", title, f"no trial has retrain={'|'.join(STAGES)}")
    shown = "points are means over seeds of a setting, bands one standard deviation; dashed: before pruning"
    figure = new_figure(title, caption(found.workload, "test split", shown, table["seeds"]), height=3.6)
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    for axes, stage in zip(panels, stages, strict=True):
        part = table[table["retrain.name"] == stage]
        for method in in_order(part["method"]):
            line = part[part["method"] == method].sort_values("stored_bytes_mean")
            style, size = look(method), line["stored_bytes_mean"]
            mean, deviation = 100 * line["test_accuracy_mean"], 100 * line["test_accuracy_std"].fillna(0.0)
            axes.plot(size, mean, color=style.color, marker=style.marker, linestyle=style.line, label=method)
            axes.fill_between(size, mean - deviation, mean + deviation, color=style.color, alpha=0.15, linewidth=0)
        axes.axhline(100 * found.before["test_accuracy_mean"], color=FAINT, linewidth=1, linestyle=(0, (4, 2)))
        _bytes_axis(axes, STAGES[stage])
    panels[0].set_ylabel("test accuracy (%)")
    _legend(figure, panels)
    return Chart("accuracy_bytes", title, figure, f"Test accuracy of {found.workload.label} against stored bytes.")


def difference_intervals(found: Evidence) -> Chart:
    """At each size the wavelet's accuracy minus that of each other method, with 95 % intervals."""
    title = "Wavelet minus other methods at equal stored bytes"
    table = differences_at_sizes(found.workload).dropna(subset=["low"])
    if table.empty:
        return left_out("differences", title, "there are fewer than two seeds in common")
    shown = (
        "means over seeds, paired, side by side at each size; bars are 95 % intervals (Student's t); "
        "above zero the wavelet is better"
    )
    figure = new_figure(title, caption(found.workload, "test split", shown, table["n"]), height=3.6)
    stages = list(dict.fromkeys(table["retraining"]))
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    for axes, stage in zip(panels, stages, strict=True):
        part = table[table["retraining"] == stage]
        methods = in_order(set(part["method"]) - {REFERENCE})
        # The sizes in their order, each with its intervals side by side, so that these do not hide each other.
        sizes = sorted(set(part["stored_bytes"]))
        for place, method in enumerate(methods):
            rows, style = part[part["method"] == method], look(method)
            at = rows["stored_bytes"].map(sizes.index) + (place - (len(methods) - 1) / 2) * 0.6 / len(methods)
            mean, low, high = (100 * rows[name].astype(float) for name in ("mean", "low", "high"))
            axes.errorbar(
                at, mean, yerr=[mean - low, high - mean], fmt=style.marker, color=style.color, elinewidth=1.2,
                capsize=2.5, label=method,
            )  # fmt: skip
        axes.axhline(0, color=FAINT, linewidth=1)
        axes.set_xticks(range(len(sizes)), [readable_bytes(size) for size in sizes])
        axes.set_xlim(-0.5, len(sizes) - 0.5)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("stored bytes")
        axes.set_title(STAGES[stage], loc="left", fontsize=8.5, color=FAINT)
    panels[0].set_ylabel("difference (points)")
    _legend(figure, panels)
    text = f"Test accuracy of {found.workload.label}: wavelet minus each other method at equal bytes, with intervals."
    return Chart("differences", title, figure, text)


def _bytes_axis(axes: Axes, title: str) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < _LEAST_SPAN * low:  # files of nearly one size: wide enough for round numbers
        axes.set_xlim(low / _LEAST_SPAN, high * _LEAST_SPAN)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: readable_bytes(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(log_ticks(*axes.get_xlim()))
    axes.set_xlabel("stored bytes (logarithmic)")
    axes.set_title(title, loc="left", fontsize=8.5, color=FAINT)


def _legend(figure: Any, panels: Any) -> None:
    handles = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=7, handlelength=2.8)
