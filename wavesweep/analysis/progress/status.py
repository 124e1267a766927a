"""How far the sweeps, searches and trials under an outputs directory are.

It reads files and asks whether their locks are held; it changes nothing.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from msgspec import Struct

from wavesweep.analysis.progress.searches import Search, searches, stopped_early
from wavesweep.analysis.table.outputs import checked_outputs
from wavesweep.errors import StoreError
from wavesweep.runtime.records import FAILURE_FILE, RESULT_FILE, read_json
from wavesweep.runtime.shapes import Arm, Baseline, Failure, Trial

LOCK_FILE = ".lock"
_MOST_LINES = 20


@dataclass(frozen=True)
class Sweep:
    """A grid sweep that ended: its number of trials, how many of them failed, and when its table was written."""

    name: str
    trials: int
    failed: int
    written_at: float  # seconds since 1970


@dataclass(frozen=True)
class Work:
    """Directories of one kind of computed result.

    Attributes:
        done: how many have their result.
        failed: how many have a failure and no result.
        running: names of those without a result whose lock a process holds now.
        unfinished: names of the others; the same command continues them.
        stopped_early: how many a search stopped early.
    """

    done: int
    failed: int
    running: tuple[str, ...]
    unfinished: tuple[str, ...]
    stopped_early: int = 0


@dataclass(frozen=True)
class Status:
    """Sweeps that ended, searches, and what is computed of trials, arms and baselines."""

    sweeps: tuple[Sweep, ...]
    searches: tuple[Search, ...]
    trials: Work
    arms: Work
    baselines: Work


def status(outputs: Path) -> Status:
    """What is there, done, failed, unfinished and being computed.

    Raises:
        WrongArgumentError: `outputs` is no directory.
    """
    checked_outputs(outputs)
    return Status(
        sweeps=_sweeps(outputs / "sweeps"),
        searches=searches(outputs / "studies"),
        trials=_work(outputs / "runs", RESULT_FILE, Trial, stopped_early(outputs / "studies")),
        arms=_work(outputs / "arms", "arm.json", Arm),
        baselines=_work(outputs / "baselines", "baseline.json", Baseline),
    )


def lock_is_held(directory: Path) -> bool:
    """Whether a process holds the lock of `directory` now; neither waits nor leaves a file behind."""
    path = directory / LOCK_FILE
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False  # of another user, or on a read-only disk: nobody can be asked
    lock.release()
    return False


def lines(found: Status) -> list[str]:
    """The status as text."""
    text = [f"sweeps that ended: {len(found.sweeps)}"]
    for sweep in found.sweeps:
        text.append(
            f"  {sweep.name}: {sweep.trials} trials, {sweep.trials - sweep.failed} done, {sweep.failed} failed, "
            f"written {_when(sweep.written_at)}"
        )
    text.append(f"studies: {len(found.searches)}")
    text += [f"  {search.line()}" for search in found.searches]
    for name, work in (("trials", found.trials), ("arms", found.arms), ("baselines", found.baselines)):
        text.append(
            f"{name}: {work.done} done, {work.failed} failed, {len(work.running)} running, "
            f"{len(work.unfinished)} unfinished"
            + (f", {work.stopped_early} stopped early" if work.stopped_early else "")
        )
        text += _head([f"  {key}: running" for key in work.running])
        text += _head(
            [
                f"  {key}: unfinished, and no process works on it; the same command continues it"
                for key in work.unfinished
            ]
        )
    return text


def _head(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_LINES else [*names[:_MOST_LINES], f"  and {len(names) - _MOST_LINES} more"]


def _sweeps(directory: Path) -> tuple[Sweep, ...]:
    """The sweeps that have a table, which a sweep writes when it ends; the one written last comes last."""
    found = []
    for path in directory.glob("*/trials.csv"):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                notes = [row.get("note") or "" for row in csv.DictReader(file)]
            written = path.stat().st_mtime
        except (OSError, ValueError, csv.Error):
            continue
        failed = sum(note.startswith("failed") for note in notes)
        found.append(Sweep(path.parent.name, len(notes), failed, written))
    return tuple(sorted(found, key=lambda sweep: (sweep.written_at, sweep.name)))


def _work(directory: Path, result: str, shape: type[Struct], stopped_keys: Collection[str] = ()) -> Work:
    done = failed = stopped = 0
    running: list[str] = []
    unfinished: list[str] = []
    for path in _directories(directory):
        if _is_whole(path / result, shape):
            done += 1
        elif lock_is_held(path):  # asked before the failure, which stays there while the trial runs again
            running.append(path.name)
        elif _is_whole(path / result, shape):  # it ended in the meantime
            done += 1
        elif _is_whole(path / FAILURE_FILE, Failure):
            failed += 1
        elif path.name in stopped_keys:
            stopped += 1
        else:
            unfinished.append(path.name)
    return Work(done, failed, tuple(running), tuple(unfinished), stopped)


def _is_whole(path: Path, shape: type[Struct]) -> bool:
    """Whether a result is there that need not be computed again."""
    try:
        return read_json(path, shape) is not None
    except StoreError:  # nobody knows
        return path.exists()


def _directories(directory: Path) -> Sequence[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
