"""The points of a sweep: what is checked of all before the first one runs, and how they run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wavesweep.errors import SettingsError, TrialError, WavesweepError
from wavesweep.experiment.inputs import input_digests
from wavesweep.runtime.progress import logging_enabled
from wavesweep.runtime.records import FAILURE_FILE, read_failure, read_trial
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings.keys import trial_directory, trial_key
from wavesweep.settings.rules import check
from wavesweep.settings.schema import Settings
from wavesweep.sweep.launch import Jobs, Launcher, Outcome, raise_if_fatal


@dataclass(frozen=True)
class Point:
    """One point of a sweep: its overrides as given, the settings they make, and the trial's key."""

    overrides: tuple[str, ...]
    settings: Settings
    key: str

    @property
    def directory(self) -> Path:
        """Where the trial's record lies."""
        return trial_directory(self.settings, self.key)

    def record(self) -> dict[str, Any] | None:
        """The trial's record, or its failure, or None while there is neither."""
        result = read_trial(self.directory)
        reason = None if result else read_failure(self.directory / FAILURE_FILE)
        return result if reason is None else {"failed": reason}


def checked_points(composed: Sequence[tuple[tuple[str, ...], Settings]]) -> list[Point]:
    """The points of a grid, from the overrides and the settings of each.

    Raises:
        SettingsError: the settings of a point are wrong, or points have different directories for their records.
    """
    for _, settings in composed:
        check(settings)
    directories = {settings.paths.outputs for _, settings in composed}
    points = [Point(lines, settings, trial_key(settings, input_digests(settings))) for lines, settings in composed]
    if len(directories) > 1:
        raise SettingsError("paths.outputs", "several", "cannot be swept", "give one directory to all points")
    return points


def check_ready(all_settings: Sequence[Settings], launcher: Launcher | None) -> None:
    """Refuse what cannot be run: an absent device, data set or checkpoint, or one that does not fit.

    Args:
        all_settings: of the trials that are to run.
        launcher: of the trials; None for this process. A cluster's machines may have the GPU that this one lacks.

    Raises:
        SettingsError: naming the setting.
    """
    # PyTorch takes seconds to import; a sweep that has all its records does without.
    from wavesweep.compression.plan import selection_notes
    from wavesweep.experiment.baseline import load_workload
    from wavesweep.experiment.checks import check_inputs
    from wavesweep.pruning.plan import plan_tensors
    from wavesweep.runtime.devices import choose_device

    patterns: list[list[str]] = []
    for settings in all_settings:
        if launcher is None or launcher.is_on_this_machine:
            choose_device(settings.device)
        with logging_enabled(settings.progress):
            workload = load_workload(settings)
            check_inputs(settings, workload)
        names = [plan.name for plan in plan_tensors(workload.model, settings, workload.dataset.input_shape)]
        patterns.append(selection_notes(names, settings.layers))
    for note in patterns[0] if patterns else []:  # most likely misspelt, which should be known before the trials
        if all(note in notes for notes in patterns):
            say_aside(f"note: {note}")


def transforms_nothing(settings: Settings) -> str | None:
    """Why a trial that is ready would fail at once: its wavelet is too long for every axis; None where it would not."""
    from wavesweep.compression.plan import plan_pruned
    from wavesweep.experiment.baseline import load_workload

    with logging_enabled(settings.progress):
        workload = load_workload(settings)
        try:
            plan_pruned(workload.model, settings, workload.dataset.input_shape)
        except TrialError as error:
            return str(error)
    return None


def run_points(
    points: Sequence[Point],
    launcher: Launcher | None,
    on_busy: str,
    more: Sequence[str] = (),
    jobs: Jobs | None = None,
    ran: Callable[[Sequence[Outcome]], None] = lambda _: None,
) -> list[Outcome]:
    """Run the points by the launcher, or in this process for None; what became of them, in their order.

    Args:
        points: to run; there may be none.
        launcher: of the jobs.
        on_busy: what to do with a trial that another process computes: wait or skip.
        more: overrides of a launcher's jobs beside those of the points.
        jobs: what surrounds those of this process.
        ran: called with all outcomes so far after each point of this process.

    Raises:
        StoreError: records cannot be written.
        DeviceError: the GPU failed.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    if launcher is not None and points:
        lines = [f"on_busy={on_busy}", "progress=false", *more]  # one bar, that of the sweep
        return launcher.launch([[*point.overrides, *lines] for point in points])
    outcomes: list[Outcome] = []
    for point in points:
        outcomes.append(run_here(point, on_busy, jobs))
        raise_if_fatal(outcomes[-1:])
        ran(outcomes)
    return outcomes


def run_here(point: Point, on_busy: str, jobs: Jobs | None = None) -> Outcome:
    """Run a point in this process. Hydra's launcher would compose its settings once more, which takes longer than a
    small network's trial."""
    from wavesweep.experiment.export.trial import export_trial
    from wavesweep.experiment.trial import objective, run_trial

    settings = replace(point.settings, on_busy=on_busy)

    def job(started: Callable[[Path], None]) -> float:
        record = run_trial(settings, started)
        export_trial(settings, record)
        return objective(record)

    try:
        return jobs.run(point.overrides, job) if jobs else job(lambda _: None)
    except WavesweepError as error:
        return error.with_traceback(None)  # whose frames hold what the trial needed
