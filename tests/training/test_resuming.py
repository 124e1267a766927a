"""Retrainings that are stopped and continue, in this process: to the same bytes as if they had not been stopped."""

import json
from dataclasses import replace
from itertools import count

import pytest
import torch
from retrainings import KINDS, LOOSE, arm_of, file_of, settings_of, untimed
from torch import nn

from wavesweep.errors import StoppedEarlyError
from wavesweep.experiment import trial
from wavesweep.experiment.baseline import Workload, load_workload
from wavesweep.experiment.early import EarlyStop
from wavesweep.experiment.trial import run_trial
from wavesweep.runtime.progress import Meter
from wavesweep.settings.schema import PathsSettings, RetrainSettings
from wavesweep.training.checkpoint import read_checkpoint
from wavesweep.training.loop import TrainingLoop
from wavesweep.training.train import Plain


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Shared, so that the baseline is trained once and each whole retraining runs once."""
    return tmp_path_factory.mktemp("outputs")


def save_and_interrupt(loop, path, original=TrainingLoop.save):
    """Of a retraining; the training of a baseline and of its early weights is left alone."""
    original(loop, path)
    if not isinstance(loop.strategy, Plain):
        raise KeyboardInterrupt


WITHIN = ("gradual", "rewound weights, codebooks", "rate of all tensors, a step a band")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "moment"),
    [(name, "after every epoch") for name in (*KINDS, *LOOSE)] + [(name, "within epochs") for name in WITHIN],
)
def test_an_interrupted_retraining_gives_the_same_bytes(name, moment, outputs, tmp_path, monkeypatch):
    settings = settings_of(tmp_path, **{**KINDS, **LOOSE}[name])
    expected = run_trial(replace(settings, paths=PathsSettings(outputs=str(outputs))))
    curve = arm_of(expected)["retraining"]["curve"]
    epochs, shared = len(curve), sum(not row["quantized"] for row in curve)
    # What arms share is saved once more at its end.
    saves, saved_once = (epochs + 1, shared) if shared else (epochs, epochs)
    run_trial(replace(settings, retrain=RetrainSettings()))  # the baseline is not what is interrupted
    done = count(1)

    def advance(meter, *arguments, original=Meter.advance):
        original(meter, *arguments)
        # Twelve batches and the epoch's own line.
        if next(done) % 18 == 0:
            raise KeyboardInterrupt

    interruptions = 0
    with monkeypatch.context() as patch:
        if moment == "after every epoch":
            patch.setattr(TrainingLoop, "save", save_and_interrupt)
        else:
            patch.setattr(Meter, "advance", advance)
        while True:
            torch.manual_seed(interruptions)  # whatever a new process starts with
            try:
                record = run_trial(settings)
                break
            except KeyboardInterrupt:
                interruptions += 1
                assert interruptions < 30
                if moment == "after every epoch":
                    assert epochs_saved(tmp_path) == interruptions - (interruptions > saved_once)
    assert interruptions == saves if moment == "after every epoch" else interruptions >= epochs // 2
    assert file_of(record, tmp_path).read_bytes() == file_of(expected, outputs).read_bytes()
    assert untimed(arm_of(record)) == untimed(json.loads(json.dumps(arm_of(expected))))
    assert not list(tmp_path.glob("*/*/retraining.pt"))


def epochs_saved(outputs):
    """How many epochs the one retraining that is in progress has behind it."""
    paths = [*outputs.glob("*/*/retraining.pt"), *outputs.glob("retrained/*/trained.pt.gz")]
    return max((len(read_checkpoint(path)["curve"]) + 1 for path in paths), default=0)


def test_a_damaged_checkpoint_is_from_the_start(outputs, tmp_path, monkeypatch):
    settings = settings_of(tmp_path, **KINDS["finetune"])

    def damaged(loop, path, original=TrainingLoop.save):
        if isinstance(loop.strategy, Plain):
            return original(loop, path)
        path.write_bytes(b"damaged")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "save", damaged)
        with pytest.raises(KeyboardInterrupt):
            run_trial(settings)
    expected = run_trial(replace(settings, paths=PathsSettings(outputs=str(outputs))))
    assert file_of(run_trial(settings), tmp_path).read_bytes() == file_of(expected, outputs).read_bytes()


def test_dropout_and_normalisation_in_a_resumed_retraining(tmp_path, monkeypatch):
    """The state of everything that has one: running statistics, and dropout's random numbers."""
    settings = settings_of(tmp_path, **KINDS["finetune"])
    dataset = load_workload(settings).dataset

    def network():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 10)
        )

    def workload(_):
        return Workload(dataset, network(), {})

    monkeypatch.setattr(trial, "load_workload", workload)
    monkeypatch.setattr("wavesweep.experiment.baseline._initial_model", lambda *_: (network(), ()))
    contents = []
    for interrupted in (False, True):
        where = replace(settings, paths=PathsSettings(outputs=str(tmp_path / str(interrupted))))
        with monkeypatch.context() as patch:
            if interrupted:
                run_trial(replace(where, retrain=RetrainSettings()))
                patch.setattr(TrainingLoop, "save", save_and_interrupt)
                for number in range(4):  # after each of three epochs, and at the end of what arms share
                    torch.manual_seed(number)
                    with pytest.raises(KeyboardInterrupt):
                        run_trial(where)
        contents.append(file_of(run_trial(where), tmp_path / str(interrupted)).read_bytes())
    assert contents[0] == contents[1]


def test_a_retraining_that_is_stopped_early_leaves_no_checkpoint(tmp_path, monkeypatch):
    settings = settings_of(tmp_path, retrain=RetrainSettings("finetune", epochs=3))
    monkeypatch.setattr(trial, "read_early_stop", lambda _: EarlyStop(50, "stored_bytes", ((1.0, 1.0),)))
    monkeypatch.setattr(EarlyStop, "reason", lambda *_: "weak")
    with pytest.raises(StoppedEarlyError, match="weak"):
        run_trial(settings)
    assert list((tmp_path / "arms").glob("*/model.wsz"))  # it came to a file
    assert not list((tmp_path / "arms").glob("*/*.pt"))
