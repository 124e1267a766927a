"""The plan that this project began with: wavelets, levels and thresholds, before and after iterative retraining."""

from typing import Any

import pandas as pd

from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.lines import Axis, measure_lines
from wavesweep.analysis.charts.pareto import accuracy_against_bytes
from wavesweep.analysis.statistics.evidence import Evidence
from wavesweep.analysis.statistics.methods import WAVELET_METHODS
from wavesweep.analysis.studies.study import Study

_PRUNED, _RETRAINED = "threshold.percentile", "retrain.name"
_WORDS = {"none": "before", "iterative": "after"}


def best_levels(table: pd.DataFrame) -> pd.DataFrame:
    """For each method, wavelet, share pruned and retraining the level that is best on the validation split."""
    wavelets = table["wavelet"].where(table["method"].isin(WAVELET_METHODS), "")
    groups = table.groupby([table["method"], wavelets, table[_PRUNED], table[_RETRAINED]], sort=False)
    chosen = table.loc[groups["validation_accuracy_mean"].idxmax()]
    return chosen.sort_values([_PRUNED, _RETRAINED, "method", "wavelet"], ascending=[True, False, False, True])


def _before_after(found: Evidence) -> Chart:
    def label(row: "pd.Series[Any]") -> str:
        return f"level {row['level']}, {_WORDS.get(row[_RETRAINED], row[_RETRAINED])}"

    wavelets = Evidence(
        found.workload, found.by, found.table[found.table["method"].isin(WAVELET_METHODS)], found.before
    )
    axis = Axis(_PRUNED, "coefficients pruned (%)")
    title = "Before and after iterative retraining"
    return measure_lines(wavelets, title, axis, "level", panel="wavelet", dash=_RETRAINED, label=label)


def _ours(found: Evidence) -> dict[str, str]:
    return {}


STUDY = Study(
    name="charter",
    question="What do wavelet, level and threshold cost, before and after iterative retraining?",
    experiments=("charter", "charter_resnet18"),
    by=("method", "wavelet", "level", _PRUNED, _RETRAINED),
    measures=(
        "test_accuracy",
        "stored_bytes",
        "coefficient_sparsity",
        "test_loss",
        "test_f1",
        "test_recall",
        "test_precision",
        "inference_single_ms",
    ),
    charts=(_before_after, lambda found: accuracy_against_bytes(found.workload)),
    ours=_ours,
    shown=best_levels,
)
