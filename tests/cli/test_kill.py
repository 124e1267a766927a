"""A sweep that is killed at any moment keeps what it finished, and the same command does the rest."""

import hashlib
import json
import random
import time

import pytest
import torch
from command_line import QUICK, records, results, run, started, trial_rows, wait_until, without_timings, written

pytestmark = pytest.mark.integration

GRID = ("-m", "wavelet=haar,bior2.2,rbio3.3", "level=1,2", QUICK)
POINTS = 6
# Some seconds of training, so that a kill falls into it.
LONG = ("-m", "wavelet=haar,bior2.2", "level=1,2", "model.recipe.epochs=80", "model.recipe.batch_size=16")
KILLS = 10


def kill(process):
    process.kill()
    process.communicate()


def assert_files_are_complete(directory):
    for path in directory.glob("outputs/**/*.json"):
        assert isinstance(json.loads(path.read_text()), dict)
    for path in directory.glob("outputs/**/checkpoint.pt"):
        torch.load(path, weights_only=True)


def weights_of(directory):
    (path,) = directory.glob("outputs/baselines/*/weights.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_killed_sweep_keeps_finished_trials_and_is_completed_by_the_same_command(tmp_path, forked):
    with started(tmp_path, *GRID) as process:
        assert wait_until(lambda: len(results(tmp_path)) >= 2, process)
        kill(process)
    before = written(results(tmp_path))
    assert 2 <= len(before) < POINTS
    assert_files_are_complete(tmp_path)

    outcome = forked.run(tmp_path, *GRID)
    assert outcome.status == 0, outcome.stderr
    assert f"{POINTS} trials: {POINTS} done ({len(before)} of them before this run), 0 failed" in outcome.stdout
    assert len(trial_rows(outcome.stdout)) == len(results(tmp_path)) == POINTS
    assert written(list(before)) == before
    # Only what was missing was run.
    assert f"/{POINTS - len(before)}]" in outcome.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted")
    outcome = run(directory, *LONG)
    assert outcome.status == 0, outcome.stderr
    return directory


@pytest.mark.slow
def test_training_goes_on_from_its_last_epoch_after_a_kill(tmp_path, uninterrupted):
    seen = []
    for epochs in (5, 30):
        with started(tmp_path, *LONG) as process:
            assert wait_until(lambda wanted=epochs: len(trained_epochs(tmp_path)) >= wanted, process)
            kill(process)
        assert not results(tmp_path)
        assert_files_are_complete(tmp_path)
        seen.append(trained_epochs(tmp_path))
    first, second = seen
    assert second[: len(first)] == first

    outcome = run(tmp_path, *LONG)
    assert outcome.status == 0, outcome.stderr
    (baseline,) = tmp_path.glob("outputs/baselines/*/baseline.json")
    curve = json.loads(baseline.read_text())["training"]
    # The seconds of each epoch tell that it was not trained again.
    assert curve[: len(second)] == second
    assert len(curve) == 80
    assert not list(tmp_path.glob("outputs/**/checkpoint.pt"))
    assert weights_of(tmp_path) == weights_of(uninterrupted)
    assert without_timings(records(tmp_path)) == without_timings(records(uninterrupted))


def trained_epochs(directory):
    """The training curve in the checkpoint, empty while there is none."""
    for path in directory.glob("outputs/baselines/*/checkpoint.pt"):
        try:
            return torch.load(path, weights_only=True)["curve"]
        except FileNotFoundError:  # the training ended a moment ago
            return []
    return []


@pytest.mark.slow
def test_sweep_survives_ten_kills_at_random_moments(tmp_path, uninterrupted):
    moments = random.Random(0)
    training = trials = 0
    finished = {}
    for number in range(KILLS):
        epochs = len(trained_epochs(tmp_path))
        with started(tmp_path, *LONG) as process:
            # Some kills come at any moment, before PyTorch is loaded too, the others once there is work to lose.
            if number % 3:
                wait_until(lambda seen=epochs: len(trained_epochs(tmp_path)) > seen or results(tmp_path), process)
            else:
                assert wait_until((tmp_path / "outputs").is_dir, process)
            time.sleep(moments.uniform(0, 2.5 if results(tmp_path) else 0.5))
            training += bool(trained_epochs(tmp_path))
            trials += bool(results(tmp_path))
            kill(process)
        assert_files_are_complete(tmp_path)
        assert written(list(finished)) == finished
        finished = written(results(tmp_path))
    assert training >= 2, "no kill fell into the training"

    outcome = run(tmp_path, *LONG)
    assert outcome.status == 0, outcome.stderr
    assert written(list(finished)) == finished
    assert len(results(tmp_path)) == 4
    assert weights_of(tmp_path) == weights_of(uninterrupted)
    assert without_timings(records(tmp_path)) == without_timings(records(uninterrupted))
    assert run(tmp_path, *LONG).table == outcome.table
