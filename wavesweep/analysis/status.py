"""The state of every sweep, study and trial under an outputs directory: `python -m analysis.status outputs/`.

It reads files and asks whether their locks are held; it changes nothing.
"""

import csv
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from wavesweep.analysis.command import checked_outputs, outputs_argument, run
from wavesweep.analysis.studies import Study, stopped_early, studies
from wavesweep.runtime.records import FAILURE_FILE

RESULT_FILE, LOCK_FILE = "result.json", ".lock"
_MOST_LINES = 20


@dataclass(frozen=True)
class Sweep:
    """A grid sweep that ended: its number of trials, how many of them failed, and when its table was written."""

    name: str
    trials: int
    failed: int
    written: float  # seconds since 1970


@dataclass(frozen=True)
class Work:
    """Directories of one kind of computed result.

    Attributes:
        done: how many have their result.
        failed: how many have a failure and no result.
        running: names of those without either whose lock a process holds now.
        stopped: names of the others; the same command goes on with them.
        stopped_early: how many a search stopped early.
    """

    done: int
    failed: int
    running: tuple[str, ...]
    stopped: tuple[str, ...]
    stopped_early: int = 0


@dataclass(frozen=True)
class Status:
    """All of it."""

    sweeps: tuple[Sweep, ...]
    studies: tuple[Study, ...]
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
        studies=studies(outputs / "studies"),
        trials=_work(outputs / "runs", RESULT_FILE, stopped_early(outputs / "studies")),
        arms=_work(outputs / "arms", "arm.json"),
        baselines=_work(outputs / "baselines", "baseline.json"),
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
            f"written {_when(sweep.written)}"
        )
    text.append(f"studies: {len(found.studies)}")
    text += [f"  {study.line()}" for study in found.studies]
    for name, work in (("trials", found.trials), ("arms", found.arms), ("baselines", found.baselines)):
        text.append(
            f"{name}: {work.done} done, {work.failed} failed, {len(work.running)} running, "
            f"{len(work.stopped)} unfinished" + (f", {work.stopped_early} stopped early" if work.stopped_early else "")
        )
        text += _some([f"  {key}: running" for key in work.running])
        text += _some(
            [f"  {key}: unfinished, and no process works on it; the same command goes on" for key in work.stopped]
        )
    return text


def _some(names: list[str]) -> list[str]:
    return names if len(names) <= _MOST_LINES else [*names[:_MOST_LINES], f"  and {len(names) - _MOST_LINES} more"]


def main() -> None:
    """The command line."""
    arguments = outputs_argument("status", "Show the state of all sweeps, studies and trials.").parse_args()
    print("\n".join(lines(status(arguments.outputs))))


def _sweeps(directory: Path) -> tuple[Sweep, ...]:
    """The tables of sweeps, the one written last at the end. A sweep writes its table when it ends."""
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
    return tuple(sorted(found, key=lambda sweep: (sweep.written, sweep.name)))


def _work(directory: Path, result: str, left: Collection[str] = ()) -> Work:
    done = failed = stopped_early = 0
    running: list[str] = []
    stopped: list[str] = []
    for path in _directories(directory):
        if (path / result).exists():
            done += 1
        elif lock_is_held(path):  # before the failure: an earlier one is there while the trial runs again
            running.append(path.name)
        elif (path / result).exists():  # it ended in the meantime
            done += 1
        elif (path / FAILURE_FILE).exists():
            failed += 1
        elif path.name in left:
            stopped_early += 1
        else:
            stopped.append(path.name)
    return Work(done, failed, tuple(running), tuple(stopped), stopped_early)


def _directories(directory: Path) -> Sequence[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


if __name__ == "__main__":
    sys.exit(run(main))
