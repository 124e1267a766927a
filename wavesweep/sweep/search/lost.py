"""Finished trials of a study whose records have gone: they are computed again, as a study keeps only their numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from wavesweep.errors import WavesweepError
from wavesweep.runtime.records import read_trial
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings.keys import trial_directory
from wavesweep.sweep.grid import run_left
from wavesweep.sweep.launch import Jobs, Launcher
from wavesweep.sweep.point import Point
from wavesweep.sweep.search.space import Points

# A trial that was complete is not to be stopped early; of exports the front's come at the end.
_AS_THEY_WERE = ("export=none", "search.early_images=null")


@dataclass(frozen=True)
class Lost:
    """Complete trials without a record: their points, with a name each by their keys, and those that are other now.

    `others` are numbers of trials whose parameters no longer make the trial that they were: a checkpoint or the images
    have changed, or the version of wavesweep.
    """

    points: tuple[Point, ...]
    names: Mapping[str, str]
    others: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.points or self.others)


def lost_trials(trials: Sequence[FrozenTrial], points: Points) -> Lost:
    """The complete trials, except those of earlier sweeps, that have no record any more."""
    found: dict[str, Point] = {}
    names: dict[str, str] = {}
    others = []
    for trial in trials:
        key = trial.user_attrs.get("key")
        if trial.state != TrialState.COMPLETE or trial.user_attrs.get("warm_start") or not isinstance(key, str):
            continue
        if read_trial(trial_directory(points.base, key)) is not None:
            continue
        point = _point(trial, points)
        if point is None or point.key != key:
            others.append(trial.number)
        else:
            found[key], names[key] = point, f"trial {trial.number}"
    return Lost(tuple(found.values()), names, tuple(others))


def _point(trial: FrozenTrial, points: Points) -> Point | None:
    try:
        settings = points.settings(trial.params)
        settings = replace(settings, export="none", search=replace(settings.search, early_images=None))
        return Point((*points.space.lines(trial.params), *_AS_THEY_WERE), settings, points.key(settings))
    except WavesweepError:
        return None


def compute_lost(
    lost: Lost, launcher: Launcher | None, shown: bool, directory: Path, jobs: Jobs | None = None
) -> list[str]:
    """Compute the lost records again; returns what to say of those that could not be.

    Raises:
        StoreError: records cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    problems = []
    if lost.points:
        count = len(lost.points)
        text = f"{count} finished trials of {directory} have no record any more; they are computed again"
        say_aside(text)
        reasons = run_left(lost.points, launcher, lost.names if shown else {}, jobs)
        if left := [point for point in lost.points if "arms" not in (point.record() or {})]:
            records = (reasons.get(point.key) or (point.record() or {}).get("failed", "") for point in left)
            problems.append(f"{len(left)} lost records could not be computed again ({next(iter(records))})")
    if lost.others:
        numbers = ", ".join(map(str, lost.others[:10])) + (", ..." if len(lost.others) > 10 else "")
        text = (
            f"note: the records of trials {numbers} of {directory} are gone and cannot be computed again, as the files "
            "or the version of wavesweep that they were made with are other now; search.study=NAME begins a new study"
        )
        say_aside(text)
    return problems
