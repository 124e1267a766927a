"""Keys: pinned, blind to what cannot change a result, and different for everything that can."""

from copy import deepcopy
from dataclasses import fields, is_dataclass

import pytest

from wavesweep.settings.keys import baseline_key, hash_of, trial_key
from wavesweep.settings.schema import (
    VOLATILE,
    DatasetSettings,
    LayerOverride,
    LayersSettings,
    MethodSettings,
    ModelSettings,
    PathsSettings,
    Recipe,
    SearchSettings,
    Settings,
    ThresholdSettings,
)

# What a key is replaced by: settings that only name a file.
BY_DIGEST = {"model.checkpoint": "checkpoint", "dataset.path": "dataset", "threshold.sensitivity": "sensitivity"}
BASELINE_GROUPS = ("model", "dataset", "task", "seed")
# Values of another kind than those a generic change can make.
OTHER_VALUES = {
    "search.constraints.max_drop": 1.0,
    "search.constraints.max_ms": 5.0,
    "search.constraints.min_sparsity": 50.0,
    "model.arguments": {"hidden": [32]},
    "dataset.arguments": {"length": 32},
    "dataset.resize": 256,
    "dataset.in_memory": False,
    "task.name": "regression",
    "task.arguments": {"token": "character"},
    "quantize.max_drop_in": "percent",
    "search.constraints.max_drop_in": "percent",
    "layers.types": ["conv"],
    "layers.include": ["fc*"],
    "layers.exclude": ["fc3*"],
    "layers.overrides": [LayerOverride(match="fc1*", percentile=90.0)],
    "compare": [],
    "quantize.step": 0.02,
    "quantize.max_drop": 1.0,
    "retrain.optimizer": "sgd",
    "retrain.learning_rate": 0.01,
    "retrain.weight_decay": 0.0,
    "retrain.batch_size": 32,
    "retrain.augment": False,
    "retrain.precision": "bfloat16",
}


def leaves(node, prefix=""):
    """Dotted names of all settings."""
    for entry in fields(node):
        value = getattr(node, entry.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name


def changed(name, value=None):
    """Default settings with another value of the dotted `name`."""
    settings = node = Settings()
    *groups, last = name.split(".")
    for group in groups:
        node = getattr(node, group)
    setattr(node, last, _other(name, getattr(node, last)) if value is None else value)
    return settings


def _other(name, value):
    if name in OTHER_VALUES:
        return deepcopy(OTHER_VALUES[name])
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}_other"


LEAVES = list(leaves(Settings()))
# Changes the speed alone.
UNKEPT = {*BY_DIGEST, "dataset.workers"}
KEPT = [name for name in LEAVES if name.partition(".")[0] not in VOLATILE and name not in UNKEPT]


@pytest.mark.parametrize(
    ("settings", "trial", "baseline"),
    [
        (Settings(), "889c881bdbef4f1c", "eb641372526971d4"),
        (Settings(wavelet="rbio3.3", level=5, seed=2), "51d40e9d3242396f", "8a533cc13ebc9430"),
        (
            Settings(
                model=ModelSettings(name="lenet300", recipe=Recipe(epochs=20, batch_size=128)),
                dataset=DatasetSettings(name="mnist"),
                threshold=ThresholdSettings(percentile=95.0, scope="global"),
            ),
            "fc343a8fd7e32df3",
            "34521a05a06771a3",
        ),
        (
            Settings(
                method=MethodSettings(name="dct"),
                layers=LayersSettings(exclude=["fc3*"], overrides=[LayerOverride(match="fc1*", level="max")]),
                compare=[],
            ),
            "d3d2429cb6f1177a",
            "eb641372526971d4",
        ),
    ],
)
def test_keys_are_pinned(settings, trial, baseline):
    # A failure means that results on disk are no longer found: raise KEY_VERSION, or mend the code.
    assert (trial_key(settings), baseline_key(settings)) == (trial, baseline)


def test_pinned_keys_of_inputs():
    settings = Settings(dataset=DatasetSettings(name="image_folder", path="/data/birds"))
    assert trial_key(settings, {"dataset": "0123456789abcdef"}) == "55636ae98f970610"
    assert baseline_key(settings, {"dataset": "0123456789abcdef"}) == "97bc69fb37838b57"


