"""Networks without their superfluous units: smaller, with the same outputs, and reasons for what stays."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    CLASSES,
    ZOO,
    assert_same_outputs,
    layers,
    outputs,
    parameters,
    trained,
    with_statistics,
    zero_units,
)
from own_layers import Conv1D
from torch import nn

from wavesweep.models.resize import fit_to
from wavesweep.runtime.kernels import memory_format_of
from wavesweep.shrink.units import shrink


def shrunk(model, shape, **options):
    return shrink(model, model.state_dict(), shape, **options)


def reasons(found, layer):
    return {row["reason"]: row["units"] for row in found.kept_because if row["layer"] == layer}


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


LARGE = ("resnet18", "resnet56")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.integration) if name in LARGE else name for name in ZOO]
)
def test_outputs_stay_and_the_network_becomes_smaller(name):
    model = trained(name)
    zeroed = zero_units(model, 0.5)
    before = copied(model)
    found = shrunk(model, ZOO[name])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert_same_outputs(model, found.model, ZOO[name])
    assert parameters(found.model) < 0.9 * parameters(model)
    # All zero units are accounted for, each by layer: removed, or kept for a reason.
    for layer, units in zeroed.items():
        kept = sum(reasons(found, layer).get(text, 0) for text in reasons(found, layer) if "input" not in text)
        assert len(set(units) - set(found.removed.get(layer, ()))) == kept, layer


@pytest.mark.parametrize("name", ["mlp", "lenet5"])
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_any_share_of_any_units(name, share, seed):
    model = trained(name)
    zero_units(model, share, seed)
    model.get_submodule("fc2").weight.data[0, 0] = 1  # some output is no constant
    found = shrunk(model, ZOO[name])
    expected = outputs(model, ZOO[name])
    torch.testing.assert_close(outputs(found.model, ZOO[name]), expected, rtol=1e-4, atol=1e-4)
    assert all(0 not in layer.weight.shape for layer in layers(found.model).values())


@pytest.mark.parametrize("name", ["mlp", "lenet300", "lenet5", "mlp5"])
def test_without_padding_all_zero_units_go(name):
    model = trained(name)
    last = [*layers(model)][-1]
    zeroed = zero_units(model, 0.5, skip=(last,))
    found = shrunk(model, ZOO[name])
    assert {layer: set(units) for layer, units in found.removed.items()} == {k: set(v) for k, v in zeroed.items()}
    assert found.kept_because == []
    for layer, units in zeroed.items():
        assert len(found.model.get_submodule(layer).weight) == len(model.get_submodule(layer).weight) - len(units)


def test_a_constant_is_added_to_the_next_bias():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].weight.data[1:3] = 0
    model[0].bias.data[1:3] = torch.tensor([0.7, -0.7])
    expected = model[2].bias + 0.7 * model[2].weight[:, 1]
    found = shrunk(model, (3,))
    assert found.removed == {"0": (1, 2)}
    assert found.folded == {"2.bias"}
    torch.testing.assert_close(found.model[2].bias, expected)
    torch.testing.assert_close(found.model[2].weight, model[2].weight[:, [0, 3]])


def test_nothing_else_changes_a_bit():
    model = trained("lenet5")
    gone = zero_units(model, 0.3, skip=("fc2",))
    found = shrunk(model, ZOO["lenet5"])
    left = [unit for unit in range(20) if unit not in gone["conv1"]]
    assert torch.equal(found.state["conv1.weight"], model.conv1.weight[left])
    assert torch.equal(found.state["conv1.bias"], model.conv1.bias[left])


class Padded(nn.Module):
    def __init__(self, mode="zeros", padding=1, bias=True):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.second = nn.Conv2d(4, 3, 3, padding=padding, padding_mode=mode, bias=bias)

    def forward(self, images):
        return self.second(self.first(images).relu()).flatten(2).amax(2)


def padded(constant, **options):
    model = Padded(**options)
    model.first.weight.data[2] = 0
    model.first.bias.data[2] = constant
    return model


@pytest.mark.parametrize(
    ("constant", "options", "goes"),
    [
        (0.5, {}, False),
        (-0.5, {}, True),  # zero after the activation
        (0.5, {"padding": 0}, True),
        (0.5, {"padding": "valid"}, True),
        (0.5, {"padding": "same"}, False),
        (0.5, {"mode": "reflect"}, True),
        (0.5, {"padding": 0, "bias": False}, False),
        (-0.5, {"padding": 0, "bias": False}, True),
    ],
)
def test_a_constant_goes_only_where_it_can_be_taken_up_exactly(constant, options, goes):
    model = padded(constant, **options)
    found = shrunk(model, (1, 8, 8))
    assert found.removed == ({"first": (2,)} if goes else {})
    assert_same_outputs(model, found.model, (1, 8, 8))
    if not goes:
        (text,) = reasons(found, "first")
        assert "0.5" in text
        assert ("zero padding of second" in text) is options.get("bias", True)


def test_a_graph_in_which_indices_wander_has_an_end():
    # Circular padding copies slices of the image, which the dependency graph takes for slices of the channels.
    model = padded(0.5, mode="circular")
    found = shrunk(model, (1, 8, 8))
    assert_same_outputs(model, found.model, (1, 8, 8))
    assert found.removed == {}
    assert reasons(found, "first") == {"is mixed with others in the dependency graph": 1}


def test_units_that_nobody_reads_go_and_then_those_that_only_they_read():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    model[4].weight.data[:, 3] = 0  # unit 3 of the middle layer is not read
    model[2].weight.data[:3, 1] = 0  # and only it reads unit 1 of the first
    found = shrunk(model, (5,))
    assert found.removed == {"0": (1,), "2": (3,)}
    assert found.folded == frozenset()
    assert_same_outputs(model, found.model, (5,))


def test_inputs_and_outputs_of_the_network_stay():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].weight.data[:, :2] = 0
    model[2].weight.data[1] = 0
    found = shrunk(model, (5,))
    assert found.removed == {}
    assert {(row["layer"], row["units"]) for row in found.kept_because} == {("0", 2), ("2", 1)}
    assert list(reasons(found, "2")) == ["is an output of the network"]
    assert "input of the network" in next(iter(reasons(found, "0")))


def test_a_layer_keeps_one_unit():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].weight.data.zero_()
    found = shrunk(model, (5,))
    assert found.removed == {"0": (1, 2, 3)}
    assert reasons(found, "0")["is the last unit of its layer"] == 1
    torch.testing.assert_close(outputs(found.model, (5,)), outputs(model, (5,)))


@pytest.mark.parametrize("name", [pytest.param("resnet18", marks=pytest.mark.integration), "resnet20"])
def test_a_channel_of_a_residual_stage_goes_only_from_all_its_layers(name):
    model = trained(name)
    last, unit = {"resnet18": ("layer4", 300), "resnet20": ("stage3", 40)}[name]
    stage = [key for key in layers(model) if key.startswith(last) and key.endswith(("conv2", "downsample.0"))]
    norms = {key: key.replace("conv2", "bn2").replace("downsample.0", "downsample.1") for key in stage}
    for key in stage[1:]:
        model.get_submodule(key).weight.data[unit] = 0
    for key in norms.values():
        model.get_submodule(key).bias.data[unit] = -100  # below zero after each addition
    found = shrunk(model, ZOO[name])
    assert found.removed == {}
    assert reasons(found, stage[1]) == {f"is added to a unit of {stage[0]} that is not zero": 1}
    model.get_submodule(stage[0]).weight.data[unit] = 0
    found = shrunk(model, ZOO[name])
    assert {key: units for key, units in found.removed.items() if units} == dict.fromkeys(stage, (unit,))
    assert_same_outputs(model, found.model, ZOO[name])


def test_a_channel_of_all_stages_goes_from_a_network_that_pads_its_shortcuts():
    model = trained("resnet20")
    stage = [key for key in layers(model) if key == "conv1" or key.endswith("conv2")]
    for key in stage:
        model.get_submodule(key).weight.data[5] = 0
        model.get_submodule(key.replace("conv", "bn")).bias.data[5] = -100
    found = shrunk(model, ZOO["resnet20"])
    assert {key: units for key, units in found.removed.items() if units} == dict.fromkeys(stage, (5,))
    assert_same_outputs(model, found.model, ZOO["resnet20"])


class Counting(nn.Module):
    """Its forward pass knows how many features there are."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, values):
        return self.second(self.first(values).reshape(-1, 2, 4).relu().reshape(-1, 8))


