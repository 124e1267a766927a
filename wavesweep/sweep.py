"""The grid sweep: check every point first, run what is not there yet, then show all of it.

It takes the place of Hydra's basic sweeper: same command line, same launchers. Records decide what is done, so a
killed sweep goes on where it stopped, and several processes can share one.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher

from wavesweep.baseline import load_subject
from wavesweep.checks import check
from wavesweep.compose import Composer
from wavesweep.config import Settings
from wavesweep.errors import BusyError, SettingsError, StoreError, TrialError, WavesweepError
from wavesweep.interrupt import interrupted
from wavesweep.store.keys import hash_of, trial_key
from wavesweep.store.records import FAILURE_FILE, check_writable, read_json, write_atomically
from wavesweep.table import Entry, print_trials, rows_as_csv, table_rows
from wavesweep.trial import RESULT_FILE, choose_device, input_digests, objective, run_trial, trial_directory

# What became of a point: its objective, or the error that ended it.
Outcome = float | BaseException


@dataclass
class GridSweeperConfig:
    """Hydra's description of `GridSweeper`; `params` may hold a sweep, so that an experiment file can."""

    _target_: str = "wavesweep.sweep.GridSweeper"
    params: dict[str, str] | None = None


@dataclass(frozen=True)
class Point:
    """One point of the grid: its overrides as given, the settings they make, and the trial's key."""

    overrides: tuple[str, ...]
    settings: Settings
    key: str

    @property
    def directory(self) -> Path:
        """Where the trial's record lies."""
        return trial_directory(self.settings, self.key)

    def record(self) -> dict[str, Any] | None:
        """The trial's record, or its failure, or None while there is neither."""
        result = read_json(self.directory / RESULT_FILE)
        failure = None if result else read_json(self.directory / FAILURE_FILE)
        return {"failed": failure["reason"]} if failure else result


class GridSweeper(BasicSweeper):
    """Runs the Cartesian product of all lists of values on the command line."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> None:
        """Run all points of the grid and print their table.

        Raises:
            SettingsError: a point's settings are wrong; nothing was trained.
            TrialError: some trials failed; all others are done and shown.
            StoreError: records cannot be written.
        """
        points = self._points(arguments)
        by_key = {point.key: point for point in points}
        found = {key: self._found(point) for key, point in by_key.items()}
        self._run([by_key[key] for key, record in found.items() if record is None])
        _summarise(points, sum(record is not None and "failed" not in record for record in found.values()))

    def _points(self, arguments: list[str]) -> list[Point]:
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        lines = [*self._parse_config(), *arguments]
        grid = self.split_arguments(parser.parse_overrides(lines), None)[0]
        if not grid:
            raise SettingsError("-m", " ".join(arguments), "gives no point", "a list or glob in it is empty")
        composer = Composer(loader, self.config)
        parsed = {line: parser.parse_override(line) for point in grid for line in point}
        all_settings = [composer.settings([parsed[line] for line in point]) for point in grid]
        for settings in all_settings:
            check(settings)
        for outputs in {settings.paths.outputs for settings in all_settings}:
            check_writable(Path(outputs))
        points = []
        for overrides, settings in zip(grid, all_settings, strict=True):
            choose_device(settings.device)
            subject = load_subject(settings)
            points.append(Point(tuple(overrides), settings, trial_key(settings, input_digests(settings, subject))))
        if len({point.settings.paths.outputs for point in points}) > 1:
            raise SettingsError("paths.outputs", "several", "cannot be swept", "give one directory to all points")
        return points

    def _found(self, point: Point) -> dict[str, Any] | None:
        """The record that spares the computation."""
        record = point.record()
        return None if record and "failed" in record and point.settings.retry_failed else record

    def _run(self, points: list[Point]) -> None:
        # First what nobody else is computing, then wait for the rest: so processes share the work.
        self._launch(points, "skip")
        left = [point for point in points if point.record() is None]
        for point, outcome in zip(left, self._launch(left, "wait"), strict=True):
            if point.record() is None and isinstance(outcome, BaseException):
                raise outcome

    def _launch(self, points: list[Point], on_busy: str) -> list[Outcome]:
        assert self.launcher is not None
        started = time.perf_counter()
        outcomes: list[Outcome] = []
        # One trial after the other in this process shows progress between them.
        here = isinstance(self.launcher, BasicLauncher)
        size = 1 if here else max(1, len(points))
        for start in range(0, len(points), size):
            batch = points[start : start + size]
            outcomes += run_points(batch, on_busy, self.launcher, start)
            if interrupted():
                raise KeyboardInterrupt
            for outcome in outcomes[start:]:
                if isinstance(outcome, StoreError):  # a full disk would stop the others as well
                    raise outcome
            if any(point.settings.progress for point in batch):
                _print_progress(points, start + len(batch), outcomes[-1], time.perf_counter() - started)
        return outcomes


def run_points(points: Sequence[Point], on_busy: str, launcher: Launcher, first: int = 0) -> list[Outcome]:
    """Run points with a launcher and wait for them; `first` is the number of the first one."""
    if isinstance(launcher, BasicLauncher):
        return [_run_here(point, on_busy) for point in points]
    jobs = launcher.launch([[*point.overrides, f"on_busy={on_busy}"] for point in points], initial_job_idx=first)
    return [job._return_value for job in jobs]  # job.return_value would print lines of its own


def jobs_of(launcher: Launcher | None) -> int:
    """How many trials a launcher runs at once: as it is told, or one per core of this machine."""
    if isinstance(launcher, BasicLauncher):
        return 1
    settings = getattr(launcher, "joblib", None) or getattr(launcher, "params", None) or {}
    cores = os.cpu_count() or 1
    number = int(settings.get("n_jobs") or settings.get("array_parallelism") or cores)
    return number if number > 0 else max(1, cores + 1 + number)


def _run_here(point: Point, on_busy: str) -> Outcome:
    """Run a point in this process. Hydra's launcher would compose its settings once more, which takes longer than a
    small network's trial."""
    try:
        return objective(run_trial(replace(point.settings, on_busy=on_busy)))
    except WavesweepError as error:
        return error


