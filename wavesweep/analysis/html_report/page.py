"""The page as HTML: the summary in words, the plot's data and all charts, in one file."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from wavesweep.analysis.charts.all import all_charts
from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.style import encoded
from wavesweep.analysis.html_report.data import as_json, page_data
from wavesweep.analysis.statistics.choices import Choice, choices
from wavesweep.analysis.statistics.descriptions import plural, readable_bytes
from wavesweep.analysis.statistics.methods import WAVELET_METHODS, in_order
from wavesweep.analysis.statistics.workloads import Workload, workloads
from wavesweep.analysis.table.collect import Collected

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_MOST_NAMES = 6  # of wavelets or levels; more are counted


@dataclass(frozen=True)
class Section:
    """What the page says of one workload.

    Attributes:
        title: the network and the data set.
        tried: in words.
        choices: the best three.
        trials: per choice the key of a trial of it, or None.
    """

    title: str
    tried: str
    choices: list[Choice]
    trials: list[str | None]


@dataclass(frozen=True)
class Picture:
    """A chart on the page, as a data URL, or without one the reason why it was left out."""

    title: str
    text: str
    url: str | None


def render(found: Collected, outputs: Path) -> str:
    """The page as HTML."""
    of = workloads(found.trials)
    scripts = [get_plotlyjs(), (_TEMPLATES / "report.js").read_text(encoding="utf-8")]
    # Markup stands for text that is not escaped: our own files, and JSON that as_json has made safe.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        sections=[_section(workload) for workload in of],
        pictures=[_picture(drawn.chart) for drawn in all_charts(of, outputs)],
        data=Markup(as_json(page_data(of, outputs))),
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
        trials=int(found.trials["key"].nunique()),
        seeds=int(found.trials["seed"].nunique()),
        failures=found.failures[["key", "reason"]].to_dict("records"),
        skipped=[{"path": str(one.path.relative_to(outputs)), "reason": one.reason} for one in found.skipped],
    )


def _section(workload: Workload) -> Section:
    chosen = choices(workload)
    keys = [None if choice.row is None else str(choice.row["keys"][0]) for choice in chosen]
    return Section(workload.label, _tried(workload), chosen, keys)


def _tried(workload: Workload) -> str:
    rows, baseline = workload.rows, workload.baseline
    main = rows[rows["is_main"]]
    with_wavelet = main[main["method"].isin(WAVELET_METHODS)]
    parts = [f"{plural(workload.trials, 'trial')} over {plural(workload.seeds, 'seed')}"]
    if len(with_wavelet):
        levels = sorted(set(with_wavelet["level"]), key=lambda level: (len(str(level)), str(level)))
        parts.append(f"{_listed(sorted(set(with_wavelet['wavelet'])), 'wavelet')} at {_listed(levels, 'level')}")
    percentiles = main.loc[main["threshold.rule"] == "percentile", "threshold.percentile"]
    if len(percentiles):
        low, high = percentiles.min(), percentiles.max()
        parts.append(f"{low:g} % pruned" if low == high else f"{low:g} to {high:g} % pruned")
    retrained = sorted(set(main["retrain.name"]) - {"none"})
    if retrained:
        count = int((main["retrain.name"] != "none").sum())
        parts.append(f"{plural(count, 'trial')} retrained ({', '.join(retrained)})")
    methods = ", ".join(in_order(rows["method"]))
    name = "" if workload.metric.is_accuracy else f"{workload.metric.name} "
    return (
        f"{', '.join(parts)}; methods {methods}. Before pruning: "
        f"{name}{workload.shown(baseline['validation'])} on validation"
        f"{_images(rows, 'validation')}, {workload.shown(baseline['test'])} on test{_images(rows, 'test')}, "
        f"{readable_bytes(rows['dense_bytes'].iloc[0])} as float32.{_caution(main)}"
    )


def _images(rows: pd.DataFrame, split: str) -> str:
    """How many images a split has, where all records say the same."""
    counts = rows[f"{split}_images"].unique()
    return f" ({plural(int(counts[0]), 'image')})" if len(counts) == 1 and not pd.isna(counts[0]) else ""


def _caution(main: pd.DataFrame) -> str:
    """A sentence where validation images may be known to the network."""
    count = int(main["validation_may_be_trained_on"].fillna(False).sum())
    if not count:
        return ""
    return (
        f" In {plural(count, 'trial')} the network may have been trained on the validation images, so the points lost "
        "on them may be too few: see those on test."
    )


def _listed(names: Sequence[object], noun: str) -> str:
    if len(names) > _MOST_NAMES:
        return plural(len(names), noun)
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(map(str, names))}"


def _picture(chart: Chart) -> Picture:
    if chart.figure is None:
        return Picture(chart.title, chart.text, None)
    url = "data:image/svg+xml;base64," + base64.b64encode(encoded(chart.figure, "svg")).decode()
    return Picture(chart.title, chart.text, url)


def _hash(script: str) -> str:
    """What the page's content security policy knows a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
