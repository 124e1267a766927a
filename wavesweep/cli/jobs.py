"""Hydra's jobs: each is a trial that is computed, and its callbacks learn where the record is.

Hydra starts a job before anybody knows whether its trial has a record, or is another process's at the moment. So its
callbacks are kept back until the trial begins to be computed: they are called once per computed trial, however often a
sweep asks for it and whichever launcher runs it.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from wavesweep.cli.hydra_errors import one_line
from wavesweep.cli.hydra_internals import HydraCallbacks, outcome_of
from wavesweep.cli.hydra_settings import check_hydra
from wavesweep.errors import SettingsError


class TrialCallbacks(HydraCallbacks):
    """The callbacks of a run or a sweep; those of a job are called for a trial that is computed.

    `config.hydra.runtime.output_dir` is then the trial's directory, which has its record when the job has ended.

    Raises:
        SettingsError: the configuration has something of Hydra's that means nothing here.
    """

    _of_this_job: ClassVar["TrialCallbacks | None"] = None

    def __init__(self, config: DictConfig | None = None) -> None:
        if config is not None:
            check_hydra(config)
        self._job: tuple[DictConfig, TaskFunction] | None = None
        self._directory: Path | None = None
        try:
            with warnings.catch_warnings():
                # It advises to list what may be imported; what the user's own configuration names is the user's choice.
                warnings.filterwarnings("ignore", message=r"hydra\.utils\.instantiate\(\) resolved _target_")
                super().__init__(config)
        except HydraException as error:
            reason = one_line(error.__cause__ or error)
            text = f"hydra.callbacks: one cannot be made: {reason}; its _target_ must be a class that Python can import"
            raise SettingsError.from_text(text, "hydra.callbacks") from None

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **rest: Any) -> None:
        """Keep the job for the moment in which its trial begins."""
        self._job, self._directory = (config, task_function), None
        TrialCallbacks._of_this_job = self

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **rest: Any) -> None:
        """Call the callbacks, if a trial began."""
        TrialCallbacks._of_this_job = self._job = None
        if self._directory is None:
            return
        if job_return.hydra_cfg is not None:
            _set_directory(job_return.hydra_cfg.hydra, self._directory)
        error = outcome_of(job_return)
        if isinstance(error, SystemExit) and error.__cause__ is not None:  # what ends a single run, without a traceback
            job_return.return_value = error.__cause__
        super().on_job_end(config=config, job_return=job_return, **rest)

    def _start(self, directory: Path) -> None:
        assert self._job is not None
        config, task = self._job
        self._directory = directory.absolute()
        for hydra in (config.hydra, HydraConfig.get()):
            _set_directory(hydra, self._directory)
        super().on_job_start(config=config, task_function=task)

    @classmethod
    def trial_started(cls, directory: Path) -> None:
        """Say that the trial of this process's job is being computed in `directory`; no job, no callbacks."""
        if cls._of_this_job is not None:
            cls._of_this_job._start(directory)


def _set_directory(hydra: Any, directory: Path) -> None:
    with read_write(hydra):
        hydra.runtime.output_dir = os.fspath(directory)


@dataclass(frozen=True)
class HydraJobs:
    """Runs the jobs of a sweep in this process as Hydra does: with its callbacks, environment and logging."""

    context: HydraContext
    config: DictConfig
    _numbers: "count[int]" = field(default_factory=count)

    def run(self, overrides: Sequence[str], job: Callable[[Callable[[Path], None]], float]) -> float:
        """The objective of one job, which is given what to call with its directory when its trial begins."""
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        number = next(self._numbers)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        returned = run_job(
            hydra_context=self.context,
            task_function=lambda _: job(TrialCallbacks.trial_started),
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        outcome = outcome_of(returned)
        if isinstance(outcome, BaseException):
            raise outcome
        return float(outcome)


def jobs_of(context: HydraContext, config: DictConfig) -> HydraJobs | None:
    """The jobs of a sweep, where they differ from a plain call: composing each anew takes longer than small trials."""
    hydra = config.hydra
    wanted = bool(hydra.callbacks) or bool(hydra.job.env_set)
    logs = hydra.job_logging is not None and OmegaConf.select(hydra, "job_logging.root") is not None
    return HydraJobs(context, config) if wanted or logs else None
