"""Write the report: `python -m wavesweep.analysis.report outputs/`. One HTML file that needs no network."""

import sys
from pathlib import Path

from wavesweep.analysis.command import outputs_argument, run
from wavesweep.runtime.terminal import say


def main() -> None:
    """The command line."""
    parser = outputs_argument("report", "Write one HTML file with a summary, an interactive plot and all charts.")
    parser.add_argument("--output", type=Path, help="the file to write (default: report.html among the records)")
    arguments = parser.parse_args()
    from wavesweep.analysis.table.collect import collect_finished

    found = collect_finished(arguments.outputs)
    from wavesweep.analysis.html_report.page import render
    from wavesweep.runtime.records import write_atomically

    path = arguments.output or arguments.outputs / "report.html"
    content = render(found, arguments.outputs).encode()
    write_atomically(path, content)
    say(f"{found.trials['key'].nunique()} trials, {len(content) / 1e6:.1f} MB: {path}")


if __name__ == "__main__":
    sys.exit(run(main))
