"""Which tensors of real networks are pruned, and how each is seen as a signal."""

import pytest
import pywt
from torch import nn

from wavesweep.models.zoo import build_model
from wavesweep.pruning.plan import plan_tensors, transforms_nothing
from wavesweep.settings.registry import Model, rows
from wavesweep.settings.schema import LayerOverride, LayersSettings, ModelSettings, Settings

ZOO = [name for name, row in rows(Model).items() if row.target]

INPUTS = {"resnet18": (3, 32, 32), "resnet20": (3, 32, 32), "resnet56": (3, 32, 32)}
SHORT_WAVELETS = ["bior2.2", "rbio3.3", "bior4.4"]


def plans_of(model_name, **settings):
    """Tensor name to plan, for a model of the zoo."""
    shape = INPUTS.get(model_name, (1, 28, 28))
    model = build_model(ModelSettings(name=model_name), shape, 10, seed=0)
    plans = plan_tensors(model, Settings(**settings), shape)
    return {plan.name: plan for plan in plans}


def layers(**values):
    return {"layers": LayersSettings(**values)}


@pytest.mark.parametrize("name", ZOO)
def test_every_parameter_appears_exactly_once(name):
    shape = INPUTS.get(name, (1, 28, 28))
    model = build_model(ModelSettings(name=name), shape, 10, seed=0)
    plans = plan_tensors(model, Settings(), shape)
    expected = {parameter: tuple(tensor.shape) for parameter, tensor in model.named_parameters()}
    assert [(plan.name, plan.shape) for plan in plans] == list(expected.items())
    assert sum(plan.weights for plan in plans) == sum(tensor.numel() for tensor in model.parameters())
    assert all(plan.reason for plan in plans)
    is_weight = {plan.name: plan.name.endswith("weight") and len(plan.shape) > 1 for plan in plans}
    assert {plan.name: plan.pruned for plan in plans} == is_weight


def test_lenet300_under_auto():
    plans = plans_of("lenet300", wavelet="bior2.2", level=3)
    first, second, third = (plans[f"fc{number}.weight"] for number in (1, 2, 3))
    assert (first.layout, first.view, first.axes, first.levels) == (
        "spatial",
        (300, 1, 28, 28),
        (2, 3),
        (2, 2),
    )
    assert (second.layout, second.view, second.axes, second.levels) == ("channel", (100, 300), (0, 1), (3, 3))
    assert (third.layout, third.view, third.axes, third.levels) == ("channel", (10, 100), (0, 1), (1, 3))
    assert (first.reason, first.requested_level, first.wavelet) == ("linear weight", 3, "bior2.2")
    assert plans["fc1.bias"].reason == "Linear bias: of fewer than two dimensions"


@pytest.mark.parametrize("name", ["lenet5", "fashion_cnn", "resnet18", "resnet20"])
def test_small_kernels_use_channels_under_auto(name):
    convolutions = [plan for plan in plans_of(name).values() if plan.pruned and len(plan.shape) == 4]
    assert convolutions
    for plan in convolutions:
        assert (plan.layout, plan.view, plan.axes) == ("channel", plan.shape, (0, 1))


def test_only_a_layer_that_reads_the_image_gets_its_grid():
    plans = plans_of("lenet5", layout="spatial")
    assert (plans["fc1.weight"].view, plans["fc1.weight"].axes) == ((500, 800), ())
    behind_an_activation = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(784, 784), nn.Linear(784, 10))
    first, _, second, _ = plan_tensors(behind_an_activation, Settings(), (1, 28, 28))
    assert (first.view, second.view) == ((784, 1, 28, 28), (10, 784))


def test_small_images_are_no_useful_grid_under_auto():
    model = build_model(ModelSettings(name="mlp"), (1, 8, 8), 10, seed=0)
    auto = plan_tensors(model, Settings(), (1, 8, 8))[0]
    spatial = plan_tensors(model, Settings(layout="spatial"), (1, 8, 8))[0]
    assert (auto.layout, auto.view, auto.axes) == ("channel", (256, 64), (0, 1))
    assert (spatial.layout, spatial.view, spatial.axes) == ("spatial", (256, 1, 8, 8), (2, 3))


