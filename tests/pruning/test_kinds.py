"""What each kind of `layers.types` takes, and which tensors are large."""

import pytest
import torch
from own_layers import Conv1D, Own
from torch import nn

from wavesweep.pruning.kinds import kind_of, largest_of
from wavesweep.pruning.plan import plan_tensors
from wavesweep.settings.registry import LayerType, rows
from wavesweep.settings.schema import LayersSettings, Settings


def plans_of(model, *types, **settings):
    layers = LayersSettings(types=list(types)) if types else LayersSettings()
    found = plan_tensors(model, Settings(layers=layers, wavelet="haar", level=2, **settings), ())
    return {plan.name: plan for plan in found}


def taken(model, *types):
    return [name for name, plan in plans_of(model, *types).items() if plan.pruned]


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (nn.Conv2d(4, 8, 3, groups=2), {"weight": "conv"}),
        (nn.ConvTranspose1d(4, 8, 3), {"weight": "conv"}),
        (nn.Linear(4, 8), {"weight": "linear"}),
        (Conv1D(8, 4), {"weight": "linear"}),
        (nn.LSTM(4, 8, proj_size=3), dict.fromkeys(("weight_ih_l0", "weight_hh_l0", "weight_hr_l0"), "recurrent")),
        (nn.GRU(4, 8, bidirectional=True), dict.fromkeys(("weight_ih_l0_reverse", "weight_hh_l0"), "recurrent")),
        (nn.RNN(4, 8, num_layers=2), dict.fromkeys(("weight_ih_l1", "weight_hh_l1"), "recurrent")),
        (nn.LSTMCell(4, 8), dict.fromkeys(("weight_ih", "weight_hh"), "recurrent")),
        (nn.GRUCell(4, 8), dict.fromkeys(("weight_ih", "weight_hh"), "recurrent")),
        (nn.RNNCell(4, 8), dict.fromkeys(("weight_ih", "weight_hh"), "recurrent")),
        (nn.Embedding(4, 8), {"weight": "embedding"}),
        (nn.EmbeddingBag(4, 8), {"weight": "embedding"}),
        (nn.Bilinear(4, 5, 8), {"weight": "parameter"}),
        (nn.MultiheadAttention(8, 2, add_bias_kv=True), {"in_proj_weight": "linear", "bias_k": "parameter"}),
        (Own(), dict.fromkeys(("weight", "positions", "token"), "parameter") | {"scale": None, "codes": None}),
        (nn.BatchNorm2d(4), {"weight": None}),
    ],
)
def test_each_parameter_has_a_kind(module, kinds):
    found = {name: kind_of(module, name, value) for name, value in module.named_parameters(recurse=False)}
    assert {name: found[name] for name in kinds} == kinds
    assert all(found[name] is None for name in found if "bias" in name and name != "bias_k" and name != "bias_v")


def everything():
    return nn.ModuleDict(
        {
            "conv": nn.Conv1d(4, 8, 3),
            "linear": nn.Linear(4, 8),
            "recurrent": nn.LSTM(4, 8),
            "embedding": nn.Embedding(9, 8),
            "parameter": nn.ParameterDict({"own": torch.randn(9, 8)}),
        }
    )


def test_each_type_takes_its_own_and_all_takes_everything():
    model = everything()
    kinds = [name for name, row in rows(LayerType).items() if not row.of_any_kind]
    assert sorted(kinds) == sorted(model)
    matrices = [name for name, value in model.named_parameters() if value.dim() > 1]
    for kind in kinds:
        assert taken(model, kind) == [name for name in matrices if name.startswith(kind)]
    assert taken(model, "all") == matrices
    assert taken(Own(), "all") == ["weight", "positions", "token"]


def test_the_default_takes_convolutions_and_linear_layers_of_any_size_and_other_matrices_that_are_large():
    model = nn.ModuleDict(
        {
            "wide": nn.Linear(100, 100, bias=False),
            "tiny": nn.Linear(2, 2, bias=False),
            "table": nn.Embedding(100, 15),
            "few": nn.Embedding(5, 4),
            "recurrent": nn.GRU(10, 10, bias=False),
        }
    )
    plans = plans_of(model)
    assert {name: (plan.pruned, plan.reason) for name, plan in plans.items()} == {
        "wide.weight": (True, "linear weight"),
        "tiny.weight": (True, "linear weight"),
        "table.weight": (True, "embedding weight, 12 % of the parameters"),
        "few.weight": (False, "embedding is not among layers.types, and has 0.2 % of the parameters"),
        "recurrent.weight_ih_l0": (True, "recurrent weight, 2.5 % of the parameters"),
        "recurrent.weight_hh_l0": (True, "recurrent weight, 2.5 % of the parameters"),
    }
    assert [plan.kind for plan in plans.values()] == ["linear", "linear", *["embedding"] * 2, *["recurrent"] * 2]
    assert plans_of(model, "embedding")["few.weight"].reason == "embedding weight"
    assert plans_of(Own())["positions"].reason == "parameter, 32 % of the parameters"
    assert not plans_of(Own())["token"].pruned  # a vector in fact


def test_many_small_matrices_that_are_much_together_are_large():
    model = nn.ModuleList([nn.Embedding(8, 8) for _ in range(300)])
    assert len(taken(model)) == 300
    model.append(nn.Embedding(4, 4))
    assert len(taken(model)) == 300


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ({"a": 90, "b": 9, "c": 1}, "abc"),  # one per cent exactly is large
        ({"a": 900, "b": 90, "c": 9, "d": 1}, "abc"),
        ({"a": 992, "b": 4, "c": 4}, "a"),
        ({"a": 985, "b": 5, "c": 5, "d": 5}, "abcd"),  # of one size, together above
        ({"a": 979, "b": 12, "c": 6, "d": 3}, "ab"),
        ({"a": 693, "b": 7}, "ab"),
        ({}, ""),
    ],
)
def test_the_largest_are_all_but_less_than_a_hundredth(sizes, names):
    assert largest_of(sizes, sum(sizes.values()), 0.01) == set(names)


def test_all_leaves_nothing_out():
    assert largest_of({"a": 5, "b": 1}, 6, 0.0) == {"a", "b"}


def test_units_lie_along_the_outputs_of_transposed_weights():
    model = nn.ModuleDict(
        {"up": nn.ConvTranspose2d(4, 6, 3), "hf": Conv1D(8, 4), "linear": nn.Linear(4, 8), "cell": nn.LSTMCell(4, 8)}
    )
    axes = {name: plan.unit_axis for name, plan in plans_of(model, "all").items() if plan.pruned}
    assert axes == {"up.weight": 1, "hf.weight": 1, "linear.weight": 0, "cell.weight_ih": 0, "cell.weight_hh": 0}


def test_bare_parameters_are_seen_without_axes_of_one():
    plans = plans_of(Own(), "all")
    assert (plans["positions"].view, plans["positions"].axes) == ((20, 30), (0, 1))
    assert (plans["token"].view, plans["token"].axes) == ((30,), (0,))
    assert plans["positions"].shape == (1, 20, 30)
    assert plans_of(nn.ConvTranspose2d(1, 6, 3), "all")["weight"].view == (1, 6, 3, 3)


@pytest.mark.integration
def test_the_real_layer_of_hugging_face_is_linear():
    layer = pytest.importorskip("transformers.pytorch_utils").Conv1D(8, 4)
    plan = plans_of(layer)["weight"]
    assert (plan.kind, plan.pruned, plan.unit_axis) == ("linear", True, 1)
