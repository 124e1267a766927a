"""One style for all charts: readable in print and in grey, safe for the colour-blind, the same bytes each time."""

import io
import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from wavesweep.analysis.statistics.methods import METHODS


@dataclass(frozen=True)
class Look:
    """How a method is drawn: colours of Okabe and Ito, and a marker and a line of its own, for print in grey."""

    color: str
    marker: str
    line: Any


_LOOKS_IN_ORDER = (
    Look("#0072B2", "o", "-"),
    Look("#E69F00", "s", (0, (5, 1.5))),
    Look("#5B5B5B", "X", (0, (1, 1.2))),
    Look("#009E73", "^", (0, (3, 1, 1, 1))),
    Look("#D55E00", "D", (0, (7, 2))),
    Look("#CC79A7", "v", (0, (3, 1, 1, 1, 1, 1))),
    Look("#56B4E9", "P", (0, (2, 1))),
)
# Methods beyond these share a look of their own.
LOOKS = dict(zip(METHODS, _LOOKS_IN_ORDER, strict=False))
_OTHER = Look("#000000", "*", "-")
INK, FAINT, GRID = "#222222", "#6E6E6E", "#DDDDDD"
# From white to the blue of the first method; its lightness falls all the way, so it prints in grey.
SEQUENTIAL = "Blues"
_WIDTH = 7.2  # inches: a page's text
_PARAMETERS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
    # A setting named "$x" is text, not mathematics.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "wavesweep",
}


# Of ticks of a logarithmic axis: sets of round numbers, the coarsest first, and how many ticks of each will do; and
# their least distance in widths of the axis, so that labels do not overlap.
_ROUND_TENTHS = (
    ((10,), 3),
    ((10, 20, 50), 3),
    ((10, 15, 20, 30, 50, 70), 3),
    ((*range(10, 20, 2), 20, 25, *range(30, 100, 10)), 2),
    (range(10, 100), 1),
)
_LEAST_GAP = 0.17


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib with this style, for drawing and for saving."""
    with matplotlib.rc_context(_PARAMETERS):
        yield


def look(method: str) -> Look:
    """How `method` is drawn."""
    return LOOKS.get(method, _OTHER)


def new_figure(title: str, subtitle: str, height: float = 3.6) -> Figure:
    """An empty figure with its title, and below it what data, how many seeds and which split it shows.

    Args:
        title: in bold.
        subtitle: is broken into lines.
        height: of the space below the two, in inches.
    """
    lines = textwrap.wrap(subtitle, 116)
    heading = 0.40 + 0.165 * len(lines)
    total = height + heading
    figure = Figure(figsize=(_WIDTH, total))
    name = figure.suptitle(title, x=0.01, y=1 - 0.05 / total, ha="left", va="top", fontsize=11.5, fontweight="bold")
    # Title and subtitle lie above the rectangle that the layout fills.
    name.set_in_layout(False)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, 1, height / total), h_pad=0.06))
    figure.text(
        0.01, 1 - 0.31 / total, "\n".join(lines), ha="left", va="top", fontsize=8.5, color=FAINT, linespacing=1.3
    )
    return figure


def encoded(figure: Figure, kind: str) -> bytes:
    """The figure as `svg` or `png`; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()


def log_ticks(low: float, high: float) -> list[float]:
    """Where to label a logarithmic axis: round numbers, at least two if it is long enough, with room for labels."""
    width, powers = math.log(high / low), range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    shown: list[float] = []
    for tenths, enough in _ROUND_TENTHS:
        ticks = [tenth * 10.0 ** (power - 1) for power in powers for tenth in tenths]
        shown = []
        for tick in ticks:
            if low <= tick <= high and (not shown or math.log(tick / shown[-1]) > _LEAST_GAP * width):
                shown.append(tick)
        if len(shown) >= enough:
            break
    return shown
