"""The files that trials leave behind: their sizes, and that they hold the network that was measured."""

import json
from dataclasses import replace

import pytest
import torch

import wavesweep
from wavesweep.codec.read import read
from wavesweep.experiment.baseline import load_workload
from wavesweep.experiment.trial import run_trial
from wavesweep.measure.quality import evaluate
from wavesweep.models.zoo import build_model
from wavesweep.settings.schema import (
    CodecSettings,
    ModelSettings,
    PathsSettings,
    QuantizeSettings,
    Recipe,
    Settings,
    ThresholdSettings,
)

MODEL = ModelSettings(arguments={"hidden": [32]}, recipe=Recipe(epochs=2, batch_size=64))
VARIANTS = {
    "uniform": {},
    "kmeans": {"quantize": QuantizeSettings("kmeans", bits=4), "codec": CodecSettings("huffman")},
    "none": {"quantize": QuantizeSettings("none", other="quantized"), "codec": CodecSettings("none")},
    "rdo": {"quantize": QuantizeSettings(step=0.2, rate_weight=0.02, importance="second_order", images=64)},
    "max drop": {"quantize": QuantizeSettings(max_drop=2.0)},
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Shared, so that the baseline is trained once."""
    return tmp_path_factory.mktemp("outputs")


def settings_of(outputs, variant):
    base = Settings(model=MODEL, paths=PathsSettings(outputs=str(outputs)), progress=False, device="cpu")
    return replace(base, **VARIANTS[variant])


@pytest.mark.parametrize("variant", VARIANTS)
def test_recorded_sizes_are_those_of_the_files(variant, outputs):
    record = json.loads(json.dumps(run_trial(settings_of(outputs, variant))))
    assert len(record["arms"]) == 3
    for arm in record["arms"]:
        path = outputs / "arms" / arm["arm_key"] / "model.wsz"
        assert arm["stored_bytes"] == path.stat().st_size
        assert arm["compression_ratio"] == pytest.approx(arm["dense_bytes"] / path.stat().st_size)
        assert arm["bits_per_weight"] == pytest.approx(8 * path.stat().st_size / record["baseline"]["parameters"])
    main = record["arms"][0]
    trial_file = outputs / "runs" / record["key"] / "model.wsz"
    assert trial_file.stat().st_size == main["stored_bytes"]
    assert trial_file.read_bytes() == (outputs / "arms" / main["arm_key"] / "model.wsz").read_bytes()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_file_is_the_network_that_was_measured(variant, outputs):
    settings = settings_of(outputs, variant)
    record = run_trial(settings)
    dataset = load_workload(settings).dataset
    for arm in record["arms"]:
        path = outputs / "arms" / arm["arm_key"] / "model.wsz"
        model = build_model(settings.model, dataset.input_shape, dataset.classes, seed=99)
        wavesweep.load(path, model)
        for name in ("validation", "test"):
            found = evaluate(model, dataset, getattr(dataset, name), name, torch.device("cpu"))
            assert {key: arm[name][key] for key in found} == pytest.approx(found)
        tensors, _ = read(path)
        nonzero = {tensor.name: (tensor.symbols != 0).sum() for tensor in tensors if hasattr(tensor, "symbols")}
        for layer in arm["layers"]:
            assert layer["nonzero"] == nonzero[layer["name"]]
        assert arm["nonzero_coefficients"] == sum(layer["nonzero"] for layer in arm["layers"])


def test_recording_a_trial_again_keeps_its_file(outputs):
    settings = settings_of(outputs, "uniform")
    record = run_trial(settings)
    path = outputs / "runs" / record["key"] / "model.wsz"
    before = path.stat().st_mtime_ns
    assert run_trial(settings) == record
    assert path.stat().st_mtime_ns == before


def test_a_trial_whose_record_is_lost_gets_the_same_file_again(outputs):
    settings = settings_of(outputs, "kmeans")
    record = run_trial(settings)
    directory = outputs / "runs" / record["key"]
    content = (directory / "model.wsz").read_bytes()
    (directory / "result.json").unlink()
    again = run_trial(settings)
    assert (directory / "model.wsz").read_bytes() == content
    assert [arm["stored_bytes"] for arm in again["arms"]] == [arm["stored_bytes"] for arm in record["arms"]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"wavelet": "haar"}, {"wavelet": "bior1.1"}),
        ({}, {"threshold": ThresholdSettings(energy=0.5, value=3.0)}),
        ({"layout": "spatial"}, {"layout": "channel"}),
        ({"layout": "channel"}, {"layout": "flat"}),
    ],
    ids=["names of one wavelet", "numbers of other rules", "grid or matrix", "matrix or vector"],
)
def test_arms_of_one_key_are_one_file_whichever_trial_made_it(tmp_path, one, other):
    files = []
    for number, changes in enumerate((one, other)):
        settings = replace(settings_of(tmp_path / str(number), "uniform"), **{"wavelet": "haar", "level": 1} | changes)
        keys = [arm["arm_key"] for arm in run_trial(settings)["arms"]]
        files.append({key: (tmp_path / str(number) / "arms" / key / "model.wsz").read_bytes() for key in keys})
    shared = files[0].keys() & files[1].keys()
    assert {files[0][key] for key in shared} == {files[1][key] for key in shared}
    assert shared or "layout" in one
