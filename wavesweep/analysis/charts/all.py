"""All charts of a table of trials, one network and data set after the other, then those of Optuna searches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wavesweep.analysis.charts import heatmap, history, layers, pareto, sizes, training
from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.style import styled
from wavesweep.analysis.statistics.choices import choices
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.analysis.table.details import search_histories


@dataclass(frozen=True)
class Drawn:
    """A chart and its workload; None for a search over several."""

    workload: Workload | None
    chart: Chart

    @property
    def file_name(self) -> str:
        """The name of the chart's file, without its ending."""
        return f"{self.workload.slug}_{self.chart.name}" if self.workload else self.chart.name


def charts_of(workload: Workload, outputs: Path) -> Iterator[Chart]:
    """All charts of one network on one data set; those without data say why."""
    chosen = choices(workload)
    first = next((choice for choice in chosen if choice.row is not None), chosen[0])
    makers: tuple[Callable[[], Chart], ...] = (
        lambda: pareto.accuracy_against_bytes(workload),
        lambda: pareto.accuracy_against_sparsity(workload),
        lambda: sizes.before_after(workload, chosen),
        lambda: heatmap.wavelet_level(workload),
        lambda: layers.per_layer(workload, first, outputs),
        lambda: training.curves(workload, outputs),
        lambda: history.over_trials(workload),
        lambda: sizes.inference_time(workload, chosen),
    )
    for make in makers:
        with styled():
            yield make()


def all_charts(found: Sequence[Workload], outputs: Path) -> Iterator[Drawn]:
    """The charts of all workloads, then those of the Optuna searches."""
    for workload in found:
        for chart in charts_of(workload, outputs):
            yield Drawn(workload, chart)
    for name, table in search_histories(outputs).items():
        keys = set(table["key"].dropna())
        owners = [workload for workload in found if keys & set(workload.rows["key"])]
        owner = owners[0] if len(owners) == 1 else None
        with styled():
            yield Drawn(owner, history.of_search(name, table, owner))
