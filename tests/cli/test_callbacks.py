"""Callbacks of Hydra's jobs: called once for each trial that is computed, with its overrides and its directory."""

import json
import os
import pickle

import pytest
from command_line import QUICK, run
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, RunMode
from omegaconf import open_dict

from wavesweep.cli.composition import register_configuration
from wavesweep.cli.hydra_internals import configuration_loader, outcome_of
from wavesweep.cli.jobs import HydraJobs, TrialCallbacks, jobs_of
from wavesweep.errors import SettingsError, TrialError
from wavesweep.settings.schema import config_directory


class Calls(Callback):
    """Notes what it is told, in memory or, one line per event, in a file."""

    def __init__(self):
        self.events = []

    def on_job_start(self, config, task_function, **rest):
        assert callable(task_function)
        self.events.append(("start", config.hydra.runtime.output_dir, config.level))

    def on_job_end(self, config, job_return, **rest):
        directory = config.hydra.runtime.output_dir
        assert directory == job_return.hydra_cfg.hydra.runtime.output_dir == HydraConfig.get().runtime.output_dir
        assert "hydra" not in job_return.cfg
        self.events.append(("end", directory, job_return.overrides, job_return.status, outcome_of(job_return)))


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """The jobs of a sweep with one callback, and what it was told."""
    monkeypatch.chdir(tmp_path)
    register_configuration()
    loader = configuration_loader(config_directory())
    config = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN, from_shell=False)
    with open_dict(config):
        config.hydra.callbacks = {}
    callbacks = TrialCallbacks()
    callbacks.callbacks = [Calls()]
    return HydraJobs(HydraContext(config_loader=loader, callbacks=callbacks), config), callbacks.callbacks[0].events


def test_a_computed_trial_calls_them_with_its_directory_overrides_and_objective(jobs, tmp_path):
    runner, events = jobs

    def job(started):
        started(tmp_path / "runs" / "abc")
        return 0.5

    assert runner.run(["level=2", "seed=1"], job) == 0.5
    directory = str(tmp_path / "runs" / "abc")
    assert events == [
        ("start", directory, 2),
        ("end", directory, ["level=2", "seed=1"], JobStatus.COMPLETED, 0.5),
    ]


def test_a_trial_that_fails_is_told_with_its_error(jobs, tmp_path):
    runner, events = jobs

    def job(started):
        started(tmp_path)
        raise TrialError("no")

    with pytest.raises(TrialError, match=r"^no$"):
        runner.run(["level=2"], job)
    assert [event[0] for event in events] == ["start", "end"]
    assert events[1][3] == JobStatus.FAILED
    assert str(events[1][4]) == "no"


def test_a_trial_that_is_there_already_or_busy_or_refused_calls_none(jobs):
    runner, events = jobs
    assert runner.run([], lambda started: 0.5) == 0.5

    def refused(started):
        raise SettingsError("level", 0, "no")

    with pytest.raises(SettingsError):
        runner.run([], refused)
    assert events == []
    TrialCallbacks.trial_started("outside of a job")
    assert events == []


def test_jobs_have_numbers(jobs, tmp_path):
    runner, _ = jobs
    numbers = []

    def job(started):
        numbers.append((HydraConfig.get().job.num, HydraConfig.get().job.id))
        return 0.0

    for _ in range(2):
        runner.run([], job)
    assert numbers == [(0, "0"), (1, "1")]


def test_the_environment_of_a_job_is_set_for_it(jobs, monkeypatch):
    runner, _ = jobs
    monkeypatch.delenv("OF_THE_JOB", raising=False)
    values = []

    def job(started):
        values.append(os.environ.get("OF_THE_JOB"))
        return 0.0

    runner.run(["+hydra.job.env_set.OF_THE_JOB=yes"], job)
    assert values == ["yes"]
    assert "OF_THE_JOB" not in os.environ


