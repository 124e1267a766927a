"""Draw the charts of all records: `python -m analysis.figures outputs/`."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wavesweep.analysis.command import WrongArgumentError, checked_outputs, outputs_argument, run

if TYPE_CHECKING:
    from wavesweep.analysis.charts.chart import Chart
    from wavesweep.analysis.collect import Collected
    from wavesweep.analysis.workloads import Workload


@dataclass(frozen=True)
class Drawn:
    """A chart, and the workload that it is of; None for a study of several."""

    workload: "Workload | None"
    chart: "Chart"


def charts_of(workload: "Workload", outputs: Path) -> "Iterator[Chart]":
    """All charts of one network on one data set; those without data say why."""
    from wavesweep.analysis.charts import heatmap, history, layers, pareto, sizes, training
    from wavesweep.analysis.choices import choices
    from wavesweep.analysis.style import styled

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


def all_charts(found: "list[Workload]", outputs: Path) -> Iterator[Drawn]:
    """The charts of all workloads, then those of the Optuna studies."""
    from wavesweep.analysis.charts import history
    from wavesweep.analysis.details import studies
    from wavesweep.analysis.style import styled

    for workload in found:
        for chart in charts_of(workload, outputs):
            yield Drawn(workload, chart)
    for name, table in studies(outputs).items():
        keys = set(table["key"].dropna())
        owners = [workload for workload in found if keys & set(workload.rows["key"])]
        owner = owners[0] if len(owners) == 1 else None
        with styled():
            yield Drawn(owner, history.of_study(name, table, owner))


def collected(outputs: Path) -> "Collected":
    """The table of all trials.

    Raises:
        WrongArgumentError: there is no directory, or no record in it.
    """
    from wavesweep.analysis.collect import collect

    found = collect(checked_outputs(outputs))
    if found.trials.empty:
        others = [f"{len(found.failures)} trials failed"] if len(found.failures) else []
        others += [f"{len(found.skipped)} records were skipped"] if found.skipped else []
        raise WrongArgumentError(
            f"{outputs} has no finished trial" + (f" ({', '.join(others)})" if others else "")
            + "; run one first: python -m wavesweep"
        )  # fmt: skip
    return found


def file_name(drawn: Drawn) -> str:
    """The name of a chart's file, without its ending."""
    return f"{drawn.workload.slug}_{drawn.chart.name}" if drawn.workload else drawn.chart.name


def main() -> None:
    """The command line."""
    arguments = outputs_argument("figures", "Draw the charts of all records as SVG and PNG.").parse_args()
    found = collected(arguments.outputs)
    from wavesweep.analysis.style import encoded
    from wavesweep.analysis.workloads import workloads
    from wavesweep.runtime.records import write_atomically

    directory = arguments.outputs / "analysis" / "figures"
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    for drawn in all_charts(workloads(found.trials), arguments.outputs):
        name = file_name(drawn)
        if drawn.chart.figure is None:
            print(f"left out {name}: {drawn.chart.text}")
            continue
        for kind in ("svg", "png"):
            write_atomically(directory / f"{name}.{kind}", encoded(drawn.chart.figure, kind))
        count += 1
    print(f"{count} charts, as SVG and PNG: {directory}")


if __name__ == "__main__":
    sys.exit(run(main))
