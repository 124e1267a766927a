"""A search that is killed at any moment, its parent or its workers, is completed by the same command."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from command_line import QUICK, finish, records, results, run, started, wait_until
from optuna.trial import TrialState

N_TRIALS = 40
KILLS = 20
# Each trial retrains, so that it takes its time, and kills fall into it.
SEARCH = (
    *("-m", "search=pareto", QUICK, f"search.n_trials={N_TRIALS}", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    *("wavelet=haar", "level=1", "layout=auto", "quantize.bits=8", "threshold.percentile=interval(50,95)"),
    *("retrain=finetune", "retrain.epochs=8"),
)
STUDY = Path("outputs/studies/pareto-mlp-digits")


def workers(directory):
    """Numbers of all worker processes that were started in `directory`, orphans too."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if (process / "cwd").readlink() == directory and b"popen_loky" in (process / "cmdline").read_bytes():
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
    """Wait for one of the phases of a search, and a little more; false if it ended before."""
    phase = moments.choices(("start", "joined", "asked", "told"), (2, 3, 3, 6))[0]
    before = len(results(directory))
    happened = {
        "start": lambda: True,
        "joined": lambda: any((directory / STUDY / "processes").glob("*.lock")),
        "asked": lambda: bool(workers(directory)),
        "told": lambda: len(results(directory)) > before,
    }[phase]
    alive = wait_until(happened, process, 300)
    time.sleep(moments.uniform(0, {"start": 6, "joined": 0.3, "asked": 6}.get(phase, 0.4)))
    return alive and process.poll() is None


@pytest.mark.slow
def test_a_search_survives_twenty_kills_of_its_parent_and_its_workers(tmp_path):
    moments = random.Random(1)
    count = {"parent": 0, "worker": 0, "both": 0}
    logs = []
    while sum(count.values()) < KILLS:
        log = tmp_path / f"{len(logs)}.log"
        logs.append(log)
        with log.open("w") as file, started(tmp_path, *SEARCH, stdout=file, stderr=file) as process:
            while sum(count.values()) < KILLS and wait_for_moment(tmp_path, process, moments):
                target = moments.choice(list(count))
                victims = workers(tmp_path)
                if target != "parent" and not victims:
                    target = "parent"
                if target == "worker":
                    # The parent goes on with new workers.
                    count[target] += kill([moments.choice(victims)])
                    continue
                process.kill()
                count[target] += 1
                if target == "both":
                    kill(victims)
                process.communicate()
            assert process.poll() is not None or sum(count.values()) == KILLS
            process.kill()
            process.communicate()
            assert process.returncode in (-signal.SIGKILL, 1), log.read_text()  # a study of 40 is not done yet
        if find_spec("wavesweep.workers") is None:  # else they die with their parent
            kill(workers(tmp_path))
        assert_no_worker_is_left(tmp_path)
        assert_files_are_complete(tmp_path)
        assert "Traceback" not in log.read_text(), log.read_text()
    print(f"kills: {count}, starts: {len(logs)}, trials before the last command: {len(results(tmp_path))}")
    assert min(count.values()) >= 2
    assert len(results(tmp_path)) < N_TRIALS

    outcome = run(tmp_path, *SEARCH)
    assert outcome.status == 0, outcome.stderr
    assert f"{N_TRIALS} of {N_TRIALS} trials: {N_TRIALS} complete" in outcome.stdout
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


@pytest.mark.slow
def test_a_search_goes_on_when_one_of_its_workers_is_killed(tmp_path):
    command = (*SEARCH, "search.n_trials=8")
    with started(tmp_path, *command) as process:
        assert wait_until(lambda: len(results(tmp_path)) >= 2, process, 300)
        assert kill(workers(tmp_path)[:1])
        outcome = finish(process)
    assert outcome.status == 0, outcome.stderr
    assert "a worker ended: " in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "8 of 8 trials: 8 complete" in outcome.stdout
    assert_study_is_whole(tmp_path, f"sqlite:///{tmp_path / STUDY / 'study.db'}", 8)
