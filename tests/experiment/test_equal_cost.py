"""Trials that search: the step that costs so many points, and control arms of equal stored size."""

from dataclasses import replace
from pathlib import Path

import pytest

from wavesweep.experiment.trial import run_trial
from wavesweep.settings.schema import (
    CodecSettings,
    LayerOverride,
    LayersSettings,
    ModelSettings,
    PathsSettings,
    QuantizeSettings,
    Recipe,
    Settings,
    ThresholdSettings,
)

NOTHING_PRUNED = ThresholdSettings(percentile=0.0)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


def record_of(outputs: Path, **changes):
    model = ModelSettings(arguments={"hidden": [48]}, recipe=Recipe(epochs=12, batch_size=64))
    paths = PathsSettings(outputs=str(outputs))
    base = Settings(model=model, paths=paths, progress=False, device="cpu", wavelet="haar", level=1, compare=[])
    return run_trial(replace(base, **changes))


def test_the_step_that_was_found_costs_at_most_the_points_that_were_allowed(outputs):
    sizes, drops = [], (0.0, 1.0, 10.0)
    for drop in drops:
        record = record_of(outputs, threshold=NOTHING_PRUNED, quantize=QuantizeSettings(max_drop=drop))
        (arm,) = record["arms"]
        # Nothing is pruned, so before quantisation the network is the baseline.
        lost = record["baseline"]["validation"]["accuracy"] - arm["validation"]["accuracy"]
        assert lost <= drop / 100 + 1e-9
        assert arm["step_scale"] != 1.0
        sizes.append(arm["stored_bytes"])
    assert sizes[0] >= sizes[1] > sizes[2]


@pytest.mark.integration
@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": ThresholdSettings(percentile=80.0)},
        {"threshold": NOTHING_PRUNED, "quantize": QuantizeSettings(step=0.05)},
        {
            "threshold": NOTHING_PRUNED,
            "quantize": QuantizeSettings(step=0.1, rate_weight=0.1, importance="second_order", images=256),
        },
    ],
    ids=["by coefficients", "by step", "by step of the outputs"],
)
def test_arms_matched_by_bytes_take_the_same_bytes(outputs, changes):
    record = record_of(outputs, compare=["magnitude", "rotation"], compare_match="bytes", **changes)
    main, *controls = record["arms"]
    for arm in controls:
        assert arm["requested"] == {"stored_bytes": main["stored_bytes"]}
        assert arm["stored_bytes"] == pytest.approx(main["stored_bytes"], rel=0.01)
    assert not [note for note in record["notes"] if "bytes where" in note]


def test_a_size_that_an_arm_cannot_have_is_said(outputs):
    # 99.9 % of whole units is all of them; another method matches that file, or the record says that it does not.
    quantize = QuantizeSettings(name="none", coefficients="float32")
    record = record_of(
        outputs,
        method=replace(Settings().method, name="unit"),
        threshold=ThresholdSettings(percentile=99.9),
        quantize=quantize,
        codec=CodecSettings("none"),
        compare=["magnitude"],
        compare_match="bytes",
    )
    main, control = record["arms"]
    far = abs(control["stored_bytes"] - main["stored_bytes"]) > 0.01 * main["stored_bytes"]
    assert far == any("bytes where" in note for note in record["notes"])


def test_bits_of_an_override_hold_for_its_tensor_alone(outputs):
    overrides = LayersSettings(overrides=[LayerOverride(match="fc1*", bits=2)])
    record = record_of(outputs, layers=overrides, quantize=QuantizeSettings(bits=8))
    steps = {layer["name"]: layer["steps"][0] for layer in record["arms"][0]["layers"]}
    plain = record_of(outputs, quantize=QuantizeSettings(bits=8))
    before = {layer["name"]: layer["steps"][0] for layer in plain["arms"][0]["layers"]}
    # 2 bits leave one magnitude, 8 bits 127.
    assert steps["fc1.weight"] == pytest.approx(127 * before["fc1.weight"], rel=1e-3)
    assert steps["fc2.weight"] == before["fc2.weight"]


def test_the_baseline_says_what_it_takes_without_us(outputs):
    baseline = record_of(outputs)["baseline"]
    found = baseline["alternatives"]
    assert baseline["dense_bytes"] < found["safetensors_bytes"] < baseline["dense_bytes"] + 2000
    assert found["gzip_bytes"] < found["safetensors_bytes"]
    assert found["int8"]["bytes"] < 0.35 * found["safetensors_bytes"]
    assert found["int8"]["test"]["accuracy"] == pytest.approx(baseline["test"]["accuracy"], abs=0.02)
