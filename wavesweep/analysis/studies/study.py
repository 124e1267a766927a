"""What a study is: which trials belong to it, what its table and charts show, which figures were published."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.statistics.evidence import Evidence

_PUBLISHED = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True)
class Study:
    """A study; its page is `docs/studies/<name>.md`.

    Attributes:
        name: of the study.
        question: that it answers, in one line.
        experiments: the trials of their sweeps belong to it.
        by: `method` and settings that distinguish the rows of its table, in order. Others that differ are added.
        measures: columns of the collected table that its table shows, names of `evidence.MEASURES`.
        charts: from evidence to a chart, each.
        ours: our values of the published figures, by the names that `published.yaml` has.
        shown: the rows of the table that its page shows; all of them are in `table.csv`.
        tables: more tables for its page, as Markdown, with a line that introduces each.
        compared: changes its rows of the collected table to what it compares, as a wavelet to a method of its own.
    """

    name: str
    question: str
    experiments: tuple[str, ...]
    by: tuple[str, ...]
    measures: tuple[str, ...]
    charts: tuple[Callable[[Evidence], Chart], ...]
    ours: Callable[[Evidence], Mapping[str, str]]
    shown: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table
    tables: Callable[[Evidence], Sequence[str]] = lambda found: ()
    compared: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows

    @property
    def source(self) -> str:
        """Where the published figures are from."""
        return str(_published()[self.name]["source"])

    @property
    def published(self) -> dict[str, str]:
        """The published figures by what they are."""
        return {name: str(value) for name, value in _published()[self.name]["figures"].items()}


@cache
def _published() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_PUBLISHED.read_text(encoding="utf-8"))
    return found
