"""The export of a finished trial: what it writes beside the result, which stays as it is, and when it fails."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wavesweep.data.datasets import load_dataset
from wavesweep.errors import SettingsError, StoreError, TrialError
from wavesweep.experiment.export import files
from wavesweep.experiment.export import trial as export
from wavesweep.experiment.export.onnx import OnnxNetwork
from wavesweep.experiment.trial import run_trial
from wavesweep.settings import rules
from wavesweep.settings.keys import trial_key
from wavesweep.settings.schema import ModelSettings, PathsSettings, Recipe, Settings

MODEL = ModelSettings(arguments={"hidden": [32]}, recipe=Recipe(epochs=1, batch_size=256))
ONNX_FILES = {files.ONNX_FILE, files.ONNX_RECORD, files.ONNX_FAILURE}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Settings of a trial that ran without an export, and then with one; and its files before that."""
    paths = PathsSettings(outputs=str(tmp_path_factory.mktemp("outputs")))
    settings = Settings(model=MODEL, paths=paths, progress=False, device="cpu", compare=["magnitude"])
    run_trial(settings)
    before = stamps(directory_of(settings))
    settings = replace(settings, export="onnx")
    export.export_trial(settings, run_trial(settings))
    return settings, before


@pytest.fixture
def unexported(exported, tmp_path):
    """A copy of the trial without its export."""
    settings, _ = exported
    shutil.copytree(settings.paths.outputs, tmp_path / "outputs")
    settings = replace(settings, paths=PathsSettings(outputs=str(tmp_path / "outputs")))
    for name in ONNX_FILES:
        (directory_of(settings) / name).unlink(missing_ok=True)
    return settings


def directory_of(settings):
    return Path(settings.paths.outputs) / "runs" / trial_key(settings)


def stamps(directory):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}


def names(settings):
    return {path.name for path in directory_of(settings).iterdir()} & ONNX_FILES


def record_of(settings):
    return json.loads((directory_of(settings) / "onnx.json").read_text())


@pytest.mark.integration
def test_a_finished_trial_is_exported_without_being_computed_again(exported):
    settings, before = exported
    after = stamps(directory_of(settings))
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"model.onnx", "onnx.json"}
    # Only the main arm is: what is compared beside it is for comparison.
    assert not list(Path(settings.paths.outputs).glob("arms/*/*onnx*"))


def test_the_record_says_what_onnxruntime_measured(exported):
    settings, _ = exported
    found, result = record_of(settings), run_trial(settings)
    arm, dataset = result["arms"][0], load_dataset(settings)
    assert found["arm_key"] == arm["arm_key"]
    assert found["bytes"] == (directory_of(settings) / "model.onnx").stat().st_size > 4 * (64 * 32 + 32 * 10)
    assert found["opset"] == 18
    assert 0 <= found["largest_difference"] < 1e-5
    assert found["equal_predictions"] == 1
    assert found["inputs"] == {"compared": 144, "validation": 144, "test": 360}
    for split in ("validation", "test"):
        assert found[split] == pytest.approx(arm[split], abs=1e-5)
    assert found["input"]["shape"] == ["batch", 1, 8, 8]
    assert found["input"]["dtype"] == "float32"
    for name in ("inference_ms", "pytorch_inference_ms"):
        assert found[name]["threads"] == torch.get_num_threads()
        assert found[name]["device"] == "cpu"
        for calls, size in (("single", 1), ("batch", 64)):
            timed = found[name][calls]
            assert timed["batch_size"] == size
            assert 0 < timed["q1"] <= timed["median"] <= timed["q3"]
    assert found["versions"].keys() == {"torch", "onnx", "onnxscript", "onnxruntime"}
    # The mean and standard deviation in the record are all that the file's user needs besides.
    mean, std = (torch.tensor(found["input"][name])[:, None, None] for name in ("mean", "std"))
    logits = OnnxNetwork((directory_of(settings) / "model.onnx").read_bytes())(
        (dataset.test.images.float() - mean) / std
    )
    accuracy = float((logits.argmax(1) == dataset.test.labels).double().mean())
    assert accuracy == pytest.approx(arm["test"]["accuracy"])


def test_what_is_there_is_not_made_again_and_what_is_lost_is(exported, monkeypatch):
    settings, _ = exported
    before = stamps(directory_of(settings))
    result = run_trial(settings)
    with monkeypatch.context() as patch:
        patch.setattr(export, "onnx_bytes", lambda *_: pytest.fail("exported again"))
        assert export.export_trial(settings, result) == record_of(settings)
        assert export.export_trial(replace(settings, export="none"), result) is None
    assert stamps(directory_of(settings)) == before
    content = (directory_of(settings) / "model.onnx").read_bytes()
    (directory_of(settings) / "model.onnx").unlink()
    assert files.lacks_export(settings, result["key"])
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: content)
    export.export_trial(settings, result)
    assert not files.lacks_export(settings, result["key"])
    assert record_of(settings)["bytes"] == len(content)


