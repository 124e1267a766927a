"""A measure along a setting, a line per series: means over seeds with their spread, and published figures as marks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import FAINT, INK, LOOKS, Look, look, new_figure
from wavesweep.analysis.statistics.descriptions import value_text
from wavesweep.analysis.statistics.evidence import MEASURES, Evidence
from wavesweep.analysis.statistics.methods import in_order


@dataclass(frozen=True)
class Mark:
    """A published figure: a value of the x axis for one series, and what it is, in a word or two."""

    x: float
    series: str
    text: str


@dataclass(frozen=True)
class Axis:
    """The setting along the x axis, and what it is called."""

    column: str
    label: str


def measure_lines(
    found: Evidence,
    title: str,
    x: Axis,
    series: str,
    *,
    measure: str = "test_accuracy",
    panel: str | None = None,
    dash: str | None = None,
    label: Callable[["pd.Series[Any]"], str] | None = None,
    marks: Sequence[Mark] = (),
) -> Chart:
    """Lines of `measure` over `x`.

    Args:
        found: the evidence.
        title: of the chart.
        x: the setting along the axis.
        series: the column whose values have a colour and a marker each.
        measure: a name of `MEASURES`; its mean is drawn, with a band of one standard deviation.
        panel: the column whose values have a panel each.
        dash: the column whose first value, in alphabetical order, has solid lines and whose others have dashed ones.
        label: from a row to its line's name in the legend; the value of `series` if None.
        marks: published figures, as vertical lines in the colour of their series.
    """
    table, kind, name = found.table, MEASURES[measure], f"{measure}_by_{x.column.rpartition('.')[2]}"
    if table.empty:
        return left_out(name, title, "there are no trials that it shows")
    split = f"{measure.partition('_')[0]} split"
    spread = "; bands are one standard deviation over seeds" if table["seeds"].max() > 1 else ""
    shown = f"means over seeds{spread}" if spread else "one network"
    published = "; vertical lines are published figures" if marks else ""
    figure = new_figure(title, caption(found.workload, split, shown + published, table["seeds"]), height=3.8)
    values = [None] if panel is None else list(dict.fromkeys(table[panel]))
    panels = figure.subplots(1, len(values), sharey=True, squeeze=False)[0]
    looks = looks_of(table[series])
    solid = None if dash is None else min(table[dash])  # of all panels, some of which may lack it
    for axes, value in zip(panels, values, strict=True):
        part = table if panel is None else table[table[panel] == value]
        _draw(axes, part, x.column, (series, dash, solid), measure, looks, label)
        before = kind.factor * found.before.get(f"{measure}_mean", float("nan"))
        if pd.notna(before):
            text = "before pruning" if axes is panels[0] else None
            axes.axhline(before, color=INK, linewidth=1, linestyle=(0, (4, 2)), zorder=1, label=text)
        for mark in marks:
            colour = looks[mark.series].color if mark.series in looks else FAINT
            axes.axvline(mark.x, color=colour, linewidth=1, linestyle=(0, (1, 1.5)))
            axes.annotate(
                f"{mark.series}: {mark.text}", (mark.x, 0.02), xycoords=("data", "axes fraction"), rotation=90,
                xytext=(-2, 0), textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=INK,
            )  # fmt: skip
        if panel is not None:
            axes.set_title(f"{panel.removesuffix('.name')} {value_text(value)}", loc="left", fontsize=8.5, color=FAINT)
        axes.set_xlabel(x.label)
    panels[0].set_ylabel(kind.heading.replace(" %", " (%)"))
    handles = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = 7 if sum(6 + len(name) for name in handles) < 100 else 4  # as many as the width of the page holds
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), columns),
                  handlelength=2.8)  # fmt: skip
    return Chart(name, title, figure, f"{kind.heading} of {found.workload.label} against {x.label}.")


def looks_of(values: "pd.Series[Any]") -> dict[Any, Look]:
    """A look for each value: a method has its own, other values take the free ones in turn."""
    distinct = list(dict.fromkeys(values))
    if all(value in LOOKS for value in distinct):
        return {name: look(name) for name in in_order(distinct)}
    free = [style for name, style in LOOKS.items() if name not in distinct] or list(LOOKS.values())
    others = {value: free[place % len(free)] for place, value in enumerate(v for v in distinct if v not in LOOKS)}
    return {value: others.get(value) or look(value) for value in distinct}


def _draw(
    axes: Axes,
    table: pd.DataFrame,
    x: str,
    distinguished_by: tuple[str, str | None, Any],
    measure: str,
    looks: dict[Any, Look],
    label: Callable[["pd.Series[Any]"], str] | None,
) -> None:
    series, dash, solid = distinguished_by
    factor = MEASURES[measure].factor
    # Other settings that differ, as in a sweep with further overrides, make lines of their own.
    others = [name for name in table.columns if not name.endswith(("_mean", "_std")) and name not in (x, "seeds")]
    for _, line in table.groupby(others, dropna=False, sort=False):
        line = line.sort_values(x, kind="stable")
        first = line.iloc[0]
        style = looks[first[series]]
        filled = dash is None or first[dash] == solid
        mean, deviation = factor * line[f"{measure}_mean"], factor * line[f"{measure}_std"].fillna(0.0)
        axes.plot(
            line[x], mean, color=style.color, marker=style.marker, linestyle=style.line if dash is None else
            "-" if filled else (0, (2, 1.5)), markerfacecolor=style.color if filled else "white",
            label=value_text(first[series]) if label is None else label(first),
        )  # fmt: skip
        axes.fill_between(line[x], mean - deviation, mean + deviation, color=style.color, alpha=0.2, linewidth=0)