def _print_progress(points: Sequence[Point], done: int, last: Outcome, seconds: float) -> None:
    if isinstance(last, float):
        outcome = f"validation {100 * last:.2f} %"
    else:
        outcome = "busy elsewhere, later" if isinstance(last, BusyError) else "failed"
    each = seconds / done
    constant = set.intersection(*(set(point.overrides) for point in points)) if len(points) > 1 else set()
    what = " ".join(line for line in points[done - 1].overrides if line not in constant)
    print(
        f"[{done}/{len(points)}] {what}: {outcome} ({each:.2f} s per trial, {each * (len(points) - done):.0f} s left)",
        file=sys.stderr,
        flush=True,
    )


def _summarise(points: Sequence[Point], finished_before: int) -> None:
    """Print the table of all points and write it; raise if some failed."""
    entries: list[Entry] = []
    for point in points:
        swept = dict(line.partition("=")[::2] for line in point.overrides)
        entries.append((swept, point.record() or {"failed": "no record was written"}))
    settings = points[0].settings
    print_trials(entries, settings)
    outputs = Path(settings.paths.outputs)
    table_path = outputs / "sweeps" / hash_of([point.key for point in points]) / "trials.csv"
    rows = table_rows(entries)
    write_atomically(table_path, rows_as_csv(rows).encode())
    keys = {point.key for point in points}
    failed = {point.key for point, (_, record) in zip(points, entries, strict=True) if "failed" in record}
    same = sum(row.get("note", "").startswith("=") for row in rows)
    print(
        f"{len(keys)} trials: {len(keys) - len(failed)} done ({finished_before} of them before this run), "
        f"{len(failed)} failed" + (f"; {same} equal to another, not computed again" if same else "")
    )
    print(f"records: {outputs / 'runs'}   table: {table_path}")
    if failed:
        raise TrialError(
            f"{len(failed)} of {len(keys)} trials failed, see the table; retry_failed=true runs them again"
        )