@pytest.mark.parametrize(
    ("layout", "fc1", "conv"),
    [
        ("spatial", ((300, 1, 28, 28), (2, 3)), ((20, 1, 5, 5), (2, 3))),
        ("channel", ((300, 784), (0, 1)), ((20, 1, 5, 5), (0, 1))),
        ("all", ((300, 1, 28, 28), (0, 1, 2, 3)), ((20, 1, 5, 5), (0, 1, 2, 3))),
        ("flat", ((235_200,), (0,)), ((500,), (0,))),
        ("auto", ((300, 1, 28, 28), (2, 3)), ((20, 1, 5, 5), (0, 1))),
    ],
)
def test_every_layout(layout, fc1, conv):
    for plan, expected in (
        (plans_of("lenet300", layout=layout)["fc1.weight"], fc1),
        (plans_of("lenet5", layout=layout)["conv1.weight"], conv),
    ):
        assert (plan.view, plan.axes) == expected
        assert len(plan.levels) == len(plan.axes)


def test_a_later_linear_layer_has_no_spatial_axes():
    plan = plans_of("lenet300", layout="spatial")["fc2.weight"]
    assert (plan.layout, plan.view, plan.axes, plan.levels) == ("spatial", (100, 300), (), ())


def test_a_convolution_over_one_dimension_and_an_embedding_have_layouts_too():
    model = nn.Sequential(nn.Conv1d(4, 8, 31), nn.Embedding(50, 16))
    types = layers(types=["conv", "embedding"])
    conv, _, embedding = plan_tensors(model, Settings(wavelet="haar", **types), (4, 100))
    assert (conv.layout, conv.view, conv.axes, conv.levels) == ("spatial", (8, 4, 31), (2,), (3,))
    assert (embedding.layout, embedding.axes, embedding.levels) == ("channel", (0, 1), (3, 3))


@pytest.mark.parametrize("name", SHORT_WAVELETS)
@pytest.mark.parametrize("length", [3, 5, 7])
def test_the_level_0_trap_is_there(length, name):
    assert pywt.dwt_max_level(length, name) == 0
    model = nn.Sequential(nn.Conv2d(3, 4, length))
    plans = plan_tensors(model, Settings(wavelet=name, layout="spatial"), (3, 32, 32))
    assert (plans[0].requested_level, plans[0].levels) == (3, (0, 0))
    assert transforms_nothing(plans)


@pytest.mark.parametrize("name", SHORT_WAVELETS)
def test_resnet20_over_its_kernels_transforms_nothing(name):
    def nothing(**settings):
        return transforms_nothing(list(plans_of("resnet20", wavelet=name, **settings).values()))

    assert nothing(layout="spatial")
    assert nothing(layout="spatial", level="max")
    assert not nothing(layout="auto")
    assert not nothing(layout="flat")
    assert not nothing(layout="spatial", **layers(overrides=[LayerOverride(match="conv1*", wavelet="haar")]))


@pytest.mark.parametrize(
    ("wavelet", "level", "levels"),
    [
        ("haar", 1, (1, 1)),
        ("haar", 5, (3, 5)),
        ("haar", "max", (3, 6)),
        ("bior2.2", 3, (1, 3)),
        ("bior2.2", "max", (1, 4)),
        ("db8", "max", (0, 2)),
    ],
)
def test_levels_are_clamped_per_axis(wavelet, level, levels):
    plan = plans_of("lenet300", wavelet=wavelet, level=level)["fc3.weight"]  # 10 x 100
    assert (plan.requested_level, plan.levels) == (level, levels)


def test_include_exclude_and_types_say_why():
    plans = plans_of("lenet5", **layers(types=["linear"], include=["fc*"], exclude=["fc2.*"]))
    assert [name for name, plan in plans.items() if plan.pruned] == ["fc1.weight"]
    assert {name: plan.reason for name, plan in plans.items()} == {
        "conv1.weight": "conv is not among layers.types",
        "conv1.bias": "Conv2d bias: of fewer than two dimensions",
        "conv2.weight": "conv is not among layers.types",
        "conv2.bias": "Conv2d bias: of fewer than two dimensions",
        "fc1.weight": "linear weight, matches layers.include 'fc*'",
        "fc1.bias": "Linear bias: of fewer than two dimensions",
        "fc2.weight": "matches layers.exclude 'fc2.*'",
        "fc2.bias": "Linear bias: of fewer than two dimensions",
    }


def test_what_matches_no_include_is_left_alone():
    plans = plans_of("lenet300", **layers(include=["fc[23].weight"]))
    assert plans["fc1.weight"].reason == "matches no pattern of layers.include"
    assert [name for name, plan in plans.items() if plan.pruned] == ["fc2.weight", "fc3.weight"]


