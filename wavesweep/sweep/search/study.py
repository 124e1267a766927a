"""A study that several processes share and that survives kills: what is asked and told, and what is repaired on entry.

`n_trials` counts the trials of the whole study that came to an end of their own: complete, pruned, or failed with an
error. A trial that a crash left running is put back into the queue once; one that crashes again is failed. Each process
holds the kernel's lock on a file of its own while it lives, by which the others know that its trials are not lost.
"""

import os
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from wavesweep.errors import SettingsError
from wavesweep.runtime.records import locked, storing
from wavesweep.runtime.shapes import StudyDescription, has_shape
from wavesweep.runtime.signals import held_back
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.samplers import tried_again
from wavesweep.sweep.search.stages import Given, nothing_given
from wavesweep.sweep.search.values import suggested

_ATTEMPTS = 2
_RUNNING = (TrialState.RUNNING,)
# Kinds of trials, as fields of `Counts`, that came to an end of their own.
_ENDED = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Description:
    """What must stay the same in a study: objectives, space and all other settings, as plain text."""

    directions: tuple[str, ...]
    objectives: tuple[str, ...]
    space: Mapping[str, str]
    settings: Mapping[str, str]

    def as_plain(self) -> dict[str, Any]:
        """The form that the storage keeps."""
        return {"objectives": list(self.objectives), "space": dict(self.space), "settings": dict(self.settings)}

    def changes_from(self, earlier: Mapping[str, Any]) -> list[str]:
        """What differs from the description of a study that exists."""
        changes = []
        if list(self.objectives) != earlier["objectives"]:
            changes.append(f"search.objectives was {earlier['objectives']}, is {list(self.objectives)}")
        before, now = ({**what["settings"], **what["space"]} for what in (earlier, self.as_plain()))
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                was, becomes = (one.get(key, "not set") for one in (before, now))
                changes.append(f"{key} was {was}, is {becomes}")
        return changes


