"""Write the tables of `docs/methods.md` from the rows of the registry: `python docs/tables.py`.

Each table lies between the lines `<!-- table: NAME -->` and `<!-- end -->`; a test keeps them equal to the rows.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from wavesweep.settings import registry
from wavesweep.settings.registry import (
    Allocation,
    Basis,
    Codec,
    DataSet,
    LayerType,
    Layout,
    Method,
    Model,
    Objective,
    Preset,
    Quantizer,
    Retraining,
    Row,
    Sampler,
    Task,
    Threshold,
)
from wavesweep.settings.schema import Settings

PAGE = Path(__file__).with_name("methods.md")
# Name of a table to the kind of its rows, and the setting that takes one of their names, if there is one.
KINDS: dict[str, tuple[type[Row], str]] = {
    "methods": (Method, "method"),
    "bases": (Basis, ""),
    "layouts": (Layout, "layout"),
    "layer_types": (LayerType, ""),  # the setting takes a list
    "thresholds": (Threshold, "threshold"),
    "allocations": (Allocation, "threshold.allocation"),
    "retrainings": (Retraining, "retrain"),
    "quantizers": (Quantizer, "quantize"),
    "codecs": (Codec, "codec"),
    "samplers": (Sampler, "search.sampler"),
    "objectives": (Objective, ""),  # the setting takes a list of two
    "tasks": (Task, "task"),
    "datasets": (DataSet, "dataset"),
    "models": (Model, "model"),
}
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def table(name: str) -> str:
    """The table of that name, as Markdown."""
    kind, key = KINDS[name]
    found: Sequence[Row | Preset] = list(registry.rows(kind).values())
    if kind.group:
        found = list(registry.options(kind.group).values())
    columns = ["", "what it does"]
    rows = [[f"`{key}={one.name}`" if key else f"`{one.name}`", one.help] for one in found]
    if kind is Method:
        columns += ["basis", "score"]
        rows = [[*row, one.basis, one.score] for row, one in zip(rows, found, strict=True) if isinstance(one, Method)]
    elif kind in (Threshold, Retraining, Quantizer, Task, DataSet, Allocation):
        columns += ["settings it uses, with their defaults"]
        rows = [[*row, _uses(one)] for row, one in zip(rows, found, strict=True)]
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('<', '&lt;') for cell in line)} |\n" for line in lines)


def written(page: str) -> str:
    """The page with its tables made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}{table(found[2])}{found[4]}", page)


def _uses(one: Row | Preset) -> str:
    """The settings of the row's group that have an effect with it, as `name=value`."""
    group = (one.kind if isinstance(one, Preset) else type(one)).group or "threshold"
    defaults = vars(getattr(Settings(), group))
    if isinstance(one, Preset):
        return ", ".join(f"`{name}={_text(value)}`" for name, value in one.sets.items())
    return ", ".join(f"`{name}={_text(one.sets.get(name, defaults[name]))}`" for name in one.uses)


def _text(value: object) -> str:
    """A value as on the command line."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