def test_normalisation_is_never_pruned():
    plans = plans_of("resnet20")
    assert plans["bn1.weight"].reason.startswith("BatchNorm2d weight: of fewer")
    assert not plans["stage1_block1.bn2.bias"].pruned


def test_the_first_matching_override_applies():
    overrides = [
        LayerOverride(match="fc1*", percentile=90.0, wavelet="haar", level="max", layout="flat"),
        LayerOverride(match="fc[12]*", level=1),
    ]
    plans = plans_of("lenet300", wavelet="bior2.2", level=2, **layers(overrides=overrides))
    first, second, third = (plans[f"fc{number}.weight"] for number in (1, 2, 3))
    assert (first.percentile, first.wavelet, first.requested_level) == (90.0, "haar", "max")
    assert (first.layout, first.view, first.levels) == ("flat", (235_200,), (17,))
    assert (second.percentile, second.wavelet, second.layout, second.levels) == (
        None,
        "bior2.2",
        "channel",
        (1, 1),
    )
    assert (third.percentile, third.requested_level) == (None, 2)


def test_a_plan_is_a_row_of_plain_values():
    row = plans_of("lenet300")["fc1.weight"].row()
    values = (
        row["name"],
        row["shape"],
        row["layout"],
        row["requested_level"],
        row["levels"],
        row["percentile"],
    )
    assert values == ("fc1.weight", (300, 784), "spatial", 3, (2, 2), None)


def test_a_tied_weight_is_pruned_once():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    plans = plan_tensors(nn.Sequential(first, second), Settings(), (1, 2, 4))
    assert [plan.name for plan in plans if plan.pruned] == ["0.weight"]
    assert {plan.name: plan.reason for plan in plans}["1.weight"] == "is the same tensor as 0.weight"


class Tied(nn.Module):
    """A language model's matrix, which is both an embedding's and a linear layer's, declared in either order."""

    def __init__(self, embedding_first):
        super().__init__()
        if embedding_first:
            self.embedding = nn.Embedding(16, 8)
        self.decoder = nn.Linear(8, 16, bias=False)
        if embedding_first:
            self.decoder.weight = self.embedding.weight
        else:
            self.embedding = nn.Embedding(16, 8)
            self.embedding.weight = self.decoder.weight


@pytest.mark.parametrize("embedding_first", [True, False])
@pytest.mark.parametrize(
    ("chosen", "pruned"),
    [
        ({}, True),
        ({"types": ["embedding"]}, True),
        ({"types": ["linear"]}, True),
        ({"types": ["conv"]}, False),
        ({"include": ["decoder*"]}, True),
        ({"include": ["embedding*"]}, True),
        ({"include": ["other*"]}, False),
        ({"exclude": ["decoder*"]}, False),
        ({"exclude": ["embedding*"]}, False),
        ({"overrides": [LayerOverride(match="decoder*", percentile=12.0)]}, True),
        ({"overrides": [LayerOverride(match="embedding*", percentile=12.0)]}, True),
    ],
)
def test_a_tied_tensor_is_chosen_by_any_of_its_names_and_layers(embedding_first, chosen, pruned):
    first, second = plan_tensors(Tied(embedding_first), Settings(**layers(**chosen)), ())
    assert first.pruned is pruned
    assert first.name == ("embedding.weight" if embedding_first else "decoder.weight")
    assert (second.pruned, second.reason) == (False, f"is the same tensor as {first.name}")
    assert first.percentile == (12.0 if "overrides" in chosen else None)


def test_a_layer_under_two_names_is_chosen_by_either():
    model = nn.Sequential(nn.Linear(8, 8))
    model.again = model[0]
    for name in ("0*", "again*"):
        plans = plan_tensors(model, Settings(**layers(exclude=[name])), ())
        assert [(plan.name, plan.pruned) for plan in plans] == [
            ("0.weight", False),
            ("0.bias", False),
            ("again.weight", False),
            ("again.bias", False),
        ]


def test_a_transposed_convolution_that_shares_its_weight_counts_the_units_of_the_layer_that_is_pruned():
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(6, 4, 3))
    model[1].weight = model[0].weight
    plan = plan_tensors(model, Settings(), (4, 8, 8))[0]
    assert (plan.pruned, plan.unit_axis) == (True, 0)
