"""Every check of the settings: what is refused, and that the refusal says what is allowed."""

import pickle
from copy import deepcopy
from dataclasses import fields, is_dataclass

import pytest
import pywt
from hypothesis import given
from hypothesis import strategies as st
from setting_values import BAD, CHECKED_ELSEWHERE, GOOD, INFINITY, NAN, SPECIFIC, TABLE

from wavesweep.errors import BusyError, SettingsError, StoreError, TrialError
from wavesweep.settings.registry import LayerType, Method, rows
from wavesweep.settings.rules import check
from wavesweep.settings.schema import (
    LayerOverride,
    MethodSettings,
    ModelSettings,
    QuantizeSettings,
    Recipe,
    RetrainSettings,
    Settings,
    ThresholdSettings,
    allowed_text,
    constraint_of,
)

METHODS = tuple(rows(Method))


def leaves(node, prefix=""):
    """Dotted names of all settings, with the fields that declare them."""
    for entry in fields(node):
        value = getattr(node, entry.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, entry


def with_value(key, value):
    settings = node = Settings()
    *groups, last = key.split(".")
    for group in groups:
        node = getattr(node, group)
    assert hasattr(node, last)
    setattr(node, last, value)
    return settings


def refusal(settings):
    with pytest.raises(SettingsError) as raised:
        check(settings)
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"weights": "DEFAULT"}, "model.weights=DEFAULT: is for model=torchvision; see also model.checkpoint"),
        (
            {"weights": "DEFAULT", "source": "torchvision", "checkpoint": "w.pt"},
            "model.weights=DEFAULT: is not for use with model.checkpoint; leave one out",
        ),
    ],
)
def test_trained_weights_are_torchvisions_or_the_users(model, message):
    assert str(refusal(Settings(model=ModelSettings(**model)))) == message


def test_epochs_may_be_none_only_with_trained_weights():
    recipe = Recipe(epochs=0)
    check(Settings(model=ModelSettings(source="torchvision", weights="DEFAULT", recipe=recipe)))
    check(Settings(model=ModelSettings(checkpoint="w.pt", recipe=recipe)))
    assert refusal(Settings(model=ModelSettings(source="torchvision", recipe=recipe))).key == "model.recipe.epochs"


def test_the_table_names_every_setting():
    assert {key for key, _ in leaves(Settings())} == TABLE.keys() | CHECKED_ELSEWHERE


def test_the_defaults_are_accepted():
    check(Settings())


@pytest.mark.parametrize(("key", "value"), GOOD)
def test_a_value_at_the_edge_of_what_is_allowed_is_accepted(key, value):
    check(with_value(key, value))


@pytest.mark.parametrize(("key", "value"), BAD)
def test_a_wrong_value_names_key_value_and_what_is_allowed(key, value):
    error = refusal(with_value(key, value))
    assert error.key == key
    wrong = next(item for item in value if item not in rows(LayerType)) if key == "layers.types" else value
    assert str(error).startswith(f"{key}={wrong}: ")
    assert SPECIFIC.get(key, allowed_text(key)) in str(error)


def test_a_wrong_method_names_the_known_ones():
    error = refusal(Settings(method=MethodSettings("wavelets")))
    assert str(error) == f"method.name=wavelets: must be one of {', '.join(METHODS)}"


def test_a_comparison_takes_different_methods():
    for wrong in (["unit", "magnitud"], ["unit", "unit"]):
        text = f"compare={wrong}: must be a list of different methods ({', '.join(METHODS)}), [] for none"
        assert str(refusal(Settings(compare=wrong))) == text


@pytest.mark.parametrize("rule", ["energy", "absolute", "universal"])
def test_random_ranks_are_no_magnitudes(rule):
    settings = Settings(method=MethodSettings("random"), threshold=ThresholdSettings(rule))
    assert str(refusal(settings)).startswith(f"threshold={rule}: is not for method=random, whose ranks are no magn")
    check(Settings(method=MethodSettings("random")))
    check(Settings(compare=["random"], threshold=ThresholdSettings(rule)))  # as many as the main method keeps


def test_level_0_names_the_method_that_does_what_it_would():
    assert "use method=magnitude" in str(refusal(Settings(level=0)))


def test_no_epochs_need_a_checkpoint():
    settings = with_value("model.recipe.epochs", 0)
    assert "0 only with model.checkpoint" in str(refusal(settings))
    settings.model.checkpoint = "trained.pt"
    check(settings)


def test_a_custom_model_needs_a_target():
    error = refusal(Settings(model=ModelSettings("custom")))
    assert str(error).startswith("model.target=None: must be package.module.factory")


@pytest.mark.parametrize(
    ("key", "value", "retrain"),
    [
        ("retrain.regrow", True, {"regrow": True}),
        ("quantize.name", "kmeans", {}),
        ("quantize.name", "none", {}),
        ("quantize.step", 0.1, {}),
        ("quantize.max_drop", 0.0, {}),
    ],
)
def test_what_contradicts_a_learned_rate_is_refused(key, value, retrain):
    settings = with_value(key, value)
    check(settings)
    settings.retrain = RetrainSettings("rate", **retrain)
    error = refusal(settings)
    assert str(error).startswith(f"{key}={value}: is not for retrain=rate")


