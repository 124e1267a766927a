"""Running the jobs of a sweep with one of Hydra's launchers: joblib, submitit, Ray.

They differ in what they do when a process dies, and in how many processes they start at once.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import joblib
from hydra.plugins.launcher import Launcher

from wavesweep.cli.hydra_internals import (
    LauncherKind,
    joblib_with,
    joblib_workers,
    launcher_kind,
    outcome_of,
    parallel_tasks,
    quieten_ray,
)
from wavesweep.errors import SettingsError, WavesweepError
from wavesweep.runtime.terminal import say_aside
from wavesweep.runtime.workers import init_worker
from wavesweep.sweep.launch import LostError, Outcome, raise_if_fatal

# What a worker imports while it starts: the module of the task that it is given.
_TASK_MODULE = "wavesweep.cli.app"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class HydraLauncher:
    """One of Hydra's launchers as `wavesweep.sweep.launch.Launcher`: it runs jobs in other processes."""

    launcher: Launcher
    kind: LauncherKind

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the jobs run here; those of Slurm and Ray may run on other machines."""
        return self.kind in (LauncherKind.JOBLIB, LauncherKind.SUBMITIT_LOCAL)

    @property
    def jobs_at_once(self) -> int:
        """How many jobs run at the same time: as the launcher is told, or one per core of this machine."""
        if self.kind == LauncherKind.JOBLIB:
            return int(joblib.effective_n_jobs(joblib_workers(self.launcher) or 1))
        if self.kind == LauncherKind.SUBMITIT_LOCAL:
            return _cores()
        return parallel_tasks(self.launcher) or _cores()

    def launch(self, jobs: Sequence[Sequence[str]]) -> list[Outcome]:
        """Run the jobs, each given by its overrides, and return what became of them, in their order.

        Raises:
            SettingsError: the launcher is told to use no process.
            StoreError: records cannot be written.
            DeviceError: the GPU failed.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        outcomes: list[Outcome] = []
        with self.prepared(len(jobs)) as size:
            for start in range(0, len(jobs), size):
                outcomes += self._launch_batch(jobs[start : start + size], start)
        return outcomes

    def _launch_batch(self, jobs: Sequence[Sequence[str]], number: int) -> list[Outcome]:
        outcomes: list[Outcome]
        try:
            with self._cores_shared(len(jobs)):
                returned = self.launcher.launch(jobs, initial_job_idx=number)
            outcomes = [outcome_of(job) for job in returned]
        except Exception as error:
            if isinstance(error, WavesweepError):
                raise
            # What the jobs of a launcher that failed had finished is on the disk.
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            say_aside(f"a worker ended: {reason}; its unfinished trials are run again")
            outcomes = [LostError(f"the job ended without a record ({reason})") for _ in jobs]
        raise_if_fatal(outcomes)
        return outcomes

    @contextmanager
    def prepared(self, count: int) -> Iterator[int]:
        """The launcher as `count` jobs need it, and how many of them to hand to it at a time."""
        if self.kind == LauncherKind.JOBLIB:
            wanted = joblib_workers(self.launcher)
            if wanted == 0:
                allowed = "must be a number of processes, or -1 for all cores"
                raise SettingsError("hydra.launcher.n_jobs", wanted, allowed)
            # Each has the threads of cores // n_jobs, so none should be idle; the next batch may be a larger one.
            workers = min(joblib.effective_n_jobs(wanted), count)
            with joblib_with(self.launcher, workers, partial(init_worker, _TASK_MODULE)):
                yield count
            return
        if self.kind == LauncherKind.RAY:
            quieten_ray(self.launcher)
        # submitit's local launcher starts a process for each job at once.
        yield _cores() if self.kind == LauncherKind.SUBMITIT_LOCAL else count

    @contextmanager
    def _cores_shared(self, processes: int) -> Iterator[None]:
        """Have the processes that are started share the cores of this machine, if the launcher does not see to that.

        joblib and Ray do: each process gets as many threads as there are cores for it. A user's own OMP_NUM_THREADS
        is kept, and holds for MKL too, for which joblib would choose a number of its own that PyTorch prefers.
        """
        chosen = os.environ.get("OMP_NUM_THREADS")
        if chosen is None and self.kind == LauncherKind.SUBMITIT_LOCAL:
            chosen = str(max(1, _cores() // processes))
        added = [name for name in _THREADS if chosen is not None and name not in os.environ]
        os.environ.update({name: str(chosen) for name in added})
        try:
            yield
        finally:
            for name in added:
                del os.environ[name]


def sweep_launcher(launcher: Launcher) -> HydraLauncher | None:
    """What a sweep takes for one of Hydra's launchers; None for the one that runs jobs in this process."""
    kind = launcher_kind(launcher)
    return None if kind == LauncherKind.IN_PROCESS else HydraLauncher(launcher, kind)


def _cores() -> int:
    return int(joblib.cpu_count())