@dataclass
class Counts:
    """Trials of a study by what became of them; `running` are those of living processes."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    crashed: int = 0
    running: int = 0
    warm: int = 0

    @property
    def ended(self) -> int:
        """Those that count towards `n_trials`."""
        return sum(getattr(self, kind) for kind in _ENDED)


@dataclass
class SharedStudy:
    """An Optuna study in `directory`, the storage that keeps it, and this process's part in it."""

    study: optuna.Study
    storage: BaseStorage
    directory: Path
    owner: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the other processes of this study from asking, and from counting, meanwhile."""
        with locked(self.directory):
            yield

    def reopen(self, storage: BaseStorage) -> None:
        """Read the study anew from a storage that was just opened."""
        self.study, self.storage = optuna.load_study(study_name=self.study.study_name, storage=storage), storage

    def counts(self) -> Counts:
        """How many trials of the study are in which state."""
        return Counts(**Counter(kind for _, kind in self._kinds() if kind))

    def ended_trials(self) -> list[FrozenTrial]:
        """The trials that count towards `n_trials`."""
        return [trial for trial, kind in self._kinds() if kind in _ENDED]

    def keys_taken(self) -> dict[str, int]:
        """Keys of the points that the study has, or is computing, with the number of their first trial."""
        taken: dict[str, int] = {}
        for trial, kind in self._kinds():
            known = trial.user_attrs
            if "key" in known and kind != "crashed" and "duplicate_of" not in known:
                taken.setdefault(known["key"], trial.number)
        return taken

    def ask(self, tree: Tree, given: Callable[[Sequence[FrozenTrial], int], Given] = nothing_given) -> Trial:
        """A new trial of this process, with a value for each key that its point takes, or one that is in the queue.

        `given` says, from all trials and how many of them count, what a new one does not leave to the sampler.
        """
        trials = self.study.get_trials(deepcopy=False)
        if all(trial.state != TrialState.WAITING for trial in trials):
            counts = self.counts()
            new = given(trials, counts.ended + counts.running)
            if new.params:
                self.study.enqueue_trial(new.params, user_attrs=new.notes)
        trial = self.study.ask()
        trial.set_user_attr("owner", self.owner)
        tree.walk(lambda key: suggested(trial, key, tree.distributions[key]))
        return trial

    def tell(self, number: int, values: Sequence[float]) -> None:
        """Tell what a trial reached."""
        self.study.tell(number, list(values), skip_if_finished=True)

    def tell_failed(self, number: int, **reason: str) -> None:
        """Mark a trial as failed: `error` in its computation, or `duplicate_of` another."""
        for name, text in reason.items():
            self.attribute(number, name, text)
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def tell_stopped_early(self, number: int, reason: str) -> None:
        """Mark a trial that was stopped early, which Optuna calls pruned."""
        self.attribute(number, "stopped_early", reason)
        self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def requeue(self, number: int, crashed: bool, error: str | None = None) -> None:
        """Fail a trial that did not end, and put its point back into the queue unless it crashed twice.

        `error`: with which it then counts as failed. Where a process died it is none: the machine may be the reason.
        """
        trial = self.storage.get_trial(self._id(number))
        attempt = int(trial.user_attrs.get("attempt", 1))
        is_last = crashed and attempt >= _ATTEMPTS
        if is_last and error is not None:
            self.tell_failed(trial.number, error=error)
            return
        self.tell_failed(trial.number, crash=error or ("its process ended" if crashed else "interrupted"))
        # One from the queue may not have taken its parameters yet.
        point = {**trial.user_attrs.get("point", {}), **trial.params}
        if point and not is_last:
            self.enqueue(point, attempt=attempt + crashed, again=trial.number)

    def enqueue(self, point: dict[str, Any], **attributes: int) -> None:
        """Put a point into the queue, from which `ask` takes it."""
        self.study.enqueue_trial(point, user_attrs={**attributes, "point": point})

    def requeue_failed(self) -> int:
        """Put the points of failed trials back into the queue; returns how many. Only under `locked`."""
        failed = [trial for trial, kind in self._kinds() if kind == "failed" and "key" in trial.user_attrs]
        for trial in failed:
            self.enqueue(trial.params, again=trial.number)
        return len(failed)

    def _kinds(self) -> list[tuple[FrozenTrial, str | None]]:
        trials = self.study.get_trials(deepcopy=False)
        again = tried_again(trials)
        return [(trial, _kind(trial, trial.number in again)) for trial in trials]

    def requeue_lost(self) -> int:
        """Put back the trials whose process is gone; returns how many. Only under `locked`."""
        lost = [trial for trial in self._running() if self._is_lost(trial)]
        for trial in lost:
            self.requeue(trial.number, crashed=True)
        for path in self._others():
            if not _is_held(path):
                path.unlink(missing_ok=True)
        return len(lost)

    def leave(self) -> None:
        """Put back what this process asked and did not tell, as after Ctrl-C."""
        with self.locked():
            for trial in self._running():
                # Under the lock nobody else is between asking and signing.
                if trial.user_attrs.get("owner") in (self.owner, None):
                    self.requeue(trial.number, crashed=False)

    def is_alone(self) -> bool:
        """Whether no other process works on the study now."""
        return not any(_is_held(path) for path in self._others())

    def _others(self) -> list[Path]:
        return [path for path in _owners(self.directory).glob("*.lock") if path.stem != self.owner]

    def _running(self) -> Sequence[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=_RUNNING)

    def _is_lost(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get("owner")
        if owner == self.owner:
            return False
        # Without an owner: killed between asking and signing, as both happen under the lock.
        return owner is None or not self._lives(str(owner))

    def _lives(self, owner: str) -> bool:
        """Whether that process lives. One of another machine that shares no files with this one is taken to live."""
        path = _owners(self.directory) / f"{owner}.lock"
        if path.exists():
            return _is_held(path)
        return owner.partition("_")[0] != _host()

    def attribute(self, number: int, name: str, value: Any) -> None:
        """Note something about a trial, unless it is finished."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # told by another process meanwhile
            self.storage.set_trial_user_attr(self._id(number), name, value)

    def _id(self, number: int) -> int:
        """By which the storage knows a trial."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)


@contextmanager
def joined(
    name: str,
    directory: Path,
    open_storage: Callable[[], BaseStorage],
    sampler_of: Callable[[Sequence[int]], BaseSampler],
    description: Description,
) -> Iterator[SharedStudy]:
    """Create the study, or continue it, and be one of its processes meanwhile.

    Args:
        name: of the study.
        directory: where the locks are; the same for all processes that share a file system.
        open_storage: opens, or makes, Optuna's storage; by one process at a time.
        sampler_of: makes the sampler from the number of trials there are and, beside others, the process' number.
        description: what must be as it was.

    Raises:
        SettingsError: the study exists with another description.
    """
    owner = f"{_host()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    path = _owners(directory) / f"{owner}.lock"
    lock = FileLock(path)
    try:
        with held_back(), locked(directory):  # half-made tables could not be opened again
            with storing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            storage = open_storage()
            study = _create_or_load(name, storage, description)
            shared = SharedStudy(study, storage, directory, owner)
            shared.requeue_lost()
            begun = len(study.get_trials(deepcopy=False))
            alone = shared.is_alone()
        study.sampler = sampler_of((begun, 0 if alone else os.getpid()))
        yield shared
    finally:
        lock.release()
        path.unlink(missing_ok=True)


def _create_or_load(name: str, storage: BaseStorage, description: Description) -> optuna.Study:
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=[optuna.study.StudyDirection[one.upper()] for one in description.directions],
        load_if_exists=True,
    )
    earlier = study.user_attrs.get("wavesweep")
    if earlier is None:
        if study.get_trials(deepcopy=False):
            raise SettingsError("search.study", name, "is a study that wavesweep did not make", "choose another name")
        study.set_user_attr("wavesweep", description.as_plain())
    elif not has_shape(earlier, StudyDescription):
        raise SettingsError(
            "search.study", name, "has a damaged description in its storage", "choose another name for a new study"
        )
    elif changes := description.changes_from(earlier):
        raise SettingsError(
            "search.study",
            name,
            f"exists with other settings: {'; '.join(changes)}",
            "give the settings it was made with, or another name (search.study=NAME) for a new study",
        )
    return study


def _kind(trial: FrozenTrial, is_tried_again: bool) -> str | None:
    """The field of `Counts` that the trial belongs to; None for duplicates and for those in the queue."""
    if trial.state == TrialState.COMPLETE:
        return "warm" if trial.user_attrs.get("warm_start") else "complete"
    if trial.state == TrialState.FAIL:
        if "crash" in trial.user_attrs or is_tried_again:
            return "crashed"
        return "failed" if "error" in trial.user_attrs else None
    return {TrialState.RUNNING: "running", TrialState.PRUNED: "pruned"}.get(trial.state)


def _owners(directory: Path) -> Path:
    return directory / "processes"


def _host() -> str:
    return socket.gethostname().replace("_", "-").replace("/", "-") or "host"


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock on `path`."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
