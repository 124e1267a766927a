"""A sweep whose trials lack memory shows them as failed and runs them again; one whose GPU failed ends."""

import pytest
from command_line import records, trial_rows

pytestmark = pytest.mark.integration

MODEL = """
from pathlib import Path
import torch
from torch import nn

class Hungry(nn.Sequential):
    def forward(self, images):
        if self.training and not Path("room").exists():
            raise {error}
        return super().forward(images)

def make():
    return Hungry(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
"""
SWEEP = ("-m", "seed=0,1", "model=custom", "model.target=own_model.make", "model.recipe.epochs=1", "level=1")
SWEEP += ("compare=[magnitude]",)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, forked):
    """By name, the directory and the outcome; one after the other."""
    short, broken = tmp_path_factory.mktemp("short"), tmp_path_factory.mktemp("broken")
    (short / "own_model.py").write_text(MODEL.format(error="torch.OutOfMemoryError('CUDA out of memory.')"))
    (broken / "own_model.py").write_text(MODEL.format(error="RuntimeError('CUDA error: an illegal access')"))
    outcomes = {"short": (short, forked.run(short, *SWEEP)), "broken": (broken, forked.run(broken, *SWEEP))}
    (short / "room").touch()
    outcomes["short again"] = short, forked.run(short, *SWEEP)
    return outcomes


def test_all_trials_are_tried_and_shown_as_failed(ran):
    directory, outcome = ran["short"]
    assert outcome.status == 1
    rows = trial_rows(outcome.stdout)
    assert len(rows) == 2
    assert all("failed: OutOfMemoryError: CUDA out of memory. (not recorded" in row for row in rows)
    assert outcome.error == "error: 2 of 2 trials failed, see the table; retry_failed=true runs them again"
    assert "Traceback" not in outcome.stderr
    assert not list(directory.rglob("failure.json"))


def test_the_same_command_runs_them_again(ran):
    directory, outcome = ran["short again"]
    assert outcome.status == 0, outcome.stderr
    assert "2 trials: 2 done (0 of them before this run), 0 failed" in outcome.stdout
    assert len(records(directory)) == 2


def test_a_failed_gpu_ends_the_sweep_at_once(ran):
    directory, outcome = ran["broken"]
    assert outcome.status == 1
    assert outcome.error.startswith("error: RuntimeError: CUDA error: an illegal access (not recorded")
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    assert not list(directory.rglob("failure.json"))
