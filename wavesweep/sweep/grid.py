"""The grid sweep: check every point first, run what is not there yet, then tell what became of all of it.

Records decide what is done, so a killed sweep continues where it stopped, and several processes can share one.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wavesweep.errors import BusyError, ShortMemoryError
from wavesweep.experiment.export.files import export_problems, lacks_export
from wavesweep.runtime.metrics import PrimaryMetric
from wavesweep.runtime.records import (
    check_writable,
    json_bytes,
    read_json,
    write_atomically,
    write_if_possible,
)
from wavesweep.runtime.shapes import Sweep
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings.keys import hash_of
from wavesweep.settings.schema import Settings
from wavesweep.sweep.launch import Jobs, Launcher, LostError, Outcome, pace, unrecorded
from wavesweep.sweep.monitor import SweepMonitor
from wavesweep.sweep.objectives import metric_of
from wavesweep.sweep.point import Point, check_ready, checked_points, run_points
from wavesweep.sweep.table import Entry, rows_as_csv, table_rows


@dataclass(frozen=True)
class GridResult:
    """What became of a grid: an entry per point in their order, and counts of its different trials."""

    entries: tuple[Entry, ...]
    settings: Settings  # of the first point
    trials: int
    failed: int
    done_before: int  # before this run
    equal: int  # points whose arms are those of another
    table: Path
    problems: tuple[str, ...]  # what did not succeed, in words
    is_new: bool = True  # whether anything was run

    def write_table(self) -> None:
        """Write the table of all points; where nothing was run, a directory that cannot be written is no error.

        Raises:
            StoreError: it cannot be written.
        """
        write = write_atomically if self.is_new else write_if_possible
        write(self.table, rows_as_csv(table_rows(self.entries)).encode())


def run_grid(
    composed: Sequence[tuple[tuple[str, ...], Settings]],
    arguments: Sequence[str],
    launcher: Launcher | None,
    jobs: Jobs | None = None,
) -> GridResult:
    """Run all points of a grid that have no record yet.

    Args:
        composed: the overrides of each point, and the settings they make.
        arguments: of the command that sweeps, for the sweep's own record.
        launcher: of the trials; None for this process.
        jobs: what surrounds those of this process.

    Raises:
        SettingsError: a point's settings are wrong; nothing was trained.
        StoreError: records cannot be written.
    """
    points = checked_points(composed)
    by_key = {point.key: point for point in points}
    found = {key: _found(point) for key, point in by_key.items()}
    left = [point for key, point in by_key.items() if found[key] is None or lacks_export(point.settings, key)]
    if left:
        # An export needs no GPU.
        settings = [replace(p.settings, device="auto") if found[p.key] else p.settings for p in left]
        check_writable(Path(points[0].settings.paths.outputs))
        check_ready(settings, launcher)
    _describe(points, arguments, is_new=bool(left))
    names = _names(points)
    # A log gets a line per trial of this process anyway.
    with SweepMonitor(len(by_key), points[0].settings.progress, lines=launcher is not None) as monitor:
        for key, record in found.items():
            if record is None:
                monitor.watch(by_key[key].directory, names[key])
            else:
                monitor.cached(record, names[key])
        with_lines = points[0].settings.progress and not monitor.has_bar
        reasons = run_left(left, launcher, names if with_lines else {}, jobs)
    done_before = sum(record is not None and "failed" not in record for record in found.values())
    return _result(points, done_before, reasons, is_new=bool(left))


def run_left(
    points: Sequence[Point], launcher: Launcher | None, names: Mapping[str, str], jobs: Jobs | None = None
) -> dict[str, str]:
    """Run the points that have no record, or no export; returns what ended those that recorded no failure, by key.

    Args:
        points: all different.
        launcher: of the trials; None for this process.
        names: of the points by key, for a line per trial; empty for none.
        jobs: what surrounds those of this process.
    """
    outcomes: dict[str, Outcome] = {}

    def run_all(left: Sequence[Point], on_busy: str) -> list[Point]:
        """Run them; returns those that are left."""
        started = time.perf_counter()

        def show(done: Sequence[Outcome]) -> None:
            if names:
                seconds = time.perf_counter() - started
                point = left[len(done) - 1]
                _print_progress(names[point.key], len(left), done, seconds, metric_of(point.settings))

        ended = run_points(left, launcher, on_busy, jobs=jobs, ran=show)
        outcomes.update(zip((p.key for p in left), ended, strict=True))
        return [point for point in left if _is_left(point, outcomes[point.key])]

    # First what nobody else is computing, then wait for the rest: so processes share the work.
    left, before = run_all(points, "skip"), len(points) + 1
    # A worker that dies takes others with it, which then have another chance.
    while left and len(left) < before:
        before = len(left)
        left = run_all(left, "wait")
        lost = [outcomes[point.key] for point in left if point.record() is None]
        for outcome in lost:
            if isinstance(outcome, BaseException) and not isinstance(outcome, LostError):
                raise outcome
        if len(lost) == len(points):  # nothing was computed, so it is the launcher that does not work
            raise LostError(str(lost[0]))
    return unrecorded(outcomes)


def _found(point: Point) -> dict[str, Any] | None:
    """The record that spares the computation."""
    record = point.record()
    return None if record and "failed" in record and point.settings.retry_failed else record


def _is_left(point: Point, outcome: Outcome) -> bool:
    """Whether a point that was run has no record, or no export because another process had it or its worker died."""
    if point.record() is None:
        return not isinstance(outcome, ShortMemoryError)
    return isinstance(outcome, BusyError | LostError) and lacks_export(point.settings, point.key)


def _print_progress(name: str, count: int, outcomes: Sequence[Outcome], seconds: float, metric: PrimaryMetric) -> None:
    last, done = outcomes[-1], len(outcomes)
    if isinstance(last, float):
        value = metric.with_unit(metric.sign * last)
        outcome = f"validation {value}" if metric.is_accuracy else f"validation {metric.name} {value}"
    else:
        outcome = "busy elsewhere, later" if isinstance(last, BusyError) else "failed"
    say_aside(f"[{done}/{count}] {name}: {outcome} ({pace(done, count - done, seconds)})")


def _names(points: Sequence[Point]) -> dict[str, str]:
    """What distinguishes each point from the others, by key."""
    given = Counter(line for point in points for line in point.overrides)
    return {
        point.key: " ".join(line for line in point.overrides if len(points) == 1 or given[line] < len(points))
        for point in points
    }


def _directory(points: Sequence[Point]) -> Path:
    """Where what is known about the sweep as a whole lies: the same for the same trials."""
    return Path(points[0].settings.paths.outputs) / "sweeps" / hash_of([point.key for point in points])


def _describe(points: Sequence[Point], arguments: Sequence[str], is_new: bool) -> None:
    """Write down which trials the sweep has, and which of them an experiment asks for, before the first one runs.

    The same trials may be those of several experiments, so what an earlier sweep of them was is kept.
    """
    path = _directory(points) / "sweep.json"
    before = read_json(path, Sweep) or {}
    experiments: dict[str, list[str]] = dict(before.get("experiments", {}))
    for point in points:
        given = dict(line.lstrip("+").partition("=")[::2] for line in point.overrides).get("experiment", "null")
        if given != "null":
            experiments[given] = sorted({*experiments.get(given, []), point.key})
    keys = list(dict.fromkeys(point.key for point in points))
    now = {"arguments": list(arguments), "experiments": experiments, "keys": keys}
    if now != before:
        (write_atomically if is_new else write_if_possible)(path, json_bytes(now))


def _result(points: Sequence[Point], done_before: int, reasons: Mapping[str, str], is_new: bool) -> GridResult:
    """What became of all points."""
    entries: list[Entry] = []
    for point in points:
        swept = dict(line.partition("=")[::2] for line in point.overrides)
        entries.append((swept, point.record() or {"failed": reasons.get(point.key, "no record was written")}))
    settings, table = points[0].settings, _directory(points) / "trials.csv"
    keys = list(dict.fromkeys(point.key for point in points))
    failed = len({point.key for point, (_, record) in zip(points, entries, strict=True) if "failed" in record})
    equal = sum(row.get("note", "").startswith("=") for row in table_rows(entries))
    problems = [f"{failed} of {len(keys)} trials failed, see the table"] if failed else []
    problems += export_problems(settings, keys, reasons)
    return GridResult(tuple(entries), settings, len(keys), failed, done_before, equal, table, tuple(problems), is_new)
