"""Progress of long work: a bar in a terminal, plain lines in a log.

Work inside other work, as the training of a baseline in a sweep, adds its bar below the outer one while it lasts.
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from wavesweep.runtime.terminal import printable, say_aside

T = TypeVar("T")
# Seconds between two lines where the output is not a terminal.
_LINE_SECONDS = 10.0
# The time that is left follows from the rate of so many seconds: trials may take minutes each.
_RATE_SECONDS = 3600.0
# What is on the terminal now: it can have one such display only.
_display: Progress | None = None
_logging = ContextVar("logging", default=True)


class Meter:
    """Counts `total` units of work; `advance` may carry a text such as the loss and the rate.

    `lines`: where there is no terminal, print a line now and then.
    """

    def __init__(self, total: int, title: str, shown: bool, lines: bool = True) -> None:
        self._title, self._total, self._done = title, total, 0
        self._shown, self._lines, self._text = shown, lines, ""
        self._bar: Progress | None = None
        self._is_outer = False
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> "Meter":
        global _display
        console = Console(stderr=True)
        if self._shown and console.is_terminal:
            self._is_outer = _display is None
            if _display is None:
                _display = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(bar_width=20),
                    TextColumn(
                        "{task.completed:.0f}/{task.total:.0f} {task.fields[text]}",
                        markup=False,
                        table_column=Column(no_wrap=False),
                    ),
                    TimeRemainingColumn(),
                    speed_estimate_period=_RATE_SECONDS,
                    console=console,
                    transient=True,
                )
                _display.start()
            self._bar = _display
            self._task = self._bar.add_task(self._title, total=self._total, text="")
        return self

    def __exit__(self, *exception: object) -> None:
        global _display
        if self._bar is None:
            return
        if self._is_outer:
            self._bar.stop()
            _display = None
        else:
            self._bar.remove_task(self._task)

    @property
    def has_bar(self) -> bool:
        """Whether there is a terminal that shows a bar."""
        return self._bar is not None

    def advance(self, units: int = 1, text: str = "") -> None:
        """Note that `units` more are done."""
        self._done += units
        self._text = text or self._text
        seconds = time.monotonic() - self._started
        self.show(self._done, self._text, seconds / self._done * (self._total - self._done) if self._done else math.inf)

    def show(self, done: int, text: str, seconds_left: float) -> None:
        """Show that `done` units are; a bar has its own idea of the time that is left."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, text=printable(text))
            return
        now = time.monotonic()
        if self._shown and self._lines and now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            left = f"({duration(seconds_left)} left)"
            say_aside(f"{self._title}: {done}/{self._total} {text} {left}")


@contextmanager
def logging_enabled(shown: bool) -> Iterator[None]:
    """Whether `log` writes: not where progress is switched off, as in jobs of a sweep, which has one bar for all."""
    before = _logging.set(shown)
    try:
        yield
    finally:
        _logging.reset(before)


def is_logging() -> bool:
    """Whether progress is shown here."""
    return _logging.get()


def log(text: str) -> None:
    """A line on standard error, above the bars if there are any."""
    if not _logging.get():
        return
    if _display is None:
        say_aside(text)
    else:
        _display.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A length of time in seconds, or where these would be many, in minutes or hours."""
    if seconds < 120 or math.isinf(seconds):
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def steps(items: Iterable[T], total: int, title: str, shown: bool) -> Iterator[T]:
    """Yield `items` and show how many of `total` are done."""
    with Meter(total, title, shown) as meter:
        for item in items:
            yield item
            meter.advance()