class Scaled(nn.Module):
    """The dependency graph sees no harm in removing a unit; the mean over units does."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, values):
        hidden = self.first(values).relu()
        return self.second(hidden / (1 + hidden.mean(1, keepdim=True)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, values):
        return self.third(self.second(self.first(values).relu()).relu())


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, values):
        return self.second(self.norm(self.first(values)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, values):
        return self.third(self.second(self.second(self.first(values).relu()).relu()).relu())


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Linear(4, 3)

    def forward(self, images):
        return self.third(self.second(self.first(images).relu()).relu().amax((2, 3)))


@pytest.mark.parametrize("kind", [Counting, Scaled, Tied, Normalised, Twice, Grouped])
def test_what_the_graph_does_not_understand_stays_and_says_why(kind):
    torch.manual_seed(0)
    model, shape = kind(), (1, 8, 8) if kind is Grouped else (6,)
    model.first.weight.data[1] = 0
    model.first.bias.data[1] = 0.5
    found = shrunk(model, shape)
    assert_same_outputs(model, found.model, shape)
    assert 1 not in found.removed.get("first", ())
    assert parameters(found.model) == parameters(model)
    assert len(found.kept_because) >= 1
    assert all(row["reason"] and "\n" not in row["reason"] for row in found.kept_because)


class Concatenated(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 5, 3), nn.Conv2d(2, 4, 3)
        self.norm, self.last = nn.BatchNorm2d(9), nn.Linear(9, 3)

    def forward(self, images):
        both = torch.cat([self.left(images), self.right(images)], 1)
        return self.last(F.adaptive_avg_pool2d(self.norm(both).relu(), 1).flatten(1))


class Strange(nn.Module):
    """A grouped and a transposed convolution, a bare parameter, a layer of Hugging Face, a recurrent layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.grouped = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 12, 3, groups=4, padding=1)
        self.up, self.positions = nn.ConvTranspose2d(12, 8, 2, stride=2), nn.Parameter(torch.randn(1, 8, 16, 16))
        self.linear, self.rows = Conv1D(12, 16), nn.LSTM(12, 10, batch_first=True)
        self.hidden, self.out = nn.Linear(10, 12), nn.Linear(12, 4)

    def forward(self, images):
        scaled = self.up(self.grouped(self.first(images).relu()).relu()) + self.positions
        return self.out(self.hidden(self.rows(self.linear(scaled.mean(1)).relu())[0].mean(1)).relu())


