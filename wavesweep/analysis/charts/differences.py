"""Before and after of the same networks, beside before and after of different ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wavesweep.analysis.charts.chart import Chart, caption, left_out
from wavesweep.analysis.charts.style import FAINT, INK, LOOKS, new_figure
from wavesweep.analysis.statistics.evidence import Evidence

_NAME, _TITLE = "differences", "The same network before and after, and two different ones"


@dataclass(frozen=True)
class Differences:
    """Points of test accuracy, after minus before pruning.

    Attributes:
        before: accuracy of each network before pruning, in %.
        after: accuracy of the same networks after pruning, in %.
        same: of each network with itself.
        other: of each pruned network with every other network before pruning.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    same: NDArray[np.float64]
    other: NDArray[np.float64]


def differences(rows: pd.DataFrame) -> Differences:
    """The differences in rows of one setting, one for each network."""
    before = 100 * rows["baseline_test_accuracy"].to_numpy(dtype=float)
    after = 100 * rows["test_accuracy"].to_numpy(dtype=float)
    every = after[:, None] - before[None, :]
    return Differences(before, after, np.diag(every), every[~np.eye(len(rows), dtype=bool)])


def same_and_other(found: Evidence, rows: pd.DataFrame, published_loss: float) -> Chart:
    """Accuracy of each network before and after; and the differences, of the same network and of two.

    Args:
        found: the evidence.
        rows: those that are compared, see `differences`.
        published_loss: points, drawn as a line.
    """
    if len(rows) < 2:
        return left_out(_NAME, _TITLE, "there are fewer than two networks of equal settings")
    points = differences(rows.sort_values("baseline_test_accuracy", kind="stable"))
    shown = f"{len(rows)} networks; {len(points.other)} pairs of two different ones"
    figure = new_figure(_TITLE, caption(found.workload, "test split", shown, [len(rows)]), height=3.4)
    left, right = figure.subplots(1, 2)
    before, after = LOOKS["magnitude"], LOOKS["wavelet"]
    places = np.arange(1, len(rows) + 1)
    left.plot(places, points.before, before.marker, color=before.color, markersize=9, markerfacecolor="none",
              label="before pruning")  # fmt: skip
    left.plot(places, points.after, after.marker, color=after.color, markersize=4, label="after pruning")
    left.set_xlabel("networks, one for each seed, in order of accuracy")
    left.set_ylabel("test accuracy (%)")
    left.xaxis.get_major_locator().set_params(integer=True)
    for place, (values, style) in enumerate([(points.same, after), (points.other, before)], start=1):
        spread = np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(1)
        right.plot(place + spread, np.sort(values), style.marker, color=style.color, markersize=4, alpha=0.7)
    right.axhline(0, color=FAINT, linewidth=1)
    right.axhline(-published_loss, color=INK, linewidth=1, linestyle=(0, (1, 1.5)))
    right.annotate(f"published: −{published_loss:g}", (0.5, -published_loss), xytext=(0, -3), ha="left", va="top",
                   textcoords="offset points", fontsize=8)  # fmt: skip
    right.set_xlim(0.45, 2.55)
    right.set_xticks([1, 2], ["the same network", "two networks"])
    right.set_ylabel("after minus before (points)")
    figure.legend(loc="outside lower center", ncols=2)
    return Chart(_NAME, _TITLE, figure, f"Test accuracy of {found.workload.label} before and after, and differences.")
