"""How the best result so far grew: over all trials in the order of their records, and over Optuna searches."""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import FAINT, LOOKS, new_figure
from wavesweep.analysis.statistics.descriptions import plural
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.measure.fronts import hypervolume, non_dominated

_TITLE = "Optimisation history"
_BLUE = LOOKS["wavelet"].color
_NOT_OBJECTIVES = ("number", "key", "state", "seconds", "cached", "reason", "params")
_LESS_IS_BETTER = re.compile(r"bytes|bits|loss|drop|_ms|macs|seconds|size|time|latency", re.IGNORECASE)


def hypervolume_so_far(
    points: NDArray[np.float64], maximize: tuple[bool, bool], reference: tuple[float, float]
) -> NDArray[np.float64]:
    """The hypervolume of the first 1, 2, ... n points."""
    front = np.empty((0, 2))
    found, value = np.zeros(len(points)), 0.0
    for number, point in enumerate(points):
        if not np.isnan(point).any():
            together = np.vstack([front, point])
            mask = non_dominated(together, maximize)
            if mask[-1]:
                front = np.unique(together[mask], axis=0)
                value = hypervolume(front, maximize, reference)
        found[number] = value
    return found


def best_so_far(values: NDArray[np.float64], maximize: bool) -> NDArray[np.float64]:
    """The best of the first 1, 2, ... n values; failed trials (NaN) change nothing."""
    return (np.fmax if maximize else np.fmin).accumulate(values)


def over_trials(workload: Workload) -> Chart:
    """Accuracy of every trial and the hypervolume so far, in the order in which trials were recorded."""
    name = "history"
    main = workload.rows[workload.rows["is_main"]].sort_values(["recorded_at", "key"], kind="stable")
    if len(main) < 2:
        return left_out(name, _TITLE, "there is only one trial")
    points = np.column_stack([main["validation_accuracy"], np.log10(main["compression_ratio"])]).astype(float)
    volume = hypervolume_so_far(points, (True, True), (0.0, 0.0))
    shown = (
        f"{plural(len(main), 'trial')} (main arms, single seeds) in the order in which they were recorded; "
        "hypervolume of accuracy (0 to 1) × log10 of the compression ratio, from 0 and 1×"
    )
    figure = new_figure(_TITLE, caption(workload, "validation split", shown, [workload.seeds]), height=3.7)
    above, below = figure.subplots(2, 1, sharex=True)
    number = np.arange(1, len(main) + 1)
    accuracy = 100 * points[:, 0]
    above.set_xlim(0.5, len(main) + 0.5)
    above.plot(number, accuracy, ".", color=FAINT, markersize=4, alpha=0.6, rasterized=len(main) > 1500, label="trial")
    above.step(number, best_so_far(accuracy, True), where="post", color=_BLUE, label="best so far")
    above.set_ylabel(workload.axis("validation"))
    below.step(number, volume, where="post", color=_BLUE)
    below.set_ylabel("hypervolume so far")
    below.set_xlabel("trial")
    below.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside lower center", ncols=2)
    return Chart(name, _TITLE, figure, f"Best {workload.quality} and hypervolume of {workload.label} over the trials.")


def of_search(name: str, table: pd.DataFrame, workload: Workload | None) -> Chart:
    """The history of an Optuna search: hypervolume of two objectives, or the best value of each."""
    slug = f"study_{re.sub(r'[^A-Za-z0-9.]+', '-', name)}"
    title = f"{_TITLE} of study {name}"
    objectives = [column for column in table.columns if column not in _NOT_OBJECTIVES]
    values = table[objectives].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    if not objectives or not np.isfinite(values).any():
        return left_out(slug, title, "no trial of the study is complete")
    maximize = [not _LESS_IS_BETTER.search(objective) for objective in objectives]
    failed = int((~np.isfinite(values)).any(axis=1).sum())
    shown = f"{plural(len(table), 'trial')} of the study, {failed} without a value; objectives: {', '.join(objectives)}"
    where = "several networks" if workload is None else workload.label
    has_volume = len(objectives) == 2
    figure = new_figure(title, f"{where} · validation split · {shown}",
                        height=1.0 + 1.2 * (len(objectives) + has_volume))  # fmt: skip
    panels = figure.subplots(len(objectives) + has_volume, 1, sharex=True, squeeze=False)[:, 0]
    number = table["number"].to_numpy()
    for axes, objective, column, better in zip(panels, objectives, values.T, maximize, strict=False):
        axes.plot(number, column, ".", color=FAINT, markersize=4, alpha=0.6)
        axes.step(number, best_so_far(column, better), where="post", color=_BLUE)
        axes.set_ylabel(objective.replace("_", " "), fontsize=8)
    if has_volume:
        worst = [np.nanmin(c) if m else np.nanmax(c) for c, m in zip(values.T, maximize, strict=True)]
        volume = hypervolume_so_far(values, (maximize[0], maximize[1]), (worst[0], worst[1]))
        panels[-1].step(number, volume / volume[-1] if volume[-1] else volume, where="post", color=_BLUE)
        panels[-1].set_ylabel("hypervolume,\nshare of the last", fontsize=8)
    panels[-1].set_xlabel("trial of the study (dots; lines: best so far)")
    return Chart(slug, title, figure, f"History of the study {name}.")
