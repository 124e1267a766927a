"""The grid sweep: check every point first, run what is not there yet, then show all of it.

It takes the place of Hydra's basic sweeper: same command line, same launchers. Records decide what is done, so a
killed sweep goes on where it stopped, and several processes can share one.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher

from wavesweep.cli.composition import Composer
from wavesweep.errors import BusyError, SettingsError, ShortMemoryError, TrialError, WavesweepError
from wavesweep.experiment.export_files import export_problems, lacks_export
from wavesweep.experiment.inputs import input_digests
from wavesweep.runtime.progress import logging_enabled
from wavesweep.runtime.records import FAILURE_FILE, RESULT_FILE, check_writable, read_json, write_atomically, write_json
from wavesweep.settings.keys import hash_of, trial_directory, trial_key
from wavesweep.settings.rules import check
from wavesweep.settings.schema import Settings
from wavesweep.sweep.launch import LostError, Outcome, launch, runs_here, stop_if_told
from wavesweep.sweep.monitor import SweepMonitor
from wavesweep.sweep.table import Entry, print_trials, rows_as_csv, table_rows


@dataclass
class GridSweeperConfig:
    """Hydra's description of `GridSweeper`; `params` may hold a sweep, so that an experiment file can."""

    _target_: str = "wavesweep.sweep.grid.GridSweeper"
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
        left = [point for key, point in by_key.items() if found[key] is None or lacks_export(point.settings, key)]
        if left:
            # An export needs no GPU.
            settings = [replace(p.settings, device="auto") if found[p.key] else p.settings for p in left]
            check_ready(settings, self.launcher)
        _describe(points, arguments)
        names = _names(points)
        here = isinstance(self.launcher, BasicLauncher)
        # A log gets a line per trial of this process anyway.
        with SweepMonitor(len(by_key), points[0].settings.progress, lines=not here) as monitor:
            for key, record in found.items():
                if record is None:
                    monitor.watch(by_key[key].directory, names[key])
                else:
                    monitor.cached(record, names[key])
            said = self._run(left, names, monitor)
        _summarise(points, sum(record is not None and "failed" not in record for record in found.values()), said)

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
        parsed = {line: parser.parse_override(line) for line in {line for point in grid for line in point}}
        all_settings = [composer.settings([parsed[line] for line in point]) for point in grid]
        for settings in all_settings:
            check(settings)
        for outputs in {settings.paths.outputs for settings in all_settings}:
            check_writable(Path(outputs))
        points = [
            Point(tuple(overrides), settings, trial_key(settings, input_digests(settings)))
            for overrides, settings in zip(grid, all_settings, strict=True)
        ]
        if len({point.settings.paths.outputs for point in points}) > 1:
            raise SettingsError("paths.outputs", "several", "cannot be swept", "give one directory to all points")
        return points

    def _found(self, point: Point) -> dict[str, Any] | None:
        """The record that spares the computation."""
        record = point.record()
        return None if record and "failed" in record and point.settings.retry_failed else record

    def _run(self, points: list[Point], names: Mapping[str, str], monitor: SweepMonitor) -> dict[str, str]:
        """Run the points; returns what ended those that recorded no failure, by key."""
        outcomes: dict[str, Outcome] = {}

        def launch_all(points: list[Point], on_busy: str) -> list[Point]:
            """Run them; returns those that are left."""
            launched = self._launch(points, on_busy, names, monitor)
            outcomes.update(zip((point.key for point in points), launched, strict=True))
            return [point for point in points if _is_left(point, outcomes[point.key])]

        # First what nobody else is computing, then wait for the rest: so processes share the work.
        left, before = launch_all(points, "skip"), len(points) + 1
        # A worker that dies takes others with it, which then have another chance.
        while left and len(left) < before:
            before = len(left)
            left = launch_all(left, "wait")
            lost = [outcomes[point.key] for point in left if point.record() is None]
            for outcome in lost:
                if isinstance(outcome, BaseException) and not isinstance(outcome, LostError):
                    raise outcome
            if len(lost) == len(points):  # nothing was computed, so it is the launcher that does not work
                raise LostError(str(lost[0]))
        return unrecorded(outcomes)

    def _launch(
        self, points: list[Point], on_busy: str, names: Mapping[str, str], monitor: SweepMonitor
    ) -> list[Outcome]:
        if not points:
            return []
        if not isinstance(self.launcher, BasicLauncher):
            assert self.launcher is not None
            settings = [f"on_busy={on_busy}", "progress=false"]  # one bar, that of the sweep
            return launch(self.launcher, [[*point.overrides, *settings] for point in points])
        started = time.perf_counter()
        outcomes: list[Outcome] = []
        for point in points:
            outcomes.append(run_here(point, on_busy))
            stop_if_told(outcomes[-1:])
            if point.settings.progress and not monitor.has_bar:
                _print_progress(names[point.key], len(points), outcomes, time.perf_counter() - started)
        return outcomes


