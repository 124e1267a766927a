"""Two processes that run the same sweep share its work."""

import json

import pytest
from command_line import records, run_together, trial_rows

pytestmark = pytest.mark.integration

# Notes who trains on how many images. It takes its time, so that both processes are there before it is done.
MODEL = """
import os, time
from pathlib import Path
import torch
from torch import nn


class Noting(nn.Sequential):
    def forward(self, images):
        if self.training:
            with Path("trained.txt").open("a") as file:
                file.write(f"{os.getpid()} {len(images)}\\n")
            time.sleep(0.03)
        return super().forward(images)


def make():
    return Noting(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""
SWEEP = ("-m", "wavelet=haar,bior2.2,rbio3.3", "level=1,2", "model=custom", "model.target=noting_model.make")
EPOCHS = 3


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shared")
    (directory / "noting_model.py").write_text(MODEL)
    command = (*SWEEP, f"model.recipe.epochs={EPOCHS}")
    return directory, run_together((directory, command), (directory, command))


def test_both_succeed_with_the_same_table(shared):
    _, outcomes = shared
    for outcome in outcomes:
        assert outcome.status == 0, outcome.stderr
        assert len(trial_rows(outcome.stdout)) == 6
        # Otherwise the second found everything done, and this tests nothing.
        assert "6 done (0 of them before this run), 0 failed" in outcome.stdout
    assert outcomes[0].stdout == outcomes[1].stdout


def test_each_trial_is_computed_once(shared):
    directory, _ = shared
    found = records(directory)
    assert len(found) == 6
    for key in found:
        log = (directory / "outputs" / "runs" / key / "trial.log").read_text()
        assert log.count(" baseline ") == log.count(" wavelet: ") == log.count(" random: ") == 1


def test_the_baseline_is_trained_once_by_one_process(shared):
    directory, _ = shared
    (baseline,) = (directory / "outputs" / "baselines").iterdir()
    lines = [line.split() for line in (directory / "trained.txt").read_text().splitlines()]
    assert len({process for process, _ in lines}) == 1
    trained_images = 1293  # of 1797 digits, 360 are for testing and 144 for validation
    assert sum(int(images) for _, images in lines) == EPOCHS * trained_images
    assert len(json.loads((baseline / "baseline.json").read_text())["training"]) == EPOCHS
    assert {record["baseline"]["key"] for record in records(directory).values()} == {baseline.name}
