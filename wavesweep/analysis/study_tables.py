"""The tables of a study: means and spreads over seeds, and the Markdown that its page shows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from wavesweep.analysis.catalogue.study import Study
from wavesweep.analysis.evidence import MEASURES, Evidence
from wavesweep.analysis.markdown import table_text
from wavesweep.analysis.workloads import value_text

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
    """What the study's page shows: published figures beside ours, charts, tables.

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