@pytest.mark.parametrize("kind", ["finetune", "iterative", "gradual", "rewind"])
def test_epochs_that_do_not_suffice_are_refused_before_anything_is_trained(kind):
    settings = Settings(retrain=RetrainSettings(kind, epochs=7, rounds=5, quantize_epochs=2))
    check(settings)
    settings.retrain.quantize_epochs = 29 if kind == "rewind" else 7
    error = refusal(settings)
    if kind == "rewind":  # its epochs are the baseline's, so more of the others would not help
        assert str(error).startswith("retrain.quantize_epochs=29: ")
    else:
        assert str(error).startswith("retrain.epochs=7: is too few for ")
    # Where the quantiser cannot be trained there are no such epochs.
    settings.quantize = QuantizeSettings(step=0.1, rate_weight=0.1)
    check(settings)
    settings.retrain.name = "none"
    settings.quantize = QuantizeSettings()
    check(settings)


def test_a_network_can_only_be_rewound_to_an_epoch_that_it_had():
    settings = Settings(retrain=RetrainSettings("rewind", rewind_epoch=30))
    assert "must be below the 30 epochs" in str(refusal(settings))
    settings.model.recipe.epochs = 33
    check(settings)


@pytest.mark.parametrize("name", ["erk", "lamp", "sensitivity"])
@pytest.mark.parametrize(("key", "value"), [("rule", "energy"), ("rule", "universal"), ("scope", "global")])
def test_an_allocation_needs_a_percentile_for_each_tensor(name, key, value):
    threshold = ThresholdSettings(**{"allocation": name, "sensitivity": "table.csv", key: value})
    error = refusal(Settings(threshold=threshold))
    assert str(error).startswith(f"threshold.allocation={name}: needs threshold.{key}=")
    assert f"threshold.allocation=uniform to use {value}" in str(error)


def test_a_sensitivity_allocation_needs_a_table_and_says_what_makes_it():
    error = refusal(Settings(threshold=ThresholdSettings(allocation="sensitivity")))
    assert str(error).startswith("threshold.sensitivity=None: must be the table")
    assert "-m experiment=sensitivity" in str(error)
    check(Settings(threshold=ThresholdSettings(allocation="sensitivity", sensitivity="table.csv")))


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("percentile", [None, 0, 100, 90.5], [-1, 101, NAN, INFINITY]),
        ("wavelet", [None, "haar"], ["har", ""]),
        ("level", [None, 1, "max"], [0, -1, 1.5, "3", True]),
        ("layout", [None, "flat"], ["rows"]),
    ],
)
def test_an_override_is_checked_like_the_setting_itself(name, good, bad):
    for value in good:
        check(with_value("layers.overrides", [LayerOverride("fc1*"), LayerOverride("fc2*", **{name: value})]))
    for value in bad:
        error = refusal(with_value("layers.overrides", [LayerOverride(), LayerOverride("fc2*", **{name: value})]))
        assert str(error).startswith(f"layers.overrides[match=fc2*].{name}={value}: must be ")


@pytest.mark.parametrize("name", pywt.wavelist(kind="discrete"))
def test_every_discrete_wavelet_is_accepted(name):
    check(Settings(wavelet=name))


@pytest.mark.parametrize("name", pywt.wavelist(kind="continuous"))
def test_continuous_wavelets_are_refused(name):
    assert str(refusal(Settings(wavelet=name))).startswith(f"wavelet={name}: must be a discrete wavelet")


@pytest.mark.parametrize(
    ("name", "meant"), [("bior22", "bior2.2"), ("rbio3-3", "rbio3.3"), ("Haar", "haar"), ("symm4", "sym4")]
)
def test_a_misspelt_wavelet_is_answered_with_the_one_that_was_meant(name, meant):
    hint = str(refusal(Settings(wavelet=name))).partition("did you mean ")[2]
    assert meant in hint.rstrip("?").split(" or ")


@given(st.text() | st.sampled_from(pywt.wavelist(kind="discrete")).flatmap(lambda name: st.text().map(name.__add__)))
def test_any_other_text_is_no_wavelet_and_gets_a_hint(name):
    if name in pywt.wavelist(kind="discrete"):
        check(Settings(wavelet=name))
        return
    with pytest.raises(SettingsError, match=r"did you mean [^?]+\?$|see pywt\.wavelist\(kind='discrete'\)$"):
        check(Settings(wavelet=name))


def test_every_setting_says_what_is_allowed():
    for key, entry in leaves(Settings()):
        assert constraint_of(entry).allowed.startswith("must be "), key
        assert allowed_text(key) == constraint_of(entry).allowed
    assert all(constraint_of(entry).allowed.startswith("must be ") for entry in fields(LayerOverride))


@pytest.mark.parametrize("key", ["modle", "model.recipe.epoch", "level.x", "model.arguments.hidden", "", "model."])
def test_there_is_no_text_for_a_key_that_does_not_exist(key):
    assert allowed_text(key) is None


def test_the_text_of_a_group_says_that_it_is_one():
    assert allowed_text("model") == allowed_text("model.recipe") == "is a group of keys; set one of them"


def test_checking_changes_nothing():
    settings = Settings(layers=with_value("layers.overrides", [LayerOverride("fc*", level=1)]).layers)
    before = deepcopy(settings)
    check(settings)
    assert settings == before


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("level", 0, "must be an integer >= 1", "use method=magnitude"),
        SettingsError("seed", -1, "must be an integer >= 0"),
        TrialError("the validation loss is nan"),
        StoreError("cannot write"),
        BusyError("computed by another process"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes(error):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(error, protocol))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert str(again) == str(error)


def test_the_text_of_an_error_is_key_value_allowed_remedy():
    assert str(SettingsError("level", 0, "must be >= 1", "use another")) == "level=0: must be >= 1; use another"
    assert str(SettingsError("level", 0, "must be >= 1")) == "level=0: must be >= 1"
