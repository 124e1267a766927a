"""A drop of accuracy that is said to come from one weight in ten thousand: the same network, or another one?"""

import pandas as pd

from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.differences import differences, same_and_other
from wavesweep.analysis.statistics.evidence import Evidence
from wavesweep.analysis.studies.study import Study

_PRUNED = "threshold.percentile"
_PUBLISHED_PERCENTILE = 0.01
_LOSS = "points lost"


def compared(found: Evidence) -> pd.DataFrame:
    """The rows of the published share of weights, of the setting that has most seeds."""
    rows = found.workload.singles
    rows = rows[rows["is_main"] & (rows[_PRUNED] == _PUBLISHED_PERCENTILE)]
    if rows.empty:
        return rows
    return rows[rows["setting"] == rows["setting"].mode().iloc[0]]


def _published_loss() -> float:
    return float(STUDY.published[_LOSS])


def _ours(found: Evidence) -> dict[str, str]:
    rows = compared(found)
    if len(rows) < 2:
        return {}
    points, loss = differences(rows), _published_loss()
    as_bad = 100 * (points.other <= -loss).mean()
    return {
        "test accuracy before pruning, %": f"{points.before.mean():.2f} ± {points.before.std(ddof=1):.2f}",
        "test accuracy after pruning, %": f"{points.after.mean():.2f} ± {points.after.std(ddof=1):.2f}",
        _LOSS: f"{(points.before - points.after).mean():.4f}",
        "largest change of one network, points": f"{abs(points.same).max():.2f}",
        "networks before pruning: best less worst, points": f"{points.before.max() - points.before.min():.2f}",
        "two networks, one pruned: mean change in size, points": f"{abs(points.other).mean():.2f}",
        f"two networks, one pruned: share that lose {loss:g} points or more, %": f"{as_bad:.0f}",
    }


def _chart(found: Evidence) -> Chart:
    return same_and_other(found, compared(found), _published_loss())


STUDY = Study(
    name="fashion_tiny_prune",
    question="Can one weight in ten thousand cost 1.55 points of accuracy?",
    experiments=("fashion_tiny_prune",),
    by=("method", _PRUNED),
    measures=("test_accuracy", "test_accuracy_drop", "test_loss", "weight_sparsity"),
    charts=(_chart,),
    ours=_ours,
)
