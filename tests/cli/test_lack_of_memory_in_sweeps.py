"""A sweep whose trials lack memory shows them as failed and runs them again; one whose GPU failed ends."""

import pytest
from command_line import records, trial_rows

pytestmark = pytest.mark.slow

MODEL = """
from pathlib import Path
import torch
from torch import nn

class Hungry(nn.Sequential):
    def forward(self, images):
        if {condition}:
            raise {error}
        return super().forward(images)

def make():
    return Hungry(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
"""
SWEEP = ("-m", "seed=0,1", "model=custom", "model.target=own_model.make", "model.recipe.epochs=1", "level=1")
SWEEP += ("compare=[magnitude]",)


SEARCH = ("-m", "search=pareto", "search.sampler=grid", *SWEEP[2:], "method=magnitude", "compare=[]")
SEARCH += ("wavelet=haar", "layout=auto", "retrain=none", "quantize=uniform", "quantize.step=null", "quantize.bits=4")
SHORT = {
    "condition": "self.training and not Path('room').exists()",
    "error": "torch.OutOfMemoryError('CUDA out of memory.')",
}
# Once most of the first layer is zero.
BROKEN = {
    "condition": "(self[1].weight == 0).float().mean() > 0.8",
    "error": "RuntimeError('CUDA error: an illegal access')",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory, forked):
    """By name, the directory and the outcome; one after the other."""
    root = tmp_path_factory.mktemp("lacking")
    outcomes = {}
    for name, model, lines in (
        ("short", SHORT, SWEEP),
        ("short search", SHORT, (*SEARCH, "threshold.percentile=50,90")),
        ("broken", BROKEN, ("-m", "threshold.percentile=90,50", *SWEEP[2:], "method=magnitude", "compare=[]")),
        ("broken search", BROKEN, (*SEARCH, "threshold.percentile=90,50,70")),
    ):
        directory = root / name
        directory.mkdir()
        (directory / "own_model.py").write_text(MODEL.format(**model))
        outcomes[name] = directory, forked.run(directory, *lines)
        if model is SHORT:
            (directory / "room").touch()
            if lines is not SWEEP:
                outcomes["short search retried"] = directory, forked.run(directory, *lines, "retry_failed=true")
                continue
        outcomes[f"{name} again"] = directory, forked.run(directory, *lines)
    return outcomes


def test_all_trials_are_tried_and_shown_as_failed(ran):
    directory, outcome = ran["short"]
    assert outcome.status == 1
    rows = trial_rows(outcome.stdout)
    assert len(rows) == 2
    assert all("failed: OutOfMemoryError: CUDA out of memory. (not recorded)" in row for row in rows)
    assert outcome.error == "error: 2 of 2 trials failed, see the table; retry_failed=true runs them again"
    assert "Traceback" not in outcome.stderr
    assert not list(directory.rglob("failure.json"))


def test_the_same_command_runs_them_again(ran):
    directory, outcome = ran["short again"]
    assert outcome.status == 0, outcome.stderr
    assert "2 trials: 2 done (0 of them before this run), 0 failed" in outcome.stdout
    assert len(records(directory)) == 2


@pytest.mark.parametrize("name", ["broken", "broken search"])
def test_a_failed_gpu_ends_the_command_at_once(ran, name):
    _, outcome = ran[name]
    assert outcome.status == 1
    assert outcome.error.startswith("error: RuntimeError: CUDA error: an illegal access; this process cannot use")
    assert "Traceback" not in outcome.stderr


def test_the_same_sweep_goes_on_with_the_trials_after_it(ran):
    directory, outcome = ran["broken again"]
    assert outcome.status == 1
    assert "2 trials: 1 done (0 of them before this run), 1 failed" in outcome.stdout
    assert len(records(directory)) == 1


def test_the_same_search_goes_on_with_the_trials_after_it(ran):
    _, outcome = ran["broken search again"]
    assert outcome.status == 1
    assert "3 of 3 trials: 2 complete, 1 failed" in outcome.stdout


def test_a_search_tries_a_trial_that_lacked_memory_twice(ran):
    directory, outcome = ran["short search"]
    assert outcome.status == 1
    assert "2 of 2 trials: 0 complete, 2 failed" in outcome.stdout
    (history,) = directory.glob("outputs/studies/*/history.csv")
    assert history.read_text().count("OutOfMemoryError: CUDA out of memory. (not recorded)") == 4
    again = ran["short search retried"][1]
    assert again.status == 0, again.stderr
    assert "2 of 2 trials: 2 complete" in again.stdout