def test_they_travel_to_workers():
    callbacks = TrialCallbacks()
    callbacks.callbacks = [Calls()]
    assert [type(one) for one in pickle.loads(pickle.dumps(callbacks)).callbacks] == [Calls]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], False),
        (["+hydra.callbacks.a={_target_: a.B}"], True),
        (["+hydra.job.env_set.A=1"], True),
        (["hydra/job_logging=default"], True),
    ],
)
def test_hydras_jobs_are_made_only_where_they_differ_from_a_plain_call(jobs, lines, wanted):
    runner, _ = jobs
    loader = runner.context.config_loader
    config = loader.load_configuration("config", lines, run_mode=RunMode.MULTIRUN, from_shell=False)
    assert (jobs_of(runner.context, config) is not None) == wanted


def test_a_callback_that_cannot_be_imported_is_one_line(jobs):
    runner, _ = jobs
    loader = runner.context.config_loader
    lines = ["+hydra.callbacks.a={_target_: no_such_module.Callback}"]
    config = loader.load_configuration("config", lines, run_mode=RunMode.RUN, from_shell=False)
    with pytest.raises(SettingsError, match=r"^hydra.callbacks: one cannot be made: .*no_such_module") as raised:
        TrialCallbacks(config)
    assert "\n" not in str(raised.value)


MODULE = """
import json
from pathlib import Path
from hydra.experimental.callback import Callback

class Log(Callback):
    def __init__(self, path):
        self.path = path

    def on_job_start(self, config, **rest):
        self.write("start", config)

    def on_job_end(self, config, job_return, **rest):
        there = sorted(path.name for path in Path(config.hydra.runtime.output_dir).glob("*.json"))
        self.write("end", config, there, list(job_return.overrides), job_return.status.name)

    def write(self, event, config, *what):
        with open(self.path, "a") as file:
            file.write(json.dumps((event, config.hydra.runtime.output_dir, *what)) + "\\n")
"""
FAILING = "layers.types=[conv],[linear]"  # the first of them selects nothing
KINDS = {
    "single run": (["level=1"], 1),
    "grid": (["-m", "level=1,2"], 2),
    "grid with a failed trial": (["-m", "level=1", FAILING], 2),
    "grid of workers": (["-m", "level=1", FAILING, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], 2),
    "search": (["-m", "search=pareto", "search.n_trials=2"], 2),
    "search of workers": (
        ["-m", "search=pareto", "search.n_trials=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        2,
    ),
    "Optuna's own sweeper": (
        ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "hydra.sweeper.n_jobs=1", "level=choice(1,2)"],
        1,
    ),
}


LONG = [kind for kind in KINDS if "of workers" in kind or kind == "search"]


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.slow if kind in LONG else pytest.mark.integration) for kind in KINDS],
)
def test_each_kind_of_run_calls_them_once_per_computed_trial(tmp_path, forked, kind):
    arguments, trials = KINDS[kind]
    (tmp_path / "calls_of_jobs.py").write_text(MODULE)
    callback = f"+hydra.callbacks.log={{_target_: calls_of_jobs.Log, path: {tmp_path}/log}}"
    command = (*arguments, QUICK, "compare=[]", "progress=false", callback)

    def events():
        path = tmp_path / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    # A fork's workers look for modules where its parent was started.
    with_workers = "hydra/launcher=joblib" in arguments
    outcome = run(tmp_path, *command) if with_workers else forked.run(tmp_path, *command)
    found = events()
    ended = [event for event in found if event[0] == "end"]
    assert len(found) == 2 * trials, outcome
    directories = {str(path.parent) for path in tmp_path.glob("outputs/runs/*/*.json")}
    assert {event[1] for event in found} == directories
    assert len(ended) == len(directories) == trials
    for _, _, there, overrides, status in ended:
        assert there == (["result.json"] if status == "COMPLETED" else ["failure.json"])
        assert any(line.startswith("level=") for line in overrides) or "search" in kind
    assert sum(event[4] == "FAILED" for event in ended) == (FAILING in arguments)
    if not with_workers and kind != "Optuna's own sweeper":  # which makes other trials
        forked.run(tmp_path, *command)
        assert events() == []
