"""Running the jobs of a sweep with one of Hydra's launchers: joblib, submitit, Ray.

They differ in what they do when a process dies, and in how many processes they start at once.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import joblib
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.plugins.launcher import Launcher
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
from omegaconf import OmegaConf

from wavesweep.errors import DeviceError, SettingsError, StoreError, WavesweepError
from wavesweep.runtime.signals import interrupted
from wavesweep.runtime.workers import init_worker

# What a worker imports while it starts: the module of the task that it is given.
_TASK_MODULE = "wavesweep.cli.app"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
# What became of a job: its objective, or the error that ended it.
Outcome = float | BaseException


class LostError(WavesweepError):
    """The process of a job ended without an outcome: killed, out of memory, or over its time limit."""


def launch(launcher: Launcher, jobs: Sequence[Sequence[str]]) -> list[Outcome]:
    """Run the jobs, each given by its overrides, and return what became of them, in their order.

    Raises:
        StoreError: records cannot be written.
        DeviceError: the GPU failed.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    outcomes: list[Outcome] = []
    with _prepared(launcher, len(jobs)) as size:
        for start in range(0, len(jobs), size):
            outcomes += _launch_batch(launcher, jobs[start : start + size], start)
    return outcomes


def runs_here(launcher: Launcher | None) -> bool:
    """Whether the jobs run on this machine; those of submitit and Ray may run on others."""
    return launcher is None or isinstance(launcher, BasicLauncher | JoblibLauncher) or _is_local(launcher)


def jobs_at_once(launcher: Launcher) -> int:
    """How many jobs a launcher runs at the same time: as it is told, or one per core of this machine."""
    if isinstance(launcher, BasicLauncher):
        return 1
    if isinstance(launcher, JoblibLauncher):
        return int(joblib.effective_n_jobs(launcher.joblib["n_jobs"] or 1))
    settings = getattr(launcher, "params", None) or {}
    return int(settings.get("array_parallelism") or _cores()) if not _is_local(launcher) else _cores()


def stop_if_told(outcomes: Sequence[Outcome]) -> None:
    """End the sweep where going on makes no sense: after Ctrl-C, when the disk is full, when the GPU is unusable."""
    if interrupted():
        raise KeyboardInterrupt
    for outcome in outcomes:
        if isinstance(outcome, StoreError | DeviceError):
            raise outcome


def _launch_batch(launcher: Launcher, jobs: Sequence[Sequence[str]], number: int) -> list[Outcome]:
    outcomes: list[Outcome]
    try:
        with _cores_shared(launcher, len(jobs)):
            returned = launcher.launch(jobs, initial_job_idx=number)
        outcomes = [job._return_value for job in returned]  # job.return_value would print lines of its own
    except Exception as error:
        if isinstance(error, WavesweepError):
            raise
        # The launcher gave up. What its jobs had finished is on the disk.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        print(f"a worker ended: {reason}; what it left is run again", file=sys.stderr, flush=True)
        outcomes = [LostError(f"the job ended without a record ({reason})") for _ in jobs]
    stop_if_told(outcomes)
    return outcomes


@contextmanager
def _prepared(launcher: Launcher, count: int) -> Iterator[int]:
    """The launcher as `count` jobs need it, and how many of them to hand to it at a time."""
    if isinstance(launcher, JoblibLauncher):
        wanted = launcher.joblib["n_jobs"]
        if wanted == 0:
            raise SettingsError("hydra.launcher.n_jobs", wanted, "must be a number of processes, or -1 for all cores")
        # Each has the threads of cores // n_jobs, so none should be idle; the next batch may be a larger one.
        launcher.joblib["n_jobs"] = min(joblib.effective_n_jobs(wanted), count)
        launcher.joblib["initializer"] = partial(init_worker, _TASK_MODULE)
        try:
            yield count
        finally:
            launcher.joblib["n_jobs"] = wanted
        return
    if _is(launcher, "RayLauncher"):
        given = OmegaConf.to_container(launcher.ray_cfg)  # type: ignore[attr-defined]  # of the plugin's type
        assert isinstance(given, dict)
        options = {"log_to_driver": False, "logging_level": "warning"}
        if given["init"].get("address") is None:  # a Ray of our own, not a cluster's
            options["include_dashboard"] = False
        launcher.ray_cfg = OmegaConf.create({**given, "init": {**options, **given["init"]}})  # type: ignore[attr-defined]
    # A local one starts a process for each job at once.
    yield _cores() if _is_local(launcher) else count


@contextmanager
def _cores_shared(launcher: Launcher, processes: int) -> Iterator[None]:
    """Have the processes that are started share the cores of this machine, if the launcher does not see to that.

    joblib and Ray do: each process gets as many threads as there are cores for it. A user's own OMP_NUM_THREADS is
    kept, and holds for MKL too, for which joblib would choose a number of its own that PyTorch prefers.
    """
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen is None and _is_local(launcher):
        chosen = str(max(1, _cores() // processes))
    added = [name for name in _THREADS if chosen is not None and name not in os.environ]
    os.environ.update({name: str(chosen) for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _is_local(launcher: Launcher) -> bool:
    return _is(launcher, "LocalLauncher")


def _is(launcher: Launcher, name: str) -> bool:
    """By name, so that the plugin need not be there."""
    return type(launcher).__name__ == name


def _cores() -> int:
    return int(joblib.cpu_count())