def test_a_network_that_cannot_be_exported_keeps_its_result_and_is_not_tried_again(unexported, monkeypatch):
    def refuse(*_):
        raise TrialError("the network cannot be exported as ONNX: no")

    result, directory = run_trial(unexported), directory_of(unexported)
    before = stamps(directory)
    monkeypatch.setattr(export, "onnx_bytes", refuse)
    with pytest.raises(TrialError, match=r"^the network cannot be exported as ONNX: no$"):
        export.export_trial(unexported, result)
    assert names(unexported) == {"onnx_failure.json"}
    assert {name: stamps(directory)[name] for name in before} == before
    said = "1 of 1 trials could not be exported (the network cannot be exported as ONNX: no)"
    assert files.export_problems(unexported, [result["key"]], {}) == [said]
    assert files.export_problems(replace(unexported, export="none"), [result["key"]], {}) == []

    monkeypatch.setattr(export, "onnx_bytes", lambda *_: pytest.fail("tried again"))
    with pytest.raises(TrialError, match="failed earlier; retry_failed=true runs it again"):
        export.export_trial(unexported, result)
    monkeypatch.setattr(export, "onnx_bytes", refuse)
    with pytest.raises(TrialError, match=r"exported as ONNX: no$"):
        export.export_trial(replace(unexported, retry_failed=True), result)


def test_a_file_that_gives_other_outputs_is_refused(exported, unexported, monkeypatch):
    class Wrong(OnnxNetwork):
        def forward(self, inputs):
            return super().forward(inputs) + 0.01

    content = (directory_of(exported[0]) / "model.onnx").read_bytes()
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: content)
    monkeypatch.setattr(export, "OnnxNetwork", Wrong)
    with pytest.raises(TrialError, match=r"gives other outputs than PyTorch's \(by up to 0\.01\)"):
        export.export_trial(unexported, run_trial(unexported))
    assert names(unexported) == {"onnx_failure.json"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, StoreError("cannot write model.onnx: No space left on device")])
def test_what_stops_an_export_leaves_nothing_half_done(exported, unexported, monkeypatch, error):
    content = (directory_of(exported[0]) / "model.onnx").read_bytes()
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: content)

    def stop(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(export, "write_atomically", stop)
        with pytest.raises(type(error) if isinstance(error, Exception) else error):
            export.export_trial(unexported, run_trial(unexported))
    assert names(unexported) == set()
    export.export_trial(unexported, run_trial(unexported))
    assert names(unexported) == {"model.onnx", "onnx.json"}


def test_a_trial_computed_anew_has_no_record_of_the_file_from_before(exported, unexported):
    directory = directory_of(unexported)
    shutil.copy(directory_of(exported[0]) / "onnx.json", directory)
    (directory / "result.json").unlink()
    run_trial(unexported)
    assert names(unexported) == set()


def test_a_lost_compressed_file_is_named_with_a_remedy(exported, unexported, monkeypatch):
    result, directory = run_trial(unexported), directory_of(unexported)
    (directory / "model.wsz").unlink()
    with pytest.raises(TrialError) as raised:
        export.export_trial(unexported, result)
    assert str(raised.value).startswith(f"{directory / 'model.wsz'} is not there any more; remove ")
    # What it says to do is all there is to do: the failure goes with the result that it was of.
    (directory / "result.json").unlink()
    result = run_trial(unexported)
    assert names(unexported) == set()
    content = (directory_of(exported[0]) / "model.onnx").read_bytes()
    monkeypatch.setattr(export, "onnx_bytes", lambda *_: content)
    export.export_trial(unexported, result)
    assert names(unexported) == {"model.onnx", "onnx.json"}


def test_missing_packages_are_found_before_anything_is_trained(unexported, tmp_path, monkeypatch):
    rules._missing_packages.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    settings = replace(unexported, seed=1, paths=PathsSettings(outputs=str(tmp_path / "new")))
    try:
        with pytest.raises(
            SettingsError, match=r"^export=onnx: needs .*\(onnxruntime\); pip install 'wavesweep\[onnx\]'"
        ):
            run_trial(settings)
    finally:
        rules._missing_packages.cache_clear()
    assert not (tmp_path / "new").exists()
