"""The page of a study: its tables as Markdown, and their place between two marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wavesweep.analysis.statistics.descriptions import value_text
from wavesweep.analysis.statistics.evidence import MEASURES, Evidence
from wavesweep.analysis.studies.study import Study
from wavesweep.analysis.table.outputs import WrongArgumentError

# Between these lines of a study's page is what `study` writes.
BEGIN, END = "<!-- made by analysis.study: begin -->", "<!-- made by analysis.study: end -->"
_HEADINGS = {"threshold.percentile": "pruned %", "is_main": "main arm", "seeds": "seeds"}


def full_table(found: Sequence[Evidence]) -> pd.DataFrame:
    """The tables of all networks, one below the other; the first row of each is the network before pruning."""
    parts = []
    for one in found:
        before = pd.DataFrame([{"method": "before pruning", **one.before.to_dict()}])
        table = pd.concat([before, one.table], ignore_index=True)[list(one.table.columns)]
        table.insert(0, "dataset", one.workload.dataset)
        table.insert(0, "model", one.workload.model)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def markdown(study: Study, found: Sequence[Evidence], charts: Mapping[str, str]) -> str:
    """What the study's page shows, as Markdown: published figures beside ours, charts, tables.

    Args:
        study: the study.
        found: its evidence.
        charts: what each chart shows, by the name of its file without the ending.
    """
    parts = _published(study, found)
    parts += [f"![{text}]({name}.png)" for name, text in charts.items()]
    for one in found:
        parts += study.tables(one)
        parts.append(f"{one.workload.label}, means ± one sample standard deviation over seeds:")
        parts.append(_table(study, one))
    return "\n\n".join(parts) + "\n"


def table_text(headings: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """A Markdown table, numbers (all but the first `words` columns) to the right."""
    align = ["---"] * words + ["---:"] * (len(headings) - words)
    lines = ([cell.replace("|", "\\|") for cell in cells] for cells in [headings, align, *rows])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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


def _published(study: Study, found: Sequence[Evidence]) -> list[str]:
    ours = [study.ours(one) for one in found]
    names = dict.fromkeys([*study.published, *(name for values in ours for name in values)])
    if not names:
        return []
    rows = [[name, study.published.get(name, ""), *(values.get(name, "") for values in ours)] for name in names]
    return [
        f"Published: {study.source}.",
        table_text(["", "published", *(f"ours, {one.workload.label}" for one in found)], rows, words=1),
    ]


def _table(study: Study, found: Evidence) -> str:
    headings = [_HEADINGS.get(name, name.removesuffix(".name")) for name in found.by]
    headings += ["seeds", *(MEASURES[name].heading for name in study.measures)]
    before = ["before pruning", *[""] * (len(found.by) - 1)]
    rows = [[*before, *_numbers(study, found.before)]]
    for _, row in study.shown(found.table).iterrows():
        rows.append(
            [*("" if pd.isna(row[name]) else value_text(row[name]) for name in found.by), *_numbers(study, row)]
        )
    return table_text(headings, rows, words=len(found.by))


def _numbers(study: Study, row: "pd.Series[Any]") -> list[str]:
    return [
        f"{row['seeds']:g}",
        *(MEASURES[name].text(row[f"{name}_mean"], row[f"{name}_std"]) for name in study.measures),
    ]
