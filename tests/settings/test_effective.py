"""Notes on settings that were given and play no part, against what they do to a file."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from wavesweep.compression.compressor import CompressionSettings, compress_arm
from wavesweep.compression.network import TrainedNetwork
from wavesweep.experiment.arm_keys import arm_key
from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.prune import ArmSpec
from wavesweep.settings.effective import unused_notes
from wavesweep.settings.schema import (
    CodecSettings,
    DatasetSettings,
    LayerOverride,
    LayersSettings,
    MethodSettings,
    ModelSettings,
    QuantizeSettings,
    Recipe,
    RetrainSettings,
    Settings,
    ThresholdSettings,
)

# Correlated inputs, of which a few images give another estimate than all of them.
IMAGES = torch.randn(256, 24, generator=torch.Generator().manual_seed(1)).cumsum(1)
QUANTIZERS = {
    "none": QuantizeSettings("none"),
    "kmeans": QuantizeSettings("kmeans"),
    "uniform": QuantizeSettings(bits=4),
    "with a step": QuantizeSettings(step=0.02),
    "rdo": QuantizeSettings(step=0.8, importance="second_order", rate_weight=0.1, other="quantized"),
}
# Values that show in the file wherever the setting plays a part.
CHANGES = {
    "step": 0.05,
    "bits": 3,
    "dead_zone": 4.0,
    "per": "band",
    "atom_norm": True,
    "damping": 9.0,
    "images": 64,
    "coefficients": "float32",
    "other_bits": 3,
}
THRESHOLDS = {
    "percentile": ThresholdSettings(),
    "energy": ThresholdSettings("energy"),
    "absolute": ThresholdSettings("absolute"),
    "universal": ThresholdSettings("universal"),
}


def coded(settings, method="wavelet"):
    """The arm's key, and the file of a small network."""
    model = nn.Sequential(nn.Linear(24, 20), nn.Tanh(), nn.Linear(20, 6))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))

    plans = tuple(plan for plan in plan_tensors(model, settings, (24,)) if plan.pruned)
    spec = ArmSpec(method, plans, settings.boundary, settings.threshold, 0)
    compression = CompressionSettings(RetrainSettings(), settings.quantize, CodecSettings(), 0)
    images = IMAGES[: settings.quantize.images]
    network = TrainedNetwork(model, model.state_dict(), torch.device("cpu"), calibration=images)
    return arm_key(spec, "baseline", compression), compress_arm(spec, compression, network).content


def quantized_by(quantize):
    """Nothing is pruned, so that there are small coefficients as well."""
    return Settings(quantize=quantize, threshold=ThresholdSettings(percentile=0.0))


@cache
def coded_by(name):
    return coded(quantized_by(QUANTIZERS[name]))


@pytest.mark.parametrize("key", CHANGES)
@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_setting_of_the_quantiser_is_noted_where_it_changes_no_file(name, key):
    settings = quantized_by(replace(QUANTIZERS[name], **{key: CHANGES[key]}))
    noted = [note for note in unused_notes(settings) if note.startswith(f"quantize.{key}: {CHANGES[key]!r} has")]
    assert bool(noted) == (coded(settings) == coded_by(name))


@pytest.mark.parametrize(("key", "value"), [("percentile", 60.0), ("energy", 0.5), ("value", 0.5)])
@pytest.mark.parametrize("rule", THRESHOLDS)
def test_a_number_of_another_rule_is_noted_and_changes_no_file(rule, key, value):
    base = Settings(threshold=THRESHOLDS[rule])
    settings = replace(base, threshold=replace(base.threshold, **{key: value}))
    assert bool(unused_notes(settings)) == (coded(settings) == coded(base))


@pytest.mark.parametrize(
    "change", [{"scope": "global"}, {"shrinkage": "soft"}, {"atom_norm": True}, {"allocation": "erk"}]
)
@pytest.mark.parametrize("percentile", [0.0, 60.0])
def test_how_much_is_pruned_of_nothing_is_noted_and_changes_no_file(percentile, change):
    base = Settings(threshold=ThresholdSettings(percentile=percentile))
    settings = replace(base, threshold=replace(base.threshold, **change))
    assert bool(unused_notes(settings)) == (coded(settings)[1] == coded(base)[1]) == (not percentile)


