"""The files of a study: its records, tables and charts, and its page with what belongs beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.style import encoded, styled
from wavesweep.analysis.statistics.evidence import Evidence
from wavesweep.analysis.studies.page import full_table, in_page, markdown
from wavesweep.analysis.studies.records import records
from wavesweep.analysis.studies.study import Study
from wavesweep.runtime.records import write_atomically


def charts_of(study: Study, found: Sequence[Evidence]) -> dict[str, Chart]:
    """The charts of a study by the names of their files, without the ending."""
    charts = {}
    for one in found:
        for make in study.charts:
            with styled():
                chart = make(one)
            charts[f"{study.name}_{one.workload.slug}_{chart.name}"] = chart
    return charts


def write_study(
    study: Study,
    rows: pd.DataFrame,
    found: Sequence[Evidence],
    charts: Mapping[str, Chart],
    directory: Path,
    page: Path | None,
) -> None:
    """Write records, tables and charts into `directory`, and renew the page.

    Args:
        study: the study.
        rows: its rows of the collected table.
        found: the evidence in them.
        charts: those that have data, see `charts_of`.
        directory: where they go.
        page: the study's page; the charts as PNG and the records lie beside it. None renews no page.

    Raises:
        WrongArgumentError: the page does not have its two marks; nothing was written.
        StoreError: a file cannot be written.
    """
    made = markdown(study, found, {name: chart.text for name, chart in charts.items()})
    new_page = None if page is None else in_page(page.read_text(encoding="utf-8"), made, page).encode()
    csv = records(rows, study.name).to_csv(index=False).encode()
    write_atomically(directory / "records.csv", csv)
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
        write_atomically(page.with_suffix(".csv"), csv)
        write_atomically(page, new_page)