def test_layers_of_other_kinds_are_left_alone_and_outputs_stay():
    model = Strange().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter[: len(parameter) // 3] = 0
    found, state = shrunk(model, (1, 8, 8)), copied(model)
    assert_same_outputs(model, found.model, (1, 8, 8))
    assert set(found.removed) == {"hidden"}  # what stands between two linear layers alone is known
    for name in ("up.weight", "positions", "linear.weight", "rows.weight_ih_l0", "rows.weight_hh_l0", "grouped.weight"):
        assert torch.equal(found.state[name], state[name])


def test_layers_side_by_side():
    model = with_statistics(Concatenated())
    model.left.weight.data[[0, 3]] = 0
    model.right.weight.data[[1]] = 0
    found = shrunk(model, (2, 6, 6))
    assert_same_outputs(model, found.model, (2, 6, 6))
    assert found.removed == {"left": (0, 3), "right": (1,)}
    assert found.model.last.in_features == found.model.norm.num_features == 6


def test_an_axis_that_is_locked_stays():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].weight.data[2] = 0
    for locked in ({"0.weight": {0: "no"}}, {"2.weight": {1: "no"}}):
        found = shrunk(model, (5,), locked=locked)
        assert found.removed == {}
        assert reasons(found, "0") == {"no": 1}
    assert shrunk(model, (5,), locked={"0.weight": {1: "no"}, "2.weight": {0: "no"}}).removed == {"0": (2,)}


def test_a_network_without_zero_units_is_left_alone():
    model = trained("mlp")
    found = shrunk(model, ZOO["mlp"])
    assert (found.removed, found.kept, found.kept_because) == ({}, {}, [])
    assert outputs(found.model, ZOO["mlp"]).shape[1] == CLASSES


def test_a_network_that_fails_is_left_alone_and_says_so():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    model[0].weight.data[2] = 0
    found = shrunk(model, (6,))
    assert found.removed == {}
    assert "cannot be followed" in found.kept_because[0]["reason"]


@pytest.mark.parametrize("given", [torch.contiguous_format, torch.channels_last])
def test_cut_tensors_keep_the_memory_format(given):
    model = trained("fashion_cnn").to(memory_format=given)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shapes |= {"conv1.weight": (20, 2, 3, 3), "conv1.bias": (20,), "conv2.weight": (40, 20, 3, 3), "conv2.bias": (40,)}
    fit_to(model, shapes)
    for layer in (model.conv1, model.conv2):
        assert layer.weight.shape == shapes["conv1.weight" if layer is model.conv1 else "conv2.weight"]
        assert memory_format_of(layer.weight) == given
