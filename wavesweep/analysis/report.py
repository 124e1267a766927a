"""Write the report: `python -m analysis.report outputs/`. One HTML file that needs no network."""

import base64
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavesweep.analysis.command import outputs_argument, run
from wavesweep.analysis.figures import all_charts, collected

if TYPE_CHECKING:
    from wavesweep.analysis.choices import Choice
    from wavesweep.analysis.collect import Collected
    from wavesweep.analysis.workloads import Workload

TEMPLATES = Path(__file__).resolve().parent / "templates"


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
    choices: "list[Choice]"
    trials: list[str | None]


@dataclass(frozen=True)
class Picture:
    """A chart on the page, as a data URL, or without one the reason why it was left out."""

    title: str
    text: str
    url: str | None


def render(found: "Collected", outputs: Path) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from wavesweep.analysis.page import as_json, page_data
    from wavesweep.analysis.workloads import workloads

    of = workloads(found.trials)
    scripts = [get_plotlyjs(), (TEMPLATES / "report.js").read_text(encoding="utf-8")]
    # Markup stands for text that is not escaped: our own files, and JSON that as_json has made safe.
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        sections=[_section(workload) for workload in of],
        pictures=[_picture(drawn.chart) for drawn in all_charts(of, outputs)],
        data=Markup(as_json(page_data(of, outputs))),
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
        trials=int(found.trials["key"].nunique()),
        seeds=int(found.trials["seed"].nunique()),
        failures=found.failures[["key", "reason"]].to_dict("records"),
        skipped=[{"path": str(one.path.relative_to(outputs)), "reason": one.reason} for one in found.skipped],
    )


def _section(workload: "Workload") -> Section:
    from wavesweep.analysis.choices import choices

    chosen = choices(workload)
    keys = [None if choice.row is None else str(choice.row["keys"][0]) for choice in chosen]
    return Section(workload.label, _tried(workload), chosen, keys)


def _tried(workload: "Workload") -> str:
    from wavesweep.analysis.charts.chart import plural
    from wavesweep.analysis.choices import readable_bytes
    from wavesweep.analysis.style import in_order
    from wavesweep.analysis.workloads import WAVELET_METHODS

    rows, baseline = workload.rows, workload.baseline
    main = rows[rows["is_main"]]
    wavelets = sorted(set(main.loc[main["method"].isin(WAVELET_METHODS), "wavelet"]))
    parts = [f"{plural(workload.trials, 'trial')} over {plural(workload.seeds, 'seed')}"]
    if wavelets:
        of_wavelets = main.loc[main["method"].isin(WAVELET_METHODS), "level"]
        levels = sorted(set(of_wavelets), key=lambda level: (len(str(level)), str(level)))
        parts.append(f"{_listed(wavelets, 'wavelet')} at {_listed(levels, 'level')}")
    percentiles = main.loc[main["threshold.rule"] == "percentile", "threshold.percentile"]
    if len(percentiles):
        low, high = percentiles.min(), percentiles.max()
        parts.append(f"{low:g} % pruned" if low == high else f"{low:g} to {high:g} % pruned")
    retrained = sorted(set(main["retrain.name"]) - {"none"})
    if retrained:
        count = int((main["retrain.name"] != "none").sum())
        parts.append(f"{plural(count, 'trial')} retrained ({', '.join(retrained)})")
    methods = ", ".join(in_order(rows["method"]))
    return (
        f"{', '.join(parts)}; methods {methods}. Before pruning: {100 * baseline['validation']:.1f} % on validation, "
        f"{100 * baseline['test']:.1f} % on test, {readable_bytes(rows['dense_bytes'].iloc[0])} as float32."
    )


def _listed(names: "list[Any]", noun: str) -> str:
    from wavesweep.analysis.charts.chart import plural

    if len(names) > 6:
        return plural(len(names), noun)
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(map(str, names))}"


def _picture(chart: Any) -> Picture:
    from wavesweep.analysis.style import encoded

    if chart.figure is None:
        return Picture(chart.title, chart.text, None)
    url = "data:image/svg+xml;base64," + base64.b64encode(encoded(chart.figure, "svg")).decode()
    return Picture(chart.title, chart.text, url)


def _hash(script: str) -> str:
    """What the page's content security policy knows a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def main() -> None:
    """The command line."""
    parser = outputs_argument("report", "Write one HTML file with a summary, an interactive plot and all charts.")
    parser.add_argument("--output", type=Path, help="the file to write (default: report.html among the records)")
    arguments = parser.parse_args()
    found = collected(arguments.outputs)
    from wavesweep.runtime.records import write_atomically

    path = arguments.output or arguments.outputs / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = render(found, arguments.outputs).encode()
    write_atomically(path, content)
    print(f"{found.trials['key'].nunique()} trials, {len(content) / 1e6:.1f} MB: {path}")


if __name__ == "__main__":
    sys.exit(run(main))
