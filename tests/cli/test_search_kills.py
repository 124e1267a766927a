"""A search that is killed at any moment, its parent or its workers, is completed by the same command."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from command_line import ENVIRONMENT, QUICK, finish, records, results, started, wait_until
from optuna.trial import TrialState

N_TRIALS = 40
KILLS = 20
# Each trial retrains, so that it takes its time, and kills fall into it.
SEARCH = (
    *(
        "-m",
        "search=pareto",
        QUICK,
        f"search.n_trials={N_TRIALS}",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    ),
    *("wavelet=haar", "level=1", "layout=auto", "quantize.bits=8", "threshold.percentile=interval(50,95)"),
    *("method=wavelet", "quantize=uniform", "quantize.step=null", "retrain=finetune", "retrain.epochs=4"),
)
STUDY = Path("outputs/studies/pareto-mlp-digits")


# Starts commands, and joblib's workers, by forks of one process that has loaded everything: a restart takes
# no time, so that the kills fall into the search and not into its imports.
FORK_ALL = """
import json, os, sys, warnings
warnings.filterwarnings("ignore", message=".*fork. start method")
from joblib.externals.loky.backend.context import set_start_method
import hydra_plugins.hydra_joblib_launcher._core, wavesweep.sweep.search.run
from wavesweep.cli.app import main

set_start_method("fork")
for line in sys.stdin:
    order, *rest = json.loads(line)
    if order == "start":
        directory, log, arguments = rest
        child = os.fork()
        if child == 0:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.chdir(directory)
            sys.argv = ["wavesweep", *arguments]
            sys.exit(main())
        answer = child
    else:
        number, status = os.waitpid(rest[0], os.WNOHANG if order == "poll" else 0)
        answer = os.waitstatus_to_exitcode(status) if number else None
    print(json.dumps(answer), flush=True)
"""


class Forked:
    """A command that the fork server runs; as much of `Popen` as is needed."""

    def __init__(self, server, directory, log):
        self._server, self.returncode, self.log = server, None, log
        self.pid = self._ask("start", str(directory), str(log), SEARCH)

    def _ask(self, *order):
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def poll(self):
        if self.returncode is None:
            self.returncode = self._ask("poll", self.pid)
        return self.returncode

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.returncode = self._ask("wait", self.pid)

    def wait(self):
        if self.returncode is None:
            self.returncode = self._ask("wait", self.pid)
        return self.returncode


@pytest.fixture
def server(tmp_path_factory):
    place, pipe = tmp_path_factory.mktemp("server"), subprocess.PIPE
    command = [sys.executable, "-c", FORK_ALL]
    with subprocess.Popen(command, env=ENVIRONMENT, cwd=place, text=True, stdin=pipe, stdout=pipe) as process:
        yield process
        process.stdin.close()


def workers(directory, parent=0):
    """Numbers of all worker processes that were started in `directory`, orphans too."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            is_there = int(process.name) != parent and (process / "cwd").readlink() == directory
            if is_there and b"resource_tracker" not in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def kill(numbers):
    hit = 0
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
            hit += 1
    return hit


def assert_no_worker_is_left(directory):
    deadline = time.monotonic() + 10
    while workers(directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers(directory)


def assert_files_are_complete(directory):
    for path in directory.glob("outputs/**/*.json"):
        assert isinstance(json.loads(path.read_text()), dict)


def wait_for_moment(directory, process, moments):
    """Wait for one of the phases of a search, and a part of its length; false if the search ended before."""
    phase = moments.choices(("start", "joined", "asked", "told"), (2, 3, 3, 6))[0]
    before = records(directory)
    trial = min((record["seconds"]["total"] for record in before.values()), default=1.0)
    happened, beyond = {
        "start": (lambda: True, 1.0),
        "joined": (lambda: any((directory / STUDY / "processes").glob("*.lock")), 0.3),
        "asked": (lambda: bool(workers(directory, process.pid)), trial),
        "told": (lambda: len(results(directory)) > len(before), trial / 2),
    }[phase]
    alive = wait_until(happened, process, 300)
    time.sleep(moments.uniform(0, beyond))
    return alive and process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_survives_twenty_kills_of_its_parent_and_its_workers(tmp_path, server, seed):
    moments = random.Random(seed)
    count = {"parent": 0, "worker": 0, "both": 0}
    starts = 0
    while sum(count.values()) < KILLS:
        process = Forked(server, tmp_path, tmp_path / f"{starts}.log")
        starts += 1
        while sum(count.values()) < KILLS and wait_for_moment(tmp_path, process, moments):
            target = moments.choice(list(count))
            victims = workers(tmp_path, process.pid)
            if target != "parent" and not victims:
                target = "parent"
            if target == "worker":
                # The parent continues with new workers.
                count[target] += kill([moments.choice(victims)])
                continue
            process.kill()
            count[target] += 1
            kill(victims if target == "both" else [])
        process.kill()
        printed = process.log.read_text()
        assert process.returncode in (-signal.SIGKILL, 1), printed  # 0 is a study that was done before all kills
        assert "Traceback" not in printed, printed
        # They are forks, which do not import what would end them with their parent.
        kill(workers(tmp_path))
        assert_no_worker_is_left(tmp_path)
        assert_files_are_complete(tmp_path)
    print(f"kills: {count}, starts: {starts}, trials before the last command: {len(results(tmp_path))}")
    assert min(count.values()) >= 2
    assert len(results(tmp_path)) < N_TRIALS

    process = Forked(server, tmp_path, tmp_path / "last.log")
    assert process.wait() == 0, process.log.read_text()
    assert f"{N_TRIALS} of {N_TRIALS} trials: {N_TRIALS} complete" in process.log.read_text()
    assert_no_worker_is_left(tmp_path)
    assert_study_is_whole(tmp_path, f"sqlite:///{tmp_path / STUDY / 'study.db'}")


def assert_study_is_whole(directory, url, n_trials=N_TRIALS):
    """Exactly so many complete trials, each with a record of its own, and nothing else left to do."""
    (name,) = [path.name for path in (directory / "outputs" / "studies").iterdir()]
    trials = optuna.load_study(study_name=name, storage=url).trials
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    found = records(directory)
    keys = [trial.user_attrs["key"] for trial in complete]
    assert len(set(keys)) == len(keys) == n_trials
    assert set(keys) <= found.keys()
    for trial in complete:
        main = found[trial.user_attrs["key"]]["arms"][0]
        assert trial.values == [main["validation"]["accuracy"], main["stored_bytes"]]
        assert (
            trial.params["threshold.percentile"]
            == found[trial.user_attrs["key"]]["settings"]["threshold"]["percentile"]
        )
    assert not list((directory / "outputs" / "studies" / name / "processes").glob("*.lock"))


def begun(directory):
    return len(list(directory.glob("outputs/runs/*/trial.log")))


@pytest.mark.slow
def test_a_search_goes_on_when_one_of_its_workers_is_killed(tmp_path):
    command = (*SEARCH, "search.n_trials=8")
    with started(tmp_path, *command) as process:
        # Both workers compute: the death of an idle one is nobody's loss.
        assert wait_until(lambda: begun(tmp_path) >= 4 and begun(tmp_path) - len(results(tmp_path)) == 2, process, 300)
        assert kill(workers(tmp_path, process.pid)[:1])
        outcome = finish(process)
    assert outcome.status == 0, outcome.stderr
    assert "a worker ended: " in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "8 of 8 trials: 8 complete" in outcome.stdout
    assert_study_is_whole(tmp_path, f"sqlite:///{tmp_path / STUDY / 'study.db'}", 8)
