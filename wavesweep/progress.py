"""Progress of long work: a bar in a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
# Seconds between two lines where the output is not a terminal.
_LINE_SECONDS = 10.0


class Meter:
    """Counts `total` units of work; `advance` may carry a text such as the loss and the rate."""

    def __init__(self, total: int, title: str, shown: bool) -> None:
        self._title, self._total, self._done = title, total, 0
        self._shown, self._text = shown, ""
        self._bar: Progress | None = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> "Meter":
        console = Console(stderr=True)
        if self._shown and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[text]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, text="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, units: int = 1, text: str = "") -> None:
        """Note that `units` more are done."""
        self._done += units
        self._text = text or self._text
        if self._bar is not None:
            self._bar.update(self._task, advance=units, text=self._text)
            return
        now = time.monotonic()
        if self._shown and (now - self._last_line >= _LINE_SECONDS):
            self._last_line = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate if rate else float("inf")
            print(
                f"{self._title}: {self._done}/{self._total} {self._text} ({left:.0f} s left)",
                file=sys.stderr,
                flush=True,
            )


def steps(items: Iterable[T], total: int, title: str, shown: bool) -> Iterator[T]:
    """Yield `items` and show how many of `total` are done."""
    with Meter(total, title, shown) as meter:
        for item in items:
            yield item
            meter.advance()
