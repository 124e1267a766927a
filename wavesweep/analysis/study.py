"""The tables and charts of a study, from the records of its sweep: `python -m analysis.study NAME outputs/`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wavesweep.analysis.command import WrongArgumentError, checked_outputs, program, run

if TYPE_CHECKING:
    import pandas as pd

    from wavesweep.analysis.catalogue.study import Study
    from wavesweep.analysis.charts.chart import Chart
    from wavesweep.analysis.evidence import Evidence

# Between these lines of a study's page is what this command writes.
BEGIN, END = "<!-- made by analysis.study: begin -->", "<!-- made by analysis.study: end -->"


def study_named(name: str) -> "Study":
    """The study of that name.

    Raises:
        WrongArgumentError: there is none.
    """
    from wavesweep.analysis.catalogue.all import STUDIES

    if name in STUDIES:
        return STUDIES[name]
    given = f"{name} is no study" if name else "no study is named"
    raise WrongArgumentError(f"{given}; choose one of {', '.join(STUDIES)}: python -m analysis.study NAME outputs/")


def rows_of(study: "Study", outputs: Path, files: Sequence[Path] = ()) -> "pd.DataFrame":
    """The rows of the collected table that belong to the study, and those in `files` of records of other trials.

    Raises:
        WrongArgumentError: there is none, or a file cannot be read.
    """
    from wavesweep.analysis.evidence import keys_of
    from wavesweep.analysis.figures import collected
    from wavesweep.analysis.study_records import joined, read_records

    asked = keys_of(outputs, study.experiments)
    others = [read_records(path, study.name) for path in files]
    command = f"python -m wavesweep -m experiment={study.experiments[0]}"
    if not asked and not others:
        raise WrongArgumentError(f"{outputs} has no sweep of {study.name}; run one first: {command}")
    own = []
    if asked and (not others or any((outputs / "runs").glob("*/result.json"))):
        trials = collected(outputs).trials
        own = [trials[trials["key"].isin(asked)]]
    rows = joined([*own, *others]) if others else own[0]
    if rows.empty:
        raise WrongArgumentError(
            f"{outputs} has no finished trial of {study.name}; the same command goes on: {command}"
        )
    missing = asked - set(rows["key"])
    if missing:
        print(f"note: {len(missing)} of {len(asked)} trials are not finished, or failed", file=sys.stderr)
    return rows


def in_page(page: str, made: str, path: Path) -> str:
    """A page with `made` between its two marks.

    Raises:
        WrongArgumentError: it does not have both marks, in their order.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise WrongArgumentError(f"{path} has no place for the table; put the lines {BEGIN} and {END} into it")
    return f"{head}{BEGIN}\n\n{made.strip()}\n\n{END}{tail}"


def main() -> None:
    """The command line."""
    arguments = _arguments()
    if arguments.list:
        from wavesweep.analysis.catalogue.all import STUDIES

        for study in STUDIES.values():
            print(f"{study.name}: {study.question}")
        return
    study = study_named(arguments.name)
    outputs = Path("outputs") if arguments.outputs is None else arguments.outputs
    if arguments.outputs is not None or not arguments.records:
        checked_outputs(outputs)
    page = None if arguments.docs is None else arguments.docs / f"{study.name}.md"
    if page is not None and not page.is_file():
        raise WrongArgumentError(f"{page} does not exist; write it, with the lines {BEGIN} and {END}")
    rows = rows_of(study, outputs, arguments.records)
    from wavesweep.analysis.evidence import evidence

    found = evidence(study.compared(rows), study.by, study.measures)
    _write(study, rows, found, outputs / "analysis" / "studies" / study.name, page)


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
    parser.add_argument("--list", action="store_true", help="name the studies and stop")
    return parser.parse_args()


def _write(study: "Study", rows: "pd.DataFrame", found: "list[Evidence]", directory: Path, page: Path | None) -> None:
    from wavesweep.analysis.study_records import records
    from wavesweep.analysis.study_tables import full_table, markdown
    from wavesweep.analysis.style import encoded
    from wavesweep.runtime.records import write_atomically

    charts: dict[str, Chart] = {}
    for one in found:
        for name, chart in _charts(study, one):
            if chart.figure is None:
                print(f"left out {name}: {chart.text}")
            else:
                charts[name] = chart
    made = markdown(study, found, {name: chart.text for name, chart in charts.items()})
    # Before anything is written: a page without its marks is refused.
    new_page = None if page is None else in_page(page.read_text(encoding="utf-8"), made, page).encode()
    write_atomically(directory / "records.csv", records(rows, study.name).to_csv(index=False).encode())
    write_atomically(directory / "table.csv", full_table(found).to_csv(index=False).encode())
    write_atomically(directory / "table.md", made.encode())
    for name, chart in charts.items():
        assert chart.figure is not None
        for kind in ("svg", "png"):
            content = encoded(chart.figure, kind)
            write_atomically(directory / f"{name}.{kind}", content)
            if page is not None and kind == "png":
                write_atomically(page.with_name(f"{name}.png"), content)
    if page is not None and new_page is not None:
        write_atomically(page.with_suffix(".csv"), (directory / "records.csv").read_bytes())
        write_atomically(page, new_page)
    trials, seeds = rows["key"].nunique(), rows["seed"].nunique()
    print(f"{study.name}: {trials} trials, {seeds} seeds, {len(charts)} charts: {directory}")
    if page is not None:
        print(f"renewed {page}")


def _charts(study: "Study", found: "Evidence") -> "list[tuple[str, Chart]]":
    """The charts with the names of their files."""
    from wavesweep.analysis.style import styled

    charts = []
    for make in study.charts:
        with styled():
            chart = make(found)
        charts.append((f"{study.name}_{found.workload.slug}_{chart.name}", chart))
    return charts


if __name__ == "__main__":
    sys.exit(run(main))
