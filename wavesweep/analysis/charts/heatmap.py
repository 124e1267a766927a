"""Which wavelet at which level: a heat map of one slice of the settings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import SEQUENTIAL, new_figure
from wavesweep.analysis.statistics.descriptions import matters, value_text
from wavesweep.analysis.statistics.workloads import Workload

_NAME, _TITLE = "wavelet_level", "Wavelet and level"


@dataclass(frozen=True)
class Slice:
    """Wavelets against levels with all other settings fixed.

    Attributes:
        accuracy: mean validation accuracy, a row per wavelet and a column per level asked for; NaN where not tried.
        effective: the levels that were done.
        fixed: the other settings, of those that vary in the workload's trials.
        example: the row of `Workload.means` of one cell.
        seeds: the lowest and the highest number of seeds of a cell.
    """

    accuracy: pd.DataFrame
    effective: pd.DataFrame
    fixed: dict[str, Any]
    example: int
    seeds: tuple[int, int]


def best_slice(workload: Workload) -> Slice | None:
    """The slice with the most cells; of equal ones the one in which accuracy differs most."""
    means = workload.means
    rows = means[means["is_main"] & (means["method"] == "wavelet")]
    if rows.empty:
        return None
    others = [name for name in workload.varying if name not in ("wavelet", "level", "compare_match")]
    groups = [((), rows)] if not others else list(rows.groupby(others, dropna=False, sort=True))
    _, chosen = max(groups, key=lambda group: (group[1].groupby(["wavelet", "level"]).ngroups, _spread(group[1])))
    chosen = chosen.drop_duplicates(["wavelet", "level"])
    if len(chosen) < 2:
        return None
    table = chosen.pivot(index="wavelet", columns="level", values="validation_accuracy")
    # The level max comes last.
    levels = sorted(table.columns, key=lambda level: int(level) if str(level).isdigit() else 1000)
    effective = chosen.pivot(index="wavelet", columns="level", values="effective_level")
    order = table.mean(axis=1).sort_values(ascending=False, kind="stable").index
    return Slice(
        table.loc[order, levels],
        effective.loc[order, levels],
        {name: chosen[name].iloc[0] for name in others},
        chosen.index[0],
        (int(chosen["seeds"].min()), int(chosen["seeds"].max())),
    )


def wavelet_level(workload: Workload) -> Chart:
    """Mean validation accuracy per wavelet and level."""
    found = best_slice(workload)
    if found is None:
        return left_out(_NAME, _TITLE, "no two trials of the wavelet method differ in wavelet or level alone")
    row = workload.means.loc[found.example]
    fixed = ", ".join(f"{name}={value_text(value)}" for name, value in found.fixed.items() if matters(row, name))
    shown = f"mean {workload.axis('validation')}" + (f"; the other settings are the same: {fixed}" if fixed else "")
    rows, columns = found.accuracy.shape
    figure = new_figure(
        _TITLE, caption(workload, "validation split", shown, found.seeds), height=0.8 + 0.34 * max(rows, 4)
    )
    axes = figure.add_subplot()
    values = 100 * found.accuracy.to_numpy(dtype=float)
    image = axes.imshow(values, cmap=SEQUENTIAL, aspect="auto")
    middle = np.nanmin(values) + 0.55 * (np.nanmax(values) - np.nanmin(values))
    for row in range(rows):
        for column in range(columns):
            if np.isfinite(values[row, column]):
                text = f"{values[row, column]:.1f}{_done(found, row, column)}"
                ink = "white" if values[row, column] > middle and np.ptp(values[np.isfinite(values)]) > 0 else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(columns), [str(level) for level in found.accuracy.columns])
    axes.set_yticks(range(rows), list(found.accuracy.index))
    axes.grid(visible=False)
    axes.set_xlabel(
        "level asked for"
        + (
            " (in brackets the levels done, where short axes allow fewer)"
            if any(_done(found, row, column) for row in range(rows) for column in range(columns))
            else ""
        )
    )
    axes.set_ylabel("wavelet, best mean first")
    figure.colorbar(image, ax=axes, label=workload.axis("validation"), pad=0.02)
    return Chart(_NAME, _TITLE, figure, f"Heat map of {workload.label}: validation accuracy per wavelet and level.")


def _done(found: Slice, row: int, column: int) -> str:
    done, asked = found.effective.iat[row, column], str(found.effective.columns[column])
    return "" if pd.isna(done) or str(done) == asked else f" ({done})"


def _spread(rows: pd.DataFrame) -> float:
    return float(rows["validation_accuracy"].max() - rows["validation_accuracy"].min())
