"""Layer by layer: how sparse each became, how much of its energy was kept, and how much it matters."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import SEQUENTIAL, look, new_figure
from wavesweep.analysis.statistics.choices import Choice
from wavesweep.analysis.statistics.descriptions import describe, plural
from wavesweep.analysis.statistics.methods import in_order
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.analysis.table import details

_NAME, _TITLE = "layers", "Layers: sparsity, energy, sensitivity"
_SHORT = 28  # characters of a tensor's name


def layer_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Sparsity and energy per method and layer, averaged over trials, layers in the order of the network."""
    order = list(dict.fromkeys(rows["name"]))
    means = rows.groupby(["method", "name"], sort=False)[["sparsity", "energy"]].mean().reset_index()
    return means.sort_values("name", key=lambda names: names.map(order.index), kind="stable")


def per_layer(workload: Workload, choice: Choice, outputs: Path) -> Chart:
    """The layers of one chosen setting, and the sensitivity scan of the same network."""
    if choice.row is None:
        return left_out(_NAME, _TITLE, "no setting was chosen")
    keys = choice.row["keys"]
    rows = details.layers(outputs, keys)
    if rows.empty:
        return left_out(_NAME, _TITLE, "the chosen trials have no per-layer rows")
    means = layer_means(rows)
    scan = details.sensitivity(outputs, workload.rows["model.name"].iloc[0], workload.rows["dataset.name"].iloc[0])
    names = list(dict.fromkeys(means["name"]))
    scan = scan[scan["tensor"].isin(names)]
    shown = f"the setting chosen as {choice.rule}: {describe(choice.row, workload.varying)}, and the arms of its trials"
    if scan.empty:
        shown += "; no sensitivity scan was recorded (experiment=sensitivity makes one)"
    else:
        scanned = scan.iloc[0]
        same = ["method", "wavelet", "level"]  # of several scans the first, by its key
        scan = scan[(scan[same].astype(str) == scanned[same].astype(str)).all(axis=1)]
        shown += (
            f"; sensitivity: {scanned['method']} {scanned['wavelet']} level {scanned['level']}, each tensor pruned "
            f"alone, {plural(scan['seed'].nunique(), 'seed')}"
        )
    shown += ". Energy kept: 1 − e², e the relative L2 error of the weight; for an orthogonal basis the share of its "
    shown += "squared norm" + (", here with what retraining changed" if choice.row["retrain.name"] != "none" else "")
    figure = new_figure(_TITLE, caption(workload, "weights; sensitivity on the validation split", shown, [len(keys)]),
                        height=1.2 + 0.24 * max(len(names), 4))  # fmt: skip
    count = 2 if scan.empty else 3
    panels = figure.subplots(1, count, sharey=True, width_ratios=[1, 1, 1.5][:count])
    place = {name: number for number, name in enumerate(names)}
    methods = in_order(means["method"])
    for number, method in enumerate(methods):
        part, style = means[means["method"] == method], look(method)
        # Methods of one layer lie beside each other, so that equal values can be seen.
        shift = 0.16 * (number - (len(methods) - 1) / 2)
        for axes, measure in zip(panels, ("sparsity", "energy"), strict=False):
            axes.plot(
                100 * part[measure], part["name"].map(place) + shift, linestyle="none", marker=style.marker,
                color=style.color, label=method if measure == "sparsity" else None,
            )  # fmt: skip
    panels[0].set_title("coefficients that are zero", loc="left")
    panels[1].set_title("energy kept, 1 − e²", loc="left")
    for axes in panels[:2]:
        axes.set_xlabel("% of the layer")
        axes.set_ylim(len(names) - 0.5, -0.5)
        low, high = axes.dataLim.intervalx
        middle, half = (low + high) / 2, max((high - low) * 0.58, 2.0)  # equal shares get no axis of thousandths
        axes.set_xlim(middle - half, middle + half)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.get_major_formatter().set_useOffset(False)
    panels[0].set_yticks(range(len(names)), [_shortened(name) for name in names])
    if not scan.empty:
        _sensitivity(figure, panels[2], scan, names)
    figure.legend(loc="outside lower center", ncols=7)
    return Chart(_NAME, _TITLE, figure, f"Layers of {workload.label}: sparsity and energy kept, and sensitivity.")


def _sensitivity(figure, axes, scan: pd.DataFrame, names: list[str]) -> None:  # type: ignore[no-untyped-def]
    table = 100 * scan.pivot_table(index="tensor", columns="percentile", values="accuracy_lost").reindex(names)
    image = axes.imshow(
        np.clip(table.to_numpy(dtype=float), 0, None), cmap=SEQUENTIAL, aspect="auto", interpolation="nearest"
    )
    axes.grid(visible=False)
    axes.set_title("points of accuracy lost", loc="left")
    axes.set_xticks(range(table.shape[1]), [f"{value:g}" for value in table.columns], rotation=90, fontsize=7)
    axes.set_xlabel("this layer alone pruned (%)")
    axes.set_ylim(len(names) - 0.5, -0.5)
    figure.colorbar(image, ax=axes, pad=0.02)


def _shortened(name: str) -> str:
    return name if len(name) <= _SHORT else "…" + name[-_SHORT + 1 :]
