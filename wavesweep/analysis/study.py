"""The tables and charts of a study, from its records: `python -m wavesweep.analysis.study NAME outputs/`."""

import argparse
import sys
from pathlib import Path

from wavesweep.analysis.command import program, run
from wavesweep.analysis.table.outputs import WrongArgumentError, checked_outputs, damaged_sweeps, keys_of
from wavesweep.runtime.terminal import say, say_aside


def main() -> None:
    """The command line."""
    arguments = _arguments()
    from wavesweep.analysis.statistics.evidence import evidence
    from wavesweep.analysis.studies.catalogue.all import STUDIES, study_named
    from wavesweep.analysis.studies.files import charts_of, write_study
    from wavesweep.analysis.studies.page import BEGIN, END
    from wavesweep.analysis.studies.records import rows_of

    if arguments.list:
        for study in STUDIES.values():
            say(f"{study.name}: {study.question}")
        return
    study = study_named(arguments.name)
    outputs = Path("outputs") if arguments.outputs is None else arguments.outputs
    if arguments.outputs is not None or not arguments.records:
        checked_outputs(outputs)
    page = None if arguments.docs is None else arguments.docs / f"{study.name}.md"
    if page is not None and not page.is_file():
        raise WrongArgumentError(f"{page} does not exist; write it, with the lines {BEGIN} and {END}")
    rows = rows_of(study, outputs, arguments.records)
    asked = keys_of(outputs, study.experiments)
    for line in damaged_sweeps(outputs):
        say_aside(f"note: {line}")
    if missing := asked - set(rows["key"]):
        say_aside(f"note: {len(missing)} of {len(asked)} trials are not finished, or failed")
    found = evidence(study.compared(rows), study.by, study.measures)
    charts = charts_of(study, found)
    for name, chart in charts.items():
        if chart.figure is None:
            say(f"left out {name}: {chart.text}")
    drawn = {name: chart for name, chart in charts.items() if chart.figure is not None}
    directory = arguments.output or outputs / "analysis" / "studies" / study.name
    write_study(study, rows, found, drawn, directory, page)
    trials, seeds = rows["key"].nunique(), rows["seed"].nunique()
    say(f"{study.name}: {trials} trials, {seeds} seeds, {len(drawn)} charts: {directory}")
    if page is not None:
        say(f"renewed {page}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m {program('study')}", description="Make the tables and charts of a study from its records."
    )
    parser.add_argument("name", nargs="?", default="", help="the study, see --list")
    parser.add_argument("outputs", type=Path, nargs="?", help="the directory of records (default: outputs)")
    parser.add_argument(
        "--docs",
        type=Path,
        metavar="DIRECTORY",
        help="renew DIRECTORY/NAME.md, its charts and NAME.csv, the records, as well",
    )
    parser.add_argument(
        "--records",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="records of other machines as well, or alone: a NAME.csv that this command wrote; may be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIRECTORY",
        help="where to write them (default: analysis/studies/NAME among the records)",
    )
    parser.add_argument("--list", action="store_true", help="name the studies and stop")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run(main))
