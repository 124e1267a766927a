"""The step of `quantize=rdo` means the same for every network, and every result says what became of the outputs."""

import warnings

import pytest
import torch
from torch import nn

import wavesweep
from wavesweep.compression.output_error import quantization_notes
from wavesweep.settings.schema import QuantizeSettings, RetrainSettings, Settings


def deep():
    """Seven layers, whose outputs differ between inputs as those of a trained network do."""
    model = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(16, 16), nn.ReLU())), nn.Linear(16, 10))
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


NETWORKS = {
    "one output": lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1)),
    "many outputs": lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 200), nn.Sigmoid()),
    "many layers": deep,
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    ),
    "a sequence": lambda: nn.Sequential(nn.Unflatten(1, (4, 4)), nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 6)),
}


def compressed(model, inputs, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wavesweep.compress(
            model, method="magnitude", threshold="none", quantize="rdo", images=inputs, **settings
        )


@pytest.mark.parametrize(
    ("name", "unit"), [*((name, 1.0) for name in NETWORKS), ("one output", 1e-3), ("many outputs", 1e3)]
)
def test_the_default_step_is_harmless_whatever_the_outputs(name, unit):
    torch.manual_seed(0)
    model, inputs = NETWORKS[name](), torch.randn(200, 16)
    with torch.no_grad():  # the same outputs in another unit
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.weight *= unit
        last.bias *= unit
    errors = compressed(model, inputs).output_errors
    assert errors.inputs == 200
    assert errors.pruned.relative == 0
    assert 0.005 < errors.decoded.relative == errors.quantized < 0.08


def test_a_step_twice_as_large_makes_errors_about_twice_as_large():
    torch.manual_seed(0)
    model, inputs = NETWORKS["many layers"](), torch.randn(200, 16)
    found = [compressed(model, inputs, step=step).output_errors.decoded.relative for step in (0.05, 0.1, 0.2)]
    assert 1.5 < found[1] / found[0] < 3
    assert 1.5 < found[2] / found[1] < 4


def test_the_error_is_that_of_the_decoded_network():
    torch.manual_seed(0)
    model, inputs = NETWORKS["one output"](), torch.randn(200, 16)
    found = wavesweep.compress(model, wavelet="haar", level=1, percentile=50, bits=4, images=inputs)
    other = found.load_into(NETWORKS["one output"]())
    with torch.no_grad():
        before, after = model(inputs), other(inputs)
    expected = float((after - before).norm() / (before - before.mean(0)).norm())
    assert found.output_errors.decoded.relative == pytest.approx(expected, rel=1e-4)
    assert 0 < found.output_errors.quantized < found.output_errors.pruned.relative
    assert found.output_errors.decoded.agreement is None
    assert f"output error  {100 * expected:.1f} % of the outputs' spread on 200 inputs" in str(found)


def test_without_images_there_is_no_error_to_tell():
    found = wavesweep.compress(NETWORKS["one output"](), wavelet="haar", level=1)
    assert found.output_errors is None
    assert "output error" not in str(found)


def test_what_became_zero_is_warned_of():
    torch.manual_seed(0)
    model, inputs = NETWORKS["one output"](), torch.randn(100, 16)
    with pytest.warns(UserWarning, match=r"^quantisation made all of 0\.weight, 2\.weight zero; lower quantize\.step"):
        wavesweep.compress(model, method="magnitude", threshold="none", quantize="rdo", step=9.0, images=inputs)
    kept = {"a": (5, 0), "b": (0, 0), "c": (3, 1)}
    said = ["quantisation made all of a zero; lower quantize.step, or raise quantize.bits"]
    assert quantization_notes(kept, None, Settings()) == said
    # With bits in the loss a tensor may have become zero in training.
    assert quantization_notes(kept, None, Settings(retrain=RetrainSettings(name="rate"))) == []


def default_notes(quantized, quantize):
    return quantization_notes({}, {"quantized": quantized}, Settings(quantize=quantize))


def test_only_defaults_that_cost_much_are_warned_of():
    rdo = QuantizeSettings(step=0.1, rate_weight=0.1, importance="second_order")
    assert default_notes(0.09, rdo) == []
    assert default_notes(0.25, rdo) == [
        "quantisation with the default settings changes the outputs by 25 % of their spread; lower quantize.step"
    ]
    assert "without bounds; lower" in default_notes(None, rdo)[0]
    assert default_notes(0.25, QuantizeSettings())[0].endswith("raise quantize.bits")
    assert default_notes(0.25, QuantizeSettings(bits=3)) == default_notes(0.25, QuantizeSettings(step=0.4)) == []
