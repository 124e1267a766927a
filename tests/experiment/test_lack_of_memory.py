"""Trials that fail for want of memory or because the GPU did: what is recorded, and that nothing is kept in memory."""

import gc
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wavesweep.errors import DeviceError, ShortMemoryError, TrialError
from wavesweep.experiment import baseline
from wavesweep.experiment.trial import run_trial
from wavesweep.runtime import records
from wavesweep.settings.keys import trial_key
from wavesweep.settings.schema import ModelSettings, PathsSettings, Recipe, RetrainSettings, Settings
from wavesweep.sweep.launch import raise_if_fatal
from wavesweep.sweep.point import Point, run_here
from wavesweep.training.masked import Masked

MODEL = ModelSettings(arguments={"hidden": [24]}, recipe=Recipe(epochs=1, batch_size=256))
SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError("Unable to allocate 3. GiB for an array"),
    RuntimeError("[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.fixture
def tiny(tmp_path):
    paths = PathsSettings(outputs=str(tmp_path / "outputs"))
    return Settings(model=MODEL, paths=paths, progress=False, device="cpu", compare=[])


def raising(error):
    def broken(*_arguments, **_options):
        raise error

    return broken


def failures(settings):
    return list(Path(settings.paths.outputs).rglob("failure.json"))


@pytest.mark.parametrize("error", SHORT, ids=lambda error: type(error).__name__)
def test_a_lack_of_memory_is_not_recorded_neither_of_the_trial_nor_of_the_baseline(tiny, monkeypatch, error):
    with monkeypatch.context() as patch:
        patch.setattr(baseline, "train", raising(error))
        with pytest.raises(ShortMemoryError) as raised:
            run_trial(tiny)
    first, _, rest = str(raised.value).partition(" (not recorded")
    assert first == f"{type(error).__name__}: {error}"
    assert rest == ")"
    assert not failures(tiny)
    assert run_trial(tiny)["key"] == trial_key(tiny)


def test_an_error_of_the_gpu_ends_the_sweep_and_is_recorded_where_it_was_first(tiny, monkeypatch):
    monkeypatch.setattr(records, "_device_errors", [])
    with monkeypatch.context() as patch:
        patch.setattr(baseline, "train", raising(RuntimeError("CUDA error: device-side assert triggered\nMore")))
        outcome = run_here(Point((), tiny, trial_key(tiny)), "wait")
        other = replace(tiny, seed=1)
        later = run_here(Point((), other, trial_key(other)), "wait")
    reason = "RuntimeError: CUDA error: device-side assert triggered More"
    for found in (outcome, later):
        assert isinstance(found, DeviceError)
        assert str(found).startswith(f"{reason}; this process cannot use the GPU any more")
        with pytest.raises(DeviceError):
            raise_if_fatal([0.9, found])
    (failure,) = failures(tiny)
    assert failure.parent.parent.name == "baselines"
    assert json.loads(failure.read_text()) == {"reason": reason}
    with pytest.raises(TrialError, match=f"^{reason} .failed earlier; retry_failed=true"):
        run_trial(tiny)
    assert run_trial(other)["key"] == trial_key(other)


@pytest.mark.integration
def test_a_failed_retraining_leaves_its_network_and_data_to_the_next_one(tiny, monkeypatch):
    monkeypatch.setattr(Masked, "loss", raising(torch.OutOfMemoryError("CUDA out of memory.")))
    outcomes = []
    for seed in range(2):
        settings = replace(tiny, seed=seed, retrain=RetrainSettings("finetune", epochs=1, quantize_epochs=0))
        outcomes.append(run_here(Point((), settings, trial_key(settings)), "wait"))
        gc.collect()
        assert not [one for one in gc.get_objects() if type(one) is Masked]
    assert [type(outcome) for outcome in outcomes] == [ShortMemoryError] * 2, outcomes
