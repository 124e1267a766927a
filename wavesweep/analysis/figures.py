"""Draw the charts of all records: `python -m wavesweep.analysis.figures outputs/`."""

import sys
from pathlib import Path

from wavesweep.analysis.command import outputs_argument, run
from wavesweep.runtime.terminal import say


def main() -> None:
    """The command line."""
    parser = outputs_argument("figures", "Draw the charts of all records as SVG and PNG.")
    parser.add_argument(
        "--output", type=Path, help="the directory to write (default: analysis/figures/ among the records)"
    )
    arguments = parser.parse_args()
    from wavesweep.analysis.table.collect import collect_finished

    found = collect_finished(arguments.outputs)
    from wavesweep.analysis.charts.all import all_charts
    from wavesweep.analysis.charts.style import encoded
    from wavesweep.analysis.statistics.workloads import workloads
    from wavesweep.runtime.records import write_atomically

    directory = arguments.output or arguments.outputs / "analysis" / "figures"
    count = 0
    for drawn in all_charts(workloads(found.trials), arguments.outputs):
        if drawn.chart.figure is None:
            say(f"left out {drawn.file_name}: {drawn.chart.text}")
            continue
        for kind in ("svg", "png"):
            write_atomically(directory / f"{drawn.file_name}.{kind}", encoded(drawn.chart.figure, kind))
        count += 1
    say(f"{count} charts, as SVG and PNG: {directory}")


if __name__ == "__main__":
    sys.exit(run(main))
