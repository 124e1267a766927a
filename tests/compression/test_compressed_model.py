"""What `wavesweep.compress` takes as keyword arguments, and what can be told of what it gives."""

import re
import typing

import pytest
import torch
from torch import nn

import wavesweep
from wavesweep.cli.composition import compose_settings
from wavesweep.settings import registry
from wavesweep.settings.keywords import SHORT, Keywords, overrides_of
from wavesweep.settings.schema import Settings

LISTED = ["wavelet=haar", "level=2", "threshold.percentile=90", "quantize=uniform", "quantize.bits=5"]
ALIKE = {
    "a dict": ({"wavelet": "haar", "level": 2, "threshold.percentile": 90, "quantize": {"bits": 5}}, {}),
    "keywords": ((), {"wavelet": "haar", "level": 2, "percentile": 90, "quantize": "uniform", "bits": 5}),
    "groups as dicts": (
        (),
        {
            "wavelet": "haar",
            "level": 2,
            "threshold": {"percentile": 90.0},
            "quantize": {"bits": 5, "name": "uniform"},
        },
    ),
    "a list and keywords": (LISTED[:2], {"percentile": 90, "bits": 5}),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.mark.parametrize("name", ALIKE)
def test_all_ways_to_give_settings_are_alike(name):
    overrides, keywords = ALIKE[name]
    assert compose_settings(overrides_of(overrides, keywords)) == compose_settings(LISTED)


def test_an_option_of_a_group_is_chosen_before_its_settings_are_set():
    settings = compose_settings(overrides_of({"quantize.step": 0.5}, {"quantize": "rdo"}))
    assert settings == compose_settings(["quantize=rdo", "quantize.step=0.5"]) != compose_settings(["quantize=rdo"])
    settings = compose_settings(overrides_of((), {"epochs": 3, "retrain": "finetune"}))
    assert (settings.retrain.name, settings.retrain.epochs) == ("finetune", 3)


def test_what_an_editor_completes_are_settings():
    names = set(typing.get_type_hints(Keywords))
    assert {name for name in names if not hasattr(Settings(), name)} == set(SHORT)
    for dotted in SHORT.values():
        group, _, name = dotted.partition(".")
        assert hasattr(getattr(Settings(), group), name)
    assert set(registry.GROUPS) - names <= {"model", "dataset", "task"}  # the network and the data are given


@pytest.mark.parametrize(
    ("overrides", "keywords", "text"),
    [
        ((), {"wavelt": "haar"}, "wavelt: there is no such key; did you mean wavelet?"),
        ((), {"percentile": 900}, "threshold.percentile=900"),
        ((), {"quantize": {"name": "rdoo"}}, "quantize=rdoo: must be one of"),
        (["level=2"], {"level": 3}, "level=3: is given twice"),
        ("level=2", {}, "overrides=level=2: must be a list of settings, or a dict"),
        (7, {}, "overrides=7: must be a list of settings"),
    ],
)
def test_wrong_settings_are_one_line(model, overrides, keywords, text):
    with pytest.raises(wavesweep.SettingsError, match="^" + text.replace("?", r"\?")) as caught:
        wavesweep.compress(model, overrides, **keywords)
    assert "\n" not in str(caught.value)


def test_the_result_tells_what_is_in_the_file(model, tmp_path):
    found = wavesweep.compress(model, wavelet="haar", level=2, percentile=75)
    dense = 4 * (64 * 32 + 32 + 32 * 10 + 10)
    assert found.times_smaller == dense / found.stored_bytes
    assert found.sparsity == pytest.approx(0.75, abs=0.01)
    assert found.not_coded == {"0.bias": 64, "2.bias": 20}
    assert [row["tensor"] for row in found.layers] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert found.table()["numbers"].sum() == sum(row["numbers"] for row in found.layers)
    share = 100 * 84 / found.stored_bytes
    expected = [
        ["file", f"{found.stored_bytes:,} bytes, {dense / found.stored_bytes:.2f} times smaller"],
        ["sparsity", f"{100 * found.sparsity:.2f} % of the coded coefficients"],
        ["not coded", f"{share:.1f} % of the file: 0.bias, 2.bias"],
    ]
    assert [re.split("  +", line) for line in str(found).splitlines()] == expected
    assert found._repr_html_().count("<tr>") == 3
    assert found.save(tmp_path / "small.wsz") == found.stored_bytes == (tmp_path / "small.wsz").stat().st_size


def test_it_loads_into_a_network_as_its_file_does(model, tmp_path):
    found = wavesweep.compress(model, method="magnitude", percentile=50)
    found.save(tmp_path / "small.wsz")
    other = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    assert found.load_into(other) is other
    for name, value in wavesweep.load(tmp_path / "small.wsz").items():
        assert torch.equal(other.state_dict()[name], value)
    with pytest.raises(wavesweep.FileFormatError, match="the compressed network: does not fit the model"):
        found.load_into(nn.Linear(64, 32))