def check_ready(all_settings: Sequence[Settings], launcher: Launcher | None) -> None:
    """Refuse what cannot be run: an absent device, data set or checkpoint, or one that does not fit.

    A cluster's machines may have the GPU that this one lacks.

    Raises:
        SettingsError: naming the setting.
    """
    # PyTorch takes seconds to import; a sweep that has all its records does without.
    from wavesweep.experiment.baseline import load_workload
    from wavesweep.experiment.plan import check_inputs, selection_notes
    from wavesweep.pruning.plan import plan_tensors
    from wavesweep.runtime.devices import choose_device

    patterns: list[list[str]] = []
    for settings in all_settings:
        if runs_here(launcher):
            choose_device(settings.device)
        with logging_enabled(settings.progress):
            workload = load_workload(settings)
            check_inputs(settings, workload)
        names = [plan.name for plan in plan_tensors(workload.model, settings, workload.dataset.input_shape)]
        patterns.append(selection_notes(names, settings.layers))
    for note in patterns[0] if patterns else []:  # most likely misspelt, which should be known before the trials
        if all(note in notes for notes in patterns):
            print(f"note: {note}", file=sys.stderr, flush=True)


def run_here(point: Point, on_busy: str) -> Outcome:
    """Run a point in this process. Hydra's launcher would compose its settings once more, which takes longer than a
    small network's trial."""
    from wavesweep.experiment.export import export_trial
    from wavesweep.experiment.trial import objective, run_trial

    settings = replace(point.settings, on_busy=on_busy)
    try:
        record = run_trial(settings)
        export_trial(settings, record)
        return objective(record)
    except WavesweepError as error:
        return error.with_traceback(None)  # whose frames hold what the trial needed


def unrecorded(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """What ended jobs, by key, where no record of a failure says it."""
    return {
        key: str(outcome) or type(outcome).__name__
        for key, outcome in outcomes.items()
        if isinstance(outcome, BaseException) and not isinstance(outcome, TrialError)
    }


def _is_left(point: Point, outcome: Outcome) -> bool:
    """Whether a point that was run has no record, or no export because another process had it or its worker died."""
    if point.record() is None:
        return not isinstance(outcome, ShortMemoryError)
    return isinstance(outcome, BusyError | LostError) and lacks_export(point.settings, point.key)


def _print_progress(name: str, count: int, outcomes: Sequence[Outcome], seconds: float) -> None:
    last, done = outcomes[-1], len(outcomes)
    if isinstance(last, float):
        outcome = f"validation {100 * last:.2f} %"
    else:
        outcome = "busy elsewhere, later" if isinstance(last, BusyError) else "failed"
    each = seconds / done
    print(
        f"[{done}/{count}] {name}: {outcome} ({each:.2f} s per trial, {each * (count - done):.0f} s left)",
        file=sys.stderr,
        flush=True,
    )


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


def _describe(points: Sequence[Point], arguments: Sequence[str]) -> None:
    """Write down which trials the sweep has, and which of them an experiment asks for, before the first one runs.

    The same trials may be those of several experiments, so what an earlier sweep of them was is kept.
    """
    path = _directory(points) / "sweep.json"
    before = read_json(path) or {}
    experiments: dict[str, list[str]] = dict(before.get("experiments", {}))
    for point in points:
        given = dict(line.lstrip("+").partition("=")[::2] for line in point.overrides).get("experiment", "null")
        if given != "null":
            experiments[given] = sorted({*experiments.get(given, []), point.key})
    keys = list(dict.fromkeys(point.key for point in points))
    now = {"arguments": list(arguments), "experiments": experiments, "keys": keys}
    if now != before:
        write_json(path, now)


def _summarise(points: Sequence[Point], finished_before: int, said: Mapping[str, str]) -> None:
    """Print the table of all points and write it; raise if some failed."""
    entries: list[Entry] = []
    for point in points:
        swept = dict(line.partition("=")[::2] for line in point.overrides)
        entries.append((swept, point.record() or {"failed": said.get(point.key, "no record was written")}))
    settings = points[0].settings
    print_trials(entries, settings)
    outputs = Path(settings.paths.outputs)
    table_path = _directory(points) / "trials.csv"
    rows = table_rows(entries)
    write_atomically(table_path, rows_as_csv(rows).encode())
    keys = list(dict.fromkeys(point.key for point in points))
    failed = {point.key for point, (_, record) in zip(points, entries, strict=True) if "failed" in record}
    same = sum(row.get("note", "").startswith("=") for row in rows)
    print(
        f"{len(keys)} trials: {len(keys) - len(failed)} done ({finished_before} of them before this run), "
        f"{len(failed)} failed" + (f"; {same} equal to another, not computed again" if same else "")
    )
    print(f"records: {outputs / 'runs'}   table: {table_path}")
    problems = [f"{len(failed)} of {len(keys)} trials failed, see the table"] if failed else []
    problems += export_problems(settings, keys, said)
    if problems:
        raise TrialError(f"{'; '.join(problems)}; retry_failed=true runs them again")
