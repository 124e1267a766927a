"""Trials that cannot give a result: what is said, what is recorded, and what runs again."""

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from wavesweep.compression import plan
from wavesweep.errors import BusyError, SettingsError, TrialError
from wavesweep.experiment import checks, trial
from wavesweep.experiment.trial import run_trial
from wavesweep.runtime import records
from wavesweep.runtime.devices import choose_device
from wavesweep.settings.keys import trial_key
from wavesweep.settings.schema import LayersSettings, ModelSettings, PathsSettings, Recipe, Settings
from wavesweep.sweep.point import check_ready

MODEL = ModelSettings(arguments={"hidden": [32]}, recipe=Recipe(epochs=1, batch_size=256))
# A process that holds the lock of argv[1] until it is killed.
HOLD = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from wavesweep.runtime.records import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def tiny(tmp_path):
    paths = PathsSettings(outputs=str(tmp_path / "outputs"))
    return Settings(model=MODEL, paths=paths, progress=False, device="cpu", compare=[])


def directory_of(settings):
    return Path(settings.paths.outputs) / "runs" / trial_key(settings)


def failure_of(settings):
    with pytest.raises(TrialError) as raised:
        run_trial(settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def too_short(settings):
    # The image is 8x8; the wavelet has 18 taps.
    return replace(settings, layout="spatial", wavelet="bior6.8")


def test_a_trial_that_transforms_nothing_names_the_remedy_and_trains_nothing(tiny):
    text = failure_of(too_short(tiny))
    assert text.startswith("wavelet bior6.8 at level 3 with layout spatial transforms nothing: its longest axis has 8")
    for remedy in ("wavelet=haar", "layout=channel", "layout=flat", "method=magnitude"):
        assert remedy in text
    assert not (Path(tiny.paths.outputs) / "baselines").exists()


@pytest.mark.parametrize(
    ("shape", "layout", "wavelet", "remedies"),
    [
        ((1, 1), "channel", "haar", "method=magnitude"),  # one weight
        ((1, 1), "flat", "bior6.8", "method=magnitude"),
        ((2, 3), "channel", "haar", None),
        ((2, 3), "channel", "db4", "a shorter wavelet (wavelet=haar), or method=magnitude"),
        (
            (8, 8),
            "channel",
            "db8",
            "(wavelet=haar), another layout (layout=flat), or method=magnitude",
        ),
        ((4, 1), "flat", "db4", "a shorter wavelet (wavelet=haar), or method=magnitude"),
    ],
)
def test_only_remedies_that_help_are_named(tiny, shape, layout, wavelet, remedies):
    model = nn.Sequential(nn.Linear(shape[1], shape[0]))
    settings = replace(tiny, layout=layout, wavelet=wavelet, level=1)
    if remedies is None:
        assert plan.plan_pruned(model, settings, (1, 8, 8))
        return
    with pytest.raises(TrialError) as raised:
        plan.plan_pruned(model, settings, (1, 8, 8))
    assert str(raised.value).endswith(remedies)
    assert "layout=flat" in remedies or "layout=flat" not in str(raised.value)


def test_a_failure_is_recorded_with_its_reason_and_its_log(tiny):
    text = failure_of(too_short(tiny))
    directory = directory_of(too_short(tiny))
    assert json.loads((directory / "failure.json").read_text())["reason"] == text
    assert not (directory / "result.json").exists()
    assert "TrialError: wavelet bior6.8" in (directory / "trial.log").read_text()


def test_a_failed_trial_is_not_run_again_until_it_is_asked_for(tiny, monkeypatch):
    settings = too_short(tiny)
    reason = failure_of(settings)
    with monkeypatch.context() as patch:
        patch.setattr(trial, "plan_pruned", lambda *_: pytest.fail("run again"))
        assert failure_of(settings) == f"{reason} (failed earlier; retry_failed=true runs it again)"
    assert failure_of(replace(settings, retry_failed=True)) == reason


def test_a_trial_that_works_at_the_second_attempt_leaves_no_failure(tiny, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such\nkernel")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "obtain_baseline", broken)
        assert failure_of(tiny) == "RuntimeError: no such kernel"
    assert "no such kernel" in failure_of(tiny)
    record = run_trial(replace(tiny, retry_failed=True))
    assert not (directory_of(tiny) / "failure.json").exists()
    assert run_trial(tiny)["seconds"] == record["seconds"]


@pytest.mark.parametrize(
    "layers", [LayersSettings(types=["conv"]), LayersSettings(include=["conv*"]), LayersSettings(exclude=["fc*"])]
)
def test_a_selection_without_tensors_names_the_keys(tiny, layers):
    text = failure_of(replace(tiny, layers=layers))
    assert text == "no tensor is selected for pruning; change layers.types, layers.include or layers.exclude"


def test_a_diverging_training_fails_the_trial(tiny):
    recipe = Recipe("sgd", learning_rate=1e30, epochs=1)
    text = failure_of(replace(tiny, model=replace(MODEL, recipe=recipe)))
    assert "training diverged" in text
    assert "lower model.recipe.learning_rate" in text


def network():
    """Like the zoo's, with a layer that is not used: what it holds is seen by no measure."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    model.unused = nn.Identity()
    model.unused.inner = nn.Linear(16, 16)
    return model


@pytest.mark.parametrize("name", ["3.weight", "1.weight", "unused.inner.weight"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_checkpoint_that_is_not_finite_names_the_tensor(tiny, tmp_path, name, value):
    state = network().state_dict()
    state[name][0, 0] = value
    torch.save(state, tmp_path / "trained.pt")
    chosen = ModelSettings(
        "custom",
        target=f"{__name__}.network",
        checkpoint=str(tmp_path / "trained.pt"),
        recipe=replace(MODEL.recipe, epochs=0),
    )
    with pytest.raises((TrialError, SettingsError), match=name.replace(".", r"\.")):
        run_trial(replace(tiny, model=chosen, wavelet="haar", level=1))


@contextmanager
def held(directory):
    directory.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(directory)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_trial_that_another_process_computes_is_skipped_where_that_is_asked_for(tiny):
    skipping = replace(tiny, on_busy="skip")
    with held(directory_of(tiny)):
        with pytest.raises(BusyError, match=f"{trial_key(tiny)} is being computed by another process"):
            run_trial(skipping)
        assert {path.name for path in directory_of(tiny).iterdir()} == {".lock"}
    record = run_trial(skipping)
    with held(directory_of(tiny)):
        assert run_trial(skipping)["seconds"] == record["seconds"]  # what is done needs no lock


@pytest.mark.parametrize("shown", [False, True])
def test_who_waits_for_a_trial_is_told_so_where_progress_is_shown(tiny, shown, monkeypatch, capsys):
    monkeypatch.setattr(records, "_SILENT_SECONDS", 0.1)
    with held(directory_of(tiny)) as process:
        threading.Timer(1.0, process.kill).start()
        run_trial(replace(tiny, progress=shown))
    line = f"another process works on {directory_of(tiny)}; waiting for it"
    assert (line in capsys.readouterr().err.splitlines()) == shown


def test_an_interrupted_trial_leaves_no_record_and_is_run_again(tiny, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trial, "obtain_arm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_trial(tiny)
    assert not list(directory_of(tiny).glob("*.json"))
    assert run_trial(tiny)["key"] == trial_key(tiny)


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[: len(text) // 2], lambda text: "[1, 2]"])
@pytest.mark.parametrize("pattern", ["runs/*/result.json", "arms/*/arm.json", "baselines/*/baseline.json"])
def test_a_record_that_cannot_be_read_is_computed_again(tiny, damage, pattern):
    record = run_trial(tiny)
    outputs = Path(tiny.paths.outputs)
    (file,) = outputs.glob(pattern)
    file.write_text(damage(file.read_text()))
    (outputs / "runs" / record["key"] / "result.json").write_text("")
    again = run_trial(tiny)
    assert json.loads(file.read_text())
    assert again["arms"][0]["test"] == record["arms"][0]["test"]
    assert again["arms"][0]["arm_key"] == record["arms"][0]["arm_key"]


def test_a_failure_that_cannot_be_read_does_not_count(tiny):
    directory = directory_of(tiny)
    directory.mkdir(parents=True)
    (directory / "failure.json").write_text('{"reason": "half a re')
    assert run_trial(tiny)["key"] == trial_key(tiny)


def test_wrong_settings_are_refused_before_anything_is_written(tiny):
    with pytest.raises(SettingsError, match=r"^level=0: "):
        run_trial(replace(tiny, level=0))
    assert not Path(tiny.paths.outputs).exists()


def test_outputs_that_cannot_be_written_are_refused(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^paths\.outputs=.*must be a directory that can be written"):
        run_trial(replace(tiny, paths=PathsSettings(outputs=str(tmp_path / "file" / "outputs"))))


def test_cuda_is_refused_where_there_is_none(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError) as raised:
        run_trial(replace(tiny, device="cuda"))
    assert str(raised.value) == "device=cuda: no CUDA device is available; use device=cpu or device=auto"
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_cuda_is_taken_where_there_is_one_unless_the_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name).type for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


def test_what_has_its_record_needs_no_device(tiny, monkeypatch):
    record = run_trial(tiny)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_trial(replace(tiny, device="cuda")) == record


def test_a_cluster_may_have_the_device_that_this_machine_lacks(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(checks, "check_inputs", lambda *_: None)
    elsewhere = replace(tiny, device="cuda")
    check_ready([elsewhere], SimpleNamespace(is_on_this_machine=False))
    for launcher in (None, SimpleNamespace(is_on_this_machine=True)):
        with pytest.raises(SettingsError, match=r"^device=cuda: no CUDA device"):
            check_ready([elsewhere], launcher)