@pytest.mark.parametrize(
    "change",
    [
        {"quantize": QuantizeSettings(per="band")},
        {"quantize": QuantizeSettings(atom_norm=True)},
        {"threshold": ThresholdSettings(atom_norm=True)},
        {"wavelet": "haar"},
        {"level": 1},
        {"boundary": "zero"},
    ],
)
@pytest.mark.parametrize("method", ["wavelet", "magnitude"])
def test_settings_of_wavelets_are_noted_where_no_arm_has_one(method, change):
    base = Settings(method=MethodSettings(method), compare=["random"])
    settings = replace(base, **change)
    is_same = coded(settings, method) == coded(base, method)
    assert bool(unused_notes(settings)) == is_same == (method == "magnitude")
    assert unused_notes(replace(settings, compare=["shuffled"])) == []


@pytest.mark.parametrize("change", [{"percentile": 10.0}, {"bits": 3}])
@pytest.mark.parametrize("rule", THRESHOLDS)
@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_layers_own_number_is_noted_where_it_changes_no_file(name, rule, change):
    base = Settings(threshold=THRESHOLDS[rule], quantize=QUANTIZERS[name])
    settings = replace(base, layers=LayersSettings(overrides=[LayerOverride("0*", **change)]))
    assert bool(unused_notes(settings)) == (coded(settings)[1] == coded(base)[1])


def test_defaults_and_settings_that_play_a_part_are_not_noted():
    assert unused_notes(Settings()) == []
    retrain = RetrainSettings("iterative", epochs=6, rounds=2, quantize_epochs=1, learning_rate=0.1)
    assert unused_notes(Settings(retrain=retrain)) == []


def test_controls_that_are_none_and_a_momentum_of_adam_are_noted():
    assert unused_notes(Settings(method=MethodSettings("magnitude"))) == []  # the default is nobody's choice
    assert unused_notes(Settings(compare=["wavelet", "dct"])) == [
        "compare: 'wavelet' has no effect; it needs another method than the main one"
    ]
    assert unused_notes(Settings(compare=[], compare_match="bytes")) == [
        "compare_match: 'bytes' has no effect; it needs a method to compare with"
    ]
    model = ModelSettings(recipe=Recipe(momentum=0.5))
    note = "model.recipe.momentum: 0.5 has no effect; it needs model.recipe.optimizer=sgd"
    assert unused_notes(Settings(model=model)) == [note]
    assert unused_notes(Settings(model=model, retrain=RetrainSettings("finetune", optimizer="sgd"))) == []


def test_settings_of_another_retraining_are_noted_with_what_they_need():
    retrain = RetrainSettings("gradual", freeze_epochs=2, rounds=3, ramp=0.5, quantize_epochs=1)
    assert unused_notes(Settings(retrain=retrain)) == [
        "retrain.rounds: 3 has no effect; it needs retrain=iterative or rewind",
        "retrain.freeze_epochs: 2 has no effect; it needs retrain=rate",
    ]
    assert unused_notes(Settings(retrain=retrain, quantize=QUANTIZERS["rdo"]))[1] == (
        "retrain.quantize_epochs: 1 has no effect; it needs quantize=uniform or kmeans, not rdo"
    )
    forgotten = RetrainSettings(epochs=20, learning_rate=0.1)
    assert unused_notes(Settings(retrain=forgotten)) == [
        "retrain.epochs: 20 has no effect; it needs retrain=finetune, iterative, gradual or rate",
        "retrain.learning_rate: 0.1 has no effect; it needs a retrain that is not none",
    ]


@pytest.mark.parametrize(
    ("changes", "name", "weights", "note"),
    [
        ({"image_size": 64}, "digits", None, "dataset.image_size: 64 has no effect; it needs dataset=image_folder"),
        ({"channels": 1}, "mnist", None, "dataset.channels: 1 has no effect; it needs dataset=image_folder"),
        ({"resize": 99}, "custom", None, "dataset.resize: 99 has no effect; it needs dataset=image_folder"),
        ({"arguments": {"n": 5}}, "digits", None, "dataset.arguments: {'n': 5} has no effect; it needs dataset=custom"),
        ({"image_size": 64}, "image_folder", "DEFAULT", "dataset.image_size: 64 has no effect; it needs a model witho"),
        ({"image_size": 64, "resize": 70, "channels": 1}, "image_folder", None, None),
        ({"arguments": {"n": 5}}, "custom", None, None),
        ({"validation_fraction": 0.3}, "digits", None, None),
    ],
)
def test_settings_of_other_data_sets_are_told_of(changes, name, weights, note):
    settings = Settings(dataset=DatasetSettings(name, **changes), model=ModelSettings(weights=weights))
    assert [text[: len(note or "")] for text in unused_notes(settings)] == ([] if note is None else [note])
