"""Learning curves of retraining."""

import textwrap
from pathlib import Path

import pandas as pd

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import FAINT, INK, look, new_figure
from wavesweep.analysis.statistics.descriptions import describe, plural
from wavesweep.analysis.statistics.methods import in_order
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.analysis.table import details

_NAME, _TITLE = "learning_curves", "Learning curves of retraining"
_SETTINGS = 3  # a panel each
_WIDTH = 110  # characters of all titles side by side


def retrained(workload: Workload) -> pd.DataFrame:
    """The main arms that were retrained, the best on validation first."""
    means = workload.means
    rows = means[means["is_main"] & (means["retrain.name"] != "none")]
    return rows.sort_values(["validation_accuracy", "stored_bytes"], ascending=[False, True], kind="stable")


def curves(workload: Workload, outputs: Path) -> Chart:
    """Validation accuracy and sparsity epoch by epoch, of the best retrained settings, a panel each."""
    rows = retrained(workload)
    if rows.empty:
        return left_out(_NAME, _TITLE, "no trial was retrained (retrain=none)")
    found = []
    for _, row in rows.iterrows():
        table = details.learning_curves(outputs, row["keys"], workload.metric)
        if not table.empty:
            found.append((row, table))
        if len(found) == _SETTINGS:
            break
    if not found:
        return left_out(_NAME, _TITLE, "the retrained trials have no learning_curves.csv")
    seeds = [table["key"].nunique() for _, table in found]
    of = f"the best {len(found)} of {len(rows)} retrained settings" if len(rows) > 1 else "the retrained setting"
    shown = f"{of}" + ("; thick lines are means over seeds, thin ones single seeds" if max(seeds) > 1 else "")
    titles = [_title(row, table, workload, len(found)) for row, table in found]
    lines = max(title.count("\n") + 1 for title in titles)
    figure = new_figure(_TITLE, caption(workload, "validation split", shown, seeds), height=3.7 + 0.13 * lines)
    panels = figure.subplots(2, len(found), sharex="col", sharey="row", height_ratios=[2, 1], squeeze=False)
    for column, (_, table) in enumerate(found):
        above, below = panels[:, column]
        for method in in_order(table["method"]):
            part, style = table[table["method"] == method], look(method)
            label = method if column == 0 else None
            for axes, measure in ((above, "validation_accuracy"), (below, "sparsity")):
                if part["key"].nunique() > 1:
                    for _, one in part.groupby("key"):
                        axes.plot(one["epoch"], 100 * one[measure], color=style.color, linewidth=0.6, alpha=0.6)
                mean = part.groupby("epoch")[measure].mean()
                axes.plot(
                    mean.index, 100 * mean, color=style.color, linestyle=style.line, marker=style.marker, markersize=3,
                    label=label if axes is above else None,
                )  # fmt: skip
        above.axhline(100 * workload.baseline["validation"], color=INK, linewidth=1, linestyle=(0, (4, 2)),
                      label="baseline" if column == 0 else None)  # fmt: skip
        above.set_title(titles[column], loc="left", fontsize=8, color=FAINT)
        below.set_xlabel("epoch of retraining")
        below.xaxis.get_major_locator().set_params(integer=True)
    panels[0, 0].set_ylabel(workload.axis("validation"))
    panels[1, 0].set_ylabel("sparsity (%)")
    figure.legend(loc="outside lower center", ncols=8)
    return Chart(_NAME, _TITLE, figure, f"Retraining of {workload.label}: {workload.quality} and sparsity per epoch.")


def _title(row: pd.Series, table: pd.DataFrame, workload: Workload, panels: int) -> str:
    """A panel's settings, in lines that are no wider than the panel, and how many seeds it shows."""
    words = textwrap.wrap(describe(row, workload.varying), _WIDTH // panels)
    return "\n".join([*words, plural(table["key"].nunique(), "seed")])
