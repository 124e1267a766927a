"""What a chart is, and the line below its title that says what it shows."""

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure

from wavesweep.analysis.statistics.descriptions import plural
from wavesweep.analysis.statistics.workloads import Workload


@dataclass(frozen=True)
class Chart:
    """A chart, or the reason why there is none.

    Attributes:
        name: as in its file's name.
        title: of the chart.
        figure: None where there are no data for it.
        text: what it shows, for those who cannot see it; or, without a figure, why it was left out.
    """

    name: str
    title: str
    figure: Figure | None
    text: str


def left_out(name: str, title: str, reason: str) -> Chart:
    """A chart for which there are no data."""
    return Chart(name, title, None, reason)


def caption(workload: Workload, split: str, shown: str, seeds: Iterable[int]) -> str:
    """Which data and split, how many seeds each of the things shown has, and what is shown."""
    counts = {int(count) for count in seeds}
    low, high = min(counts), max(counts)
    count = plural(high, "seed") if low == high else f"{low} to {plural(high, 'seed')}"
    return f"{workload.label} · {split} · {count} · {shown}"
