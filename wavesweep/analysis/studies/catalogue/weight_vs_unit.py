"""Weights against whole units: how much of either can be pruned in one shot before accuracy falls."""

from collections.abc import Sequence

import numpy as np

from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.lines import Axis, Mark, measure_lines
from wavesweep.analysis.statistics.evidence import Evidence
from wavesweep.analysis.studies.study import Study

# Points of accuracy by which a curve may lie below the network before pruning and still be flat.
FLAT_POINTS = 1.0
_LOST_POINTS = (1.0, 2.0, 5.0)
_NAMES = {"magnitude": "weights", "unit": "units"}
_PRUNED = "threshold.percentile"


def flat_to(pruned: Sequence[float], accuracies: Sequence[float], before: float) -> float:
    """The largest share pruned up to which no accuracy is more than `FLAT_POINTS` below `before`.

    Args:
        pruned: in %, rising.
        accuracies: in %, of each.
        before: accuracy before pruning, in %.
    """
    flat = 0.0
    for share, accuracy in zip(pruned, accuracies, strict=True):
        if accuracy < before - FLAT_POINTS:
            break
        flat = share
    return flat


def lost_at(pruned: Sequence[float], accuracies: Sequence[float], before: float, points: float) -> float | None:
    """The smallest share pruned, between those given by a straight line, at which accuracy is `points` below `before`.

    Args:
        pruned: in %, rising.
        accuracies: in %, of each.
        before: accuracy before pruning, in %.
        points: of accuracy.
    """
    lost = before - np.asarray(accuracies)
    below = np.flatnonzero(lost >= points)
    if not len(below):
        return None
    first = int(below[0])
    if first == 0:
        return pruned[0]
    return float(np.interp(points, lost[first - 1 : first + 1], pruned[first - 1 : first + 1]))


def knee_at(pruned: Sequence[float], accuracies: Sequence[float]) -> float:
    """The share pruned at the point farthest above the line between the curve's ends; the lowest of several."""
    rise = np.asarray(pruned) - pruned[0]
    line = accuracies[0] + (accuracies[-1] - accuracies[0]) * rise / max(float(rise[-1]), 1e-12)
    return float(pruned[int(np.argmax(np.round(np.asarray(accuracies) - line, 9)))])


def _ours(found: Evidence) -> dict[str, str]:
    before = found.before["test_accuracy_mean"]
    ours = {"test accuracy before pruning, %": f"{100 * before:.2f}"}
    for method, name in _NAMES.items():
        curve = found.table[found.table["method"] == method].sort_values(_PRUNED)
        if curve.empty or curve[_PRUNED].duplicated().any():
            continue  # several curves: sweeps with other overrides are among the records
        shares, accuracies = curve[_PRUNED].tolist(), (100 * curve["test_accuracy_mean"]).tolist()
        ours[f"{name}: flat to k, %"] = f"{flat_to(shares, accuracies, 100 * before):g}"
        ours[f"{name}: knee at k, %"] = f"{knee_at(shares, accuracies):g}"
        at = [lost_at(shares, accuracies, 100 * before, points) for points in _LOST_POINTS]
        words = ", ".join("-" if share is None else f"{share:.0f}" for share in at)
        ours[f"{name}: 1, 2 and 5 points lost at k, %"] = words
    return ours


def _curves(found: Evidence) -> Chart:
    published = STUDY.published
    marks = [
        Mark(float(at := published[f"{name}: knee at k, %"]), method, f"knee {at}") for method, name in _NAMES.items()
    ]
    axis = Axis(_PRUNED, "pruned in each layer but the last, k (%)")
    return measure_lines(found, "Pruning weights and pruning units", axis, "method", marks=marks)


STUDY = Study(
    name="weight_vs_unit",
    question="How much can be pruned in one shot, weight by weight and unit by unit?",
    experiments=("weight_vs_unit",),
    by=("method", _PRUNED),
    measures=("test_accuracy", "test_accuracy_drop", "weight_sparsity", "stored_bytes"),
    charts=(_curves,),
    ours=_ours,
)