def test_volatile_settings_do_not_change_keys():
    volatile = [name for name in LEAVES if name.partition(".")[0] in VOLATILE]
    assert len(volatile) >= len(VOLATILE) + 1
    settings = Settings(
        paths=PathsSettings(outputs="/elsewhere", data="/somewhere"),
        device="cuda",
        progress=False,
        retry_failed=True,
        on_busy="skip",
        search=SearchSettings(name="pareto"),
        export="onnx",
    )
    assert all(getattr(settings, name) != getattr(Settings(), name) for name in VOLATILE)
    assert trial_key(settings) == trial_key(Settings())
    assert baseline_key(settings) == baseline_key(Settings())
    for name in volatile:
        assert trial_key(changed(name)) == trial_key(Settings())


def test_a_default_that_is_written_out_gives_the_same_key():
    explicit = Settings(
        model=ModelSettings(name="mlp", target=None, arguments={}, recipe=Recipe(epochs=30)),
        threshold=ThresholdSettings(rule="percentile", percentile=80),
        layers=LayersSettings(types=["conv", "linear", "large"], include=["*"], exclude=[], overrides=[]),
        wavelet="bior2.2",
        level=3,
        compare=["magnitude", "random"],
        seed=0,
    )
    assert trial_key(explicit) == trial_key(Settings())
    assert baseline_key(explicit) == baseline_key(Settings())


@pytest.mark.parametrize("name", KEPT)
def test_any_other_setting_changes_the_key(name):
    assert trial_key(changed(name)) != trial_key(Settings())
    in_baseline = name.partition(".")[0] in BASELINE_GROUPS
    assert (baseline_key(changed(name)) != baseline_key(Settings())) is in_baseline


def test_how_many_processes_read_the_data_changes_no_key():
    assert trial_key(changed("dataset.workers")) == trial_key(Settings())
    assert baseline_key(changed("dataset.workers")) == baseline_key(Settings())


def test_all_single_changes_have_different_keys():
    assert len({trial_key(changed(name)) for name in KEPT}) == len(KEPT) > 30


@pytest.mark.parametrize("entry", [entry.name for entry in fields(LayerOverride)])
def test_every_field_of_an_override_changes_the_key(entry):
    one = LayerOverride(match="fc1*", percentile=90.0)
    other = deepcopy(one)
    value = {"match": "fc2*", "percentile": 80.0, "wavelet": "haar", "level": 1, "layout": "flat", "bits": 4}[entry]
    setattr(other, entry, value)
    keys = {trial_key(changed("layers.overrides", [override])) for override in (one, other)}
    assert len(keys) == 2


def test_the_order_of_overrides_counts():
    overrides = [LayerOverride(match="fc1*", level=1), LayerOverride(match="fc*", level=2)]
    keys = {trial_key(changed("layers.overrides", order)) for order in (overrides, overrides[::-1])}
    assert len(keys) == 2


@pytest.mark.parametrize("key_of", [trial_key, baseline_key])
@pytest.mark.parametrize("name", BY_DIGEST)
def test_a_named_file_counts_by_its_content_not_its_place(name, key_of):
    here, there = changed(name, "/here/file"), changed(name, "/there/file")
    kind = BY_DIGEST[name]
    assert key_of(here, {kind: "aa"}) == key_of(there, {kind: "aa"})
    assert key_of(here, {kind: "aa"}) != key_of(here, {kind: "bb"})
    assert key_of(here, {kind: "aa"}) != key_of(here, {"other": "aa"})
    assert key_of(here, {kind: "aa"}) != key_of(Settings())


def test_making_a_key_leaves_the_settings_as_they_are():
    settings = Settings(
        model=ModelSettings(checkpoint="/here/file", arguments={"hidden": [32]}),
        layers=LayersSettings(overrides=[LayerOverride(level=1)]),
    )
    before = deepcopy(settings)
    trial_key(settings, {"checkpoint": "aa"})
    baseline_key(settings, {"checkpoint": "aa"})
    assert settings == before


def test_hash_is_short_hexadecimal_and_blind_to_the_order_of_names():
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of({"a": [1, 2]}) != hash_of({"a": [2, 1]})
    assert len(hash_of({})) == 16
    assert int(hash_of({}), 16) > 0
    with pytest.raises(ValueError, match="not JSON compliant"):
        hash_of({"a": float("nan")})
