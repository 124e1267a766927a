"""Numbers at the ends of what floating-point types hold: they survive, or are refused by the name of their tensor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import case
from pruned_tensors import pruned
from torch import nn

import wavesweep
from wavesweep.codec.assemble import other_tensor
from wavesweep.codec.tensors import RawTensor, state_dict
from wavesweep.compression.compressor import significance_rates
from wavesweep.errors import TrialError
from wavesweep.quantization.quantize import quantize, quantize_small
from wavesweep.quantization.rate_distortion import quantize_rate_distortion
from wavesweep.quantization.symbols import LARGEST, fits
from wavesweep.quantization.trainable import CodebookQuantizer, StepQuantizer, first_quantizer
from wavesweep.settings.schema import QuantizeSettings

SCALES = (1e-40, 1e-30, 1e-12, 1e-8, 1e-6, 1.0, 1e4, 1e6, 1e20, 1e35)


def error_of(found, expected):
    found, expected = found.double(), expected.double()
    return float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1.0, -0.3, 1e-9], np.float16, True),  # what is lost is nothing beside the largest
        ([1e-6, -3e-7], np.float16, False),
        ([1e-9, 2e-9], np.float16, False),
        ([7e4, 1.0], np.float16, False),
        ([7e4, 1.0], np.float32, True),
        ([1e39, 1.0], np.float32, False),
        ([1e-44, 3e-45], np.float32, False),
        ([1e300, 1e-300], np.float64, True),
        ([float("inf"), 1.0], np.float16, False),
        ([0.0, 0.0], np.float16, True),
        ([], np.float16, True),
    ],
)
def test_whether_a_type_holds_numbers(values, dtype, expected):
    assert fits(np.array(values, np.float64), dtype) is expected


@pytest.mark.parametrize(
    "quantizer",
    [
        QuantizeSettings(),
        QuantizeSettings(bits=16, per="band"),
        QuantizeSettings("kmeans"),
        QuantizeSettings("none"),
        QuantizeSettings("none", coefficients="float32"),
    ],
    ids=lambda quantizer: f"{quantizer.name} {quantizer.coefficients} {quantizer.bits}",
)
def test_weights_of_any_size_survive_or_are_refused_by_name(quantizer):
    for scale in SCALES:
        with case(scale):
            tensor = pruned(scale=scale)
            weight, said = None, ""
            try:
                weight = quantize(tensor, quantizer).weight()
            except TrialError as error:
                said = str(error)
            if weight is not None:
                assert error_of(weight, tensor.weight) < 0.02
                continue
            assert said.startswith(f"tensor {tensor.plan.name} holds numbers")
            assert said.endswith("use quantize=uniform")
            assert quantizer.name == "kmeans" or scale == 1e-40
            assert not 1e-4 < scale < 1e4


def test_coefficients_keep_float16_where_it_holds_them():
    kept = {
        scale: quantize(pruned(scale=scale), QuantizeSettings("none")).reconstruction.values for scale in SCALES[1:]
    }
    assert {scale: str(values.dtype) for scale, values in kept.items() if values.dtype == np.float16} == {
        1.0: "float16",
        1e4: "float16",
    }


def test_the_finest_step_of_rate_distortion_reaches_the_largest_weight():
    tensor = pruned()
    for step in (1e-12, 1e-9, 1e-6):
        coded = quantize_rate_distortion(tensor, QuantizeSettings(step=step), None, significance_rates, 1.0)
        assert error_of(coded.weight(), tensor.weight) < 1e-4


@pytest.mark.parametrize("scale", [1e-44, 1e-35, 1e-9, 1.0, 1e30])
def test_small_tensors_keep_their_range(scale):
    values = np.linspace(-3, 2, 41).astype(np.float32) * np.float32(scale)
    symbols, rule = quantize_small(values.astype(np.float64), 8)
    assert np.abs(symbols).max() == 127
    assert np.abs(symbols * rule.steps[0] - values).max() <= rule.steps[0] / 2 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("values", "stored"),
    [([0.5, -2.0, 1e-9], "float16"), ([1e-9, -2e-9], "float32"), ([1e6, 1.0], "float32"), ([0.0, 0.0], "float16")],
)
@pytest.mark.parametrize("shape", [(-1,), (1, -1)])
def test_other_tensors_are_float16_where_it_holds_them(values, stored, shape):
    value = torch.tensor(values).reshape(shape)
    found = other_tensor("norm.weight", value, "float16", 8)
    assert isinstance(found, RawTensor)
    assert str(found.values.dtype) == stored
    decoded = state_dict([found])["norm.weight"]
    assert decoded.dtype == torch.float32
    torch.testing.assert_close(decoded, value, rtol=1e-3, atol=1e-3 * float(value.abs().max()))


@pytest.mark.parametrize("exact", [True, False])
def test_trained_steps_give_symbols_that_a_file_can_hold(exact):
    tensor = pruned()
    quantizer = StepQuantizer(tensor.bands, [1e-20], exact)
    assert 0 < np.abs(quantizer.coded(tensor).symbols.astype(np.int64)).max() <= LARGEST


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0])
def test_training_begins_with_steps_of_the_tensor(scale):
    tensor = pruned(scale=scale)
    coded = first_quantizer(tensor, 0.1, "layer").coded(tensor)
    assert error_of(coded.weight(), tensor.weight) < 0.1


def test_a_codebook_that_leaves_float16_in_training_is_refused_by_name():
    tensor = pruned()
    quantizer = CodebookQuantizer(quantize(tensor, QuantizeSettings("kmeans")))
    with torch.no_grad():
        quantizer.values *= 1e9
    with pytest.raises(
        TrialError, match=rf"^tensor {tensor.plan.name} holds numbers of up to .*beyond the range of float"
    ):
        quantizer.coded(tensor)


def network(dtype, scale):
    torch.manual_seed(0)
    layer = nn.Linear(32, 32).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(32, 32, dtype=torch.float64) * scale)
    return nn.Sequential(layer)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float64, 1e40),
        (torch.float64, 1e300),
        (torch.float64, 1e-60),
        (torch.float32, 1e38),
        (torch.float16, 2e4),
    ],
)
def test_weights_that_could_not_be_decoded_are_refused_by_name(dtype, scale):
    with pytest.raises(
        TrialError, match=r"^tensor 0\.weight of float\d\d holds numbers of up to \d.*rescale it"
    ) as found:
        wavesweep.compress(network(dtype, scale), ["wavelet=haar"])
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("dtype", "scale"), [(torch.float64, 1e-30), (torch.float64, 1e30), (torch.float16, 2e-7), (torch.float16, 5e3)]
)
def test_networks_of_other_types_keep_their_weights(dtype, scale):
    model = network(dtype, scale)
    small = wavesweep.compress(model, ["wavelet=haar", "threshold=none"])
    loaded = network(dtype, 1)
    loaded.load_state_dict(small.state_dict())
    assert error_of(loaded[0].weight.detach(), model[0].weight.detach()) < 0.02
    assert loaded[0].weight.dtype == dtype


def test_symbols_beyond_a_huffman_table_are_refused_by_name():
    with pytest.raises(TrialError, match=r"^tensor 0\.weight has up to [\d,]+ different symbols.*or codec=range$"):
        wavesweep.compress(network(torch.float32, 1), ["wavelet=haar", "quantize.step=1e-8", "codec=huffman"])


def test_a_step_beside_the_largest_coefficient_is_the_one_of_the_settings():
    tensor = pruned()
    zeros = replace(tensor, coefficients=torch.zeros_like(tensor.coefficients))
    assert quantize(tensor, QuantizeSettings(step=0.25)).reconstruction.steps == (0.25,)
    assert not quantize(zeros, QuantizeSettings()).symbols.any()
