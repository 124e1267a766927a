"""What a sweep needs of a launcher, and what becomes of the jobs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from wavesweep.errors import DeviceError, StoreError, TrialError, WavesweepError
from wavesweep.runtime.signals import interrupted

# What became of a job: its objective, or the error that ended it.
Outcome = float | BaseException


class LostError(WavesweepError):
    """The process of a job ended without an outcome: killed, out of memory, or over its time limit."""


class Launcher(Protocol):
    """Runs jobs in other processes. Functions take None for a launcher where jobs run in this process."""

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the jobs run on this machine."""

    @property
    def jobs_at_once(self) -> int:
        """How many jobs run at the same time."""

    def launch(self, jobs: Sequence[Sequence[str]]) -> list[Outcome]:
        """Run the jobs, each given by its overrides; their outcomes, in their order."""


class Jobs(Protocol):
    """What surrounds the jobs of this process. Functions take None where nothing does."""

    def run(self, overrides: Sequence[str], job: Callable[[Callable[[Path], None]], float]) -> float:
        """The objective of a job, which calls what it is given with its directory when its trial begins."""


def raise_if_fatal(outcomes: Sequence[Outcome]) -> None:
    """End the sweep where it makes no sense to continue: after Ctrl-C, with a full disk, with an unusable GPU."""
    if interrupted():
        raise KeyboardInterrupt
    for outcome in outcomes:
        if isinstance(outcome, StoreError | DeviceError):
            raise outcome


def unrecorded(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """What ended jobs, by key, where no record of a failure says it."""
    return {
        key: str(outcome) or type(outcome).__name__
        for key, outcome in outcomes.items()
        if isinstance(outcome, BaseException) and not isinstance(outcome, TrialError)
    }


def pace(done: int, left: int, seconds: float) -> str:
    """How long a trial takes, and the rest of them, when `done` took `seconds`."""
    each = seconds / max(done, 1)
    return f"{each:.2f} s per trial, {each * left:.0f} s left"
