"""`method=clamped_wavelet`: with the level clamped by the shortest axis, "DWT pruning" is magnitude pruning."""

from itertools import product

import pytest
import pywt
import torch
from torch import nn

import wavesweep
from wavesweep.compression.compressor import CompressionSettings, compress_arm
from wavesweep.compression.network import TrainedNetwork
from wavesweep.models.zoo import build_model
from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.prune import ArmSpec, basis_spec, prune
from wavesweep.settings.schema import (
    CodecSettings,
    LayersSettings,
    MethodSettings,
    ModelSettings,
    QuantizeSettings,
    RetrainSettings,
    Settings,
    ThresholdSettings,
)
from wavesweep.transform.basis import BasisSpec

LEVELS = (1, 2, 3, 4, 5, "max")
# All but Haar: its two taps are the only ones that fit into three values.
WAVELETS = ("bior4.4", "bior2.2", "rbio3.3", "db2", "sym4")
SHAPES = {"resnet18": (3, 32, 32), "resnet20": (3, 32, 32)}


@pytest.fixture(scope="module")
def networks():
    """Networks by name, with 10 classes."""
    return {name: build_model(ModelSettings(name=name), shape, 10, seed=0) for name, shape in SHAPES.items()}


def convolutions_of(model, method="clamped_wavelet", **settings):
    """The plans of all convolutions."""
    layers = LayersSettings(types=["conv"])
    plans = plan_tensors(model, Settings(method=MethodSettings(method), layers=layers, **settings), (3, 32, 32))
    return tuple(plan for plan in plans if plan.pruned)


def spec_of(method, plans, percentile=50.0):
    return ArmSpec(method, plans, "periodization", ThresholdSettings(percentile=percentile), seed=0)


def assert_equal_arms(arm, other):
    assert len(arm.tensors) == len(other.tensors)
    for tensor, same in zip(arm.tensors, other.tensors, strict=True):
        assert tensor.plan.name == same.plan.name
        assert torch.equal(tensor.mask, same.mask)
        assert torch.equal(tensor.weight, same.weight)
        assert torch.equal(tensor.coefficients, same.coefficients)
        assert tensor.error == same.error


def test_no_convolution_of_resnet18_is_transformed_by_any_wavelet_but_haar_at_any_level(networks):
    model = networks["resnet18"]
    assert len(convolutions_of(model)) == 20
    for wavelet, level, layout in product(WAVELETS, LEVELS, ("auto", "spatial", "all")):
        for plan in convolutions_of(model, wavelet=wavelet, level=level, layout=layout):
            assert not any(plan.levels)
            assert (plan.wavelet, plan.requested_level) == (wavelet, level)
            assert basis_spec("wavelet", plan, "periodization", 0) == BasisSpec("identity")


# Percentiles of the published study; with the test above, every level is the same transform, namely none.
@pytest.mark.parametrize(
    ("wavelet", "level", "percentile"),
    [("bior4.4", 5, 50.0), ("bior2.2", 1, 23.6), ("db2", 3, 90.0)],
)
def test_the_clamped_arm_of_resnet18_is_that_of_magnitude_layer_by_layer(networks, wavelet, level, percentile):
    model = networks["resnet18"]
    weights = model.state_dict()
    plans = convolutions_of(model, wavelet=wavelet, level=level)
    magnitude = prune(weights, spec_of("magnitude", plans, percentile))
    assert_equal_arms(prune(weights, spec_of("wavelet", plans, percentile)), magnitude)


@pytest.mark.parametrize("wavelet", WAVELETS[:2])
def test_files_of_the_clamped_arm_and_of_magnitude_are_the_same(networks, wavelet):
    model = networks["resnet20"]
    plans = convolutions_of(model, wavelet=wavelet, level=5)
    quantize = QuantizeSettings(name="none", coefficients="float32", other="float32")
    settings = CompressionSettings(RetrainSettings(), quantize, CodecSettings("none"), seed=0)
    network = TrainedNetwork(model, model.state_dict(), torch.device("cpu"))
    files = [compress_arm(spec_of(method, plans), settings, network).content for method in ("wavelet", "magnitude")]
    assert files[0] == files[1]


def test_the_real_transform_keeps_other_weights(networks):
    model = networks["resnet20"]
    weights = model.state_dict()
    real = convolutions_of(model, method="wavelet", wavelet="bior4.4", level=5)
    transformed = {plan.name for plan in real if any(plan.levels)}
    assert {plan.levels for plan in real} == {(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)}
    magnitude = prune(weights, spec_of("magnitude", real))
    for tensor, other in zip(prune(weights, spec_of("wavelet", real)).tensors, magnitude.tensors, strict=True):
        assert torch.equal(tensor.weight, other.weight) == (tensor.plan.name not in transformed)


@pytest.mark.parametrize(
    ("shape", "wavelet", "levels"),
    [
        ((10, 512), "bior4.4", (0, 0)),
        ((10, 512), "bior2.2", (1, 1)),
        ((10, 512), "haar", (3, 3)),
        ((1000, 512), "bior4.4", (5, 5)),  # so the classifier of ImageNet would be transformed
    ],
)
def test_a_matrix_is_clamped_by_its_shorter_axis(shape, wavelet, levels):
    model = nn.Sequential(nn.Linear(shape[1], shape[0]))
    clamped = Settings(method=MethodSettings("clamped_wavelet"), wavelet=wavelet, level="max")
    assert plan_tensors(model, clamped, (3, 32, 32))[0].levels == levels
    assert levels[0] == pywt.dwt_max_level(min(shape), wavelet)


def test_haar_has_a_level_on_a_3x3_kernel_even_where_it_is_clamped(networks):
    plans = {plan.name: plan for plan in convolutions_of(networks["resnet18"], wavelet="haar", level=5)}
    assert plans["layer1.0.conv1.weight"].levels == (1, 1)
    assert plans["layer2.0.downsample.0.weight"].levels == (0, 0)  # 1x1


@pytest.mark.parametrize("layout", ["auto", "spatial", "all", "channel", "flat"])
@pytest.mark.parametrize("level", [4, 5, "max"])
def test_a_file_of_the_clamped_form_is_read_where_an_image_is_shorter_than_its_layer(layout, level):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 10))
    settings = ["wavelet=haar", f"level={level}", f"layout={layout}", "method=clamped_wavelet"]
    compressed = wavesweep.compress(model, settings, input_shape=(1, 28, 28))
    assert compressed.state_dict()["1.weight"].shape == (300, 784)
