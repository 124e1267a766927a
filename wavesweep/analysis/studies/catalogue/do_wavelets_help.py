"""Do wavelets help? Five methods at equal stored bytes, one shot and retrained."""

from collections.abc import Sequence

import pandas as pd

from wavesweep.analysis.charts.equal_bytes import accuracy_curves, difference_intervals
from wavesweep.analysis.statistics.equal_bytes import (
    REFERENCE,
    STAGES,
    differences_at_sizes,
    differences_over_sizes,
    reached,
    wavelets_as_methods,
)
from wavesweep.analysis.statistics.evidence import Evidence
from wavesweep.analysis.statistics.methods import in_order
from wavesweep.analysis.studies.page import table_text
from wavesweep.analysis.studies.study import Study


def _tables(found: Evidence) -> Sequence[str]:
    """What each method reaches at each size; differences averaged over sizes; differences at each size."""
    workload, label = found.workload, found.workload.label
    over, at = differences_over_sizes(workload), differences_at_sizes(workload)
    return [
        f"{label}, test accuracy in % at equal stored bytes, means ± one sample standard deviation over seeds:",
        _reached(reached(workload)),
        f"{label}, {REFERENCE} minus each control, averaged over these sizes seed by seed:",
        _differences(over, "sizes"),
        f"{label}, the same at each size:",
        _differences(at, "bytes"),
    ]


def _reached(table: pd.DataFrame) -> str:
    methods = in_order(table["method"])
    lines = []
    for (stage, size), part in table.groupby(["retraining", "stored_bytes"], sort=False):
        cells = part.set_index("method")
        texts = [_mean_text(cells.loc[name]) if name in cells.index else "" for name in methods]
        lines.append([STAGES[str(stage)], f"{size:,}", *texts])
    return table_text(["", "bytes", *methods], lines, words=1)


def _mean_text(row: "pd.Series[float]") -> str:
    if not row["seeds"]:
        return "-"
    return f"{100 * row['mean']:.2f}" + (f" ± {100 * row['std']:.2f}" if row["seeds"] > 1 else "")


def _differences(table: pd.DataFrame, sizes: str) -> str:
    lines = []
    for row in table.to_dict("records"):
        first = [STAGES[row["retraining"]], row["method"], f"{row['stored_bytes']:,}", f"{row['n']}"]
        if row["n"] < 2:
            lines.append([*first, *["-"] * 5])
            continue
        ends = f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}"
        tests = ["-" if pd.isna(row[name]) else f"{row[name]:.2g}" for name in ("t_test_p", "adjusted_p", "p")]
        lines.append([*first, f"{100 * row['mean']:+.2f}", ends, *tests])
    headings = ["", "against", sizes, "seeds", "points", "95 % interval", "p (t-test)", "p, Holm", "p (Wilcoxon)"]
    return table_text(headings, lines, words=2)


STUDY = Study(
    name="do_wavelets_help",
    question="Do wavelets help at equal stored bytes, against honest controls?",
    experiments=(
        "do_wavelets_help",
        "do_wavelets_help_gradual",
        "do_wavelets_help_rate",
        "do_wavelets_help_resnet20",
        "do_wavelets_help_resnet20_gradual",
        "do_wavelets_help_resnet20_rate",
    ),
    by=("retrain.name", "method"),
    measures=("test_accuracy", "validation_accuracy", "stored_bytes", "coefficient_sparsity"),
    charts=(accuracy_curves, difference_intervals),
    ours=lambda found: {},
    tables=_tables,
    compared=wavelets_as_methods,
)
