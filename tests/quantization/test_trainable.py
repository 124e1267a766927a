"""Trained quantisers: what they let through is what a file holds, and the gradients are the published ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import network, pruned_of, spec_of

from wavesweep.quantization.quantize import quantize
from wavesweep.quantization.symbols import Codebook, Steps, Values
from wavesweep.quantization.trainable import (
    CodebookQuantizer,
    StepQuantizer,
    coded_as_plain,
    coded_from_plain,
    first_quantizer,
    trained_quantizer,
)
from wavesweep.settings.schema import QuantizeSettings

UNIFORM = {
    "layer": QuantizeSettings(bits=5),
    "band": QuantizeSettings(bits=4, per="band"),
    "dead zone": QuantizeSettings(step=0.02, dead_zone=1.5),
    "coarse": QuantizeSettings(bits=2),
}


def tensors(method="wavelet", **options):
    return pruned_of(network(), spec_of(network(), method, **options)).tensors


def coefficients_of(coded):
    return torch.from_numpy(coded.coefficients())


@pytest.mark.parametrize("method", ["wavelet", "magnitude", "dct"])
@pytest.mark.parametrize("name", UNIFORM)
def test_what_the_network_computes_with_is_what_the_file_holds(name, method):
    for tensor in tensors(method):
        coded = quantize(tensor, UNIFORM[name])
        quantizer = trained_quantizer(coded, tensor, UNIFORM[name].dead_zone)
        forward = quantizer(tensor.coefficients, tensor.mask).detach().double()
        again = quantizer.coded(tensor)
        assert again.reconstruction == coded.reconstruction
        assert (again.name, again.shape, again.view, again.basis) == (coded.name, coded.shape, coded.view, coded.basis)
        assert torch.allclose(forward, coefficients_of(again), rtol=1e-5, atol=1e-9)
        assert torch.count_nonzero(forward) == np.count_nonzero(again.symbols)
        exact = UNIFORM[name].dead_zone <= 1
        # One-shot quantisation rounds some that are kept to zero, training does not.
        differ = (again.symbols != coded.symbols) & ~(exact & (coded.symbols == 0) & tensor.mask.numpy())
        assert not differ.any()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), factor=st.floats(0.3, 3), per=st.sampled_from(["layer", "band"]))
def test_also_when_the_steps_have_been_trained(seed, factor, per):
    tensor = tensors()[0]
    quantizer = trained_quantizer(quantize(tensor, QuantizeSettings(bits=4, per=per)), tensor, 1.0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        quantizer.log_steps += np.log(factor) + 0.1 * torch.randn(len(quantizer.log_steps), generator=generator)
    coded = quantizer.coded(tensor)
    assert all(step == float(f"{step:.4g}") for step in coded.reconstruction.steps)
    exact = quantizer.log_steps.detach().double().exp()
    assert np.allclose(
        coded.reconstruction.steps, exact if len(coded.reconstruction.steps) > 1 else exact[0], rtol=6e-4
    )
    forward = quantizer(tensor.coefficients, tensor.mask).detach().double()
    # The steps have four digits in the file, the symbols are those that were trained.
    assert torch.allclose(forward, coefficients_of(coded), rtol=1e-3)
    assert torch.count_nonzero(forward) == np.count_nonzero(coded.symbols)


def test_coefficients_at_the_edge_of_the_zero_bin_have_the_symbols_that_were_trained():
    """Where the bits are in the loss hundreds lie there."""
    tensor = tensors("magnitude")[2]
    step = 0.0123449  # in the file 0.01234, or 1.0004 times less
    near = 0.5 * step * (1 + 1e-4 * torch.linspace(-1, 1, tensor.mask.numel()))
    tensor = replace(tensor, coefficients=near, mask=torch.ones_like(tensor.mask))
    quantizer = StepQuantizer(tensor.bands, [step], exact=False)
    coded = quantizer.coded(tensor)
    assert coded.reconstruction.steps == (0.01234,)
    forward = quantizer(tensor.coefficients, tensor.mask).detach()
    assert 0 < int(torch.count_nonzero(forward)) < forward.numel()
    assert np.array_equal(forward.numpy() != 0, coded.symbols != 0)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), exact=st.booleans(), dead_zone=st.sampled_from([1.0, 1.5, 3.0]))
def test_gradients_are_those_of_learned_step_sizes(seed, exact, dead_zone):
    generator = torch.Generator().manual_seed(seed)
    tensor = tensors()[0]
    count = len(tensor.bands)
    steps = torch.rand(count, generator=generator) * 0.1 + 0.01
    quantizer = StepQuantizer(tensor.bands, steps.tolist(), exact, dead_zone)
    upstream = torch.randn(tensor.mask.numel(), generator=generator)
    values = tensor.coefficients.clone().requires_grad_()
    quantizer(values, tensor.mask).backward(upstream)
    # Straight through: what comes in goes out.
    assert torch.allclose(values.grad, upstream, atol=1e-6)
    for band, step, gradient in zip(tensor.bands, steps, quantizer.log_steps.grad, strict=True):
        scaled = tensor.coefficients[band.slice] / step
        rounded = torch.floor(scaled.abs() + 0.5)
        if exact:
            rounded = rounded.clamp(min=1)
        elif dead_zone > 1:
            rounded = torch.where(scaled.abs() < dead_zone / 2, 0.0, rounded.clamp(min=1))
        rounded = rounded * torch.where(scaled < 0, -1, 1) * tensor.mask[band.slice]
        # Esser et al. (2020): the derivative by the step is round(v / s) - v / s; by its logarithm, s times that.
        expected = (upstream[band.slice] * (rounded - scaled)).sum() * step
        assert float(gradient) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("per", ["layer", "band"])
@pytest.mark.parametrize("used", ["multiples", "scaled", "both"])
def test_gradients_of_both_results_are_those_of_autograd(per, used):
    tensor = tensors()[0]
    generator = torch.Generator().manual_seed(2)
    quantizer = StepQuantizer(tensor.bands, [0.05] if per == "layer" else [0.02, 0.03], exact=False)
    weights = [torch.randn(tensor.mask.numel(), generator=generator) for _ in range(2)]

    def gradients(multiples, scaled, values):
        chosen = {"multiples": [multiples], "scaled": [scaled], "both": [multiples, scaled]}[used]
        loss = sum((weight * part).sum() for weight, part in zip(weights, chosen, strict=False))
        return torch.autograd.grad(loss, [values, quantizer.log_steps])

    values = tensor.coefficients.clone().requires_grad_()
    found = gradients(quantizer(values, tensor.mask), quantizer.scaled, values)
    scaled = values / quantizer.steps()
    multiples = (scaled + (torch.round(scaled) - scaled).detach()) * quantizer.steps()
    for one, other in zip(found, gradients(multiples, scaled, values), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_steps_gradient_is_that_of_finite_differences_where_symbols_stay():
    tensor = tensors()[1]
    quantizer = StepQuantizer(tensor.bands, [0.05], False)
    upstream = torch.randn(tensor.mask.numel(), generator=torch.Generator().manual_seed(0))

    def value(log_step):
        """The loss, with symbols and straight-through terms frozen at the start: what LSQ differentiates."""
        step = float(np.exp(log_step))
        scaled = tensor.coefficients.double() / step
        return float((upstream.double() * (scaled + frozen) * step).sum())

    scaled = tensor.coefficients.double() / 0.05
    frozen = torch.floor(scaled.abs() + 0.5) * torch.where(scaled < 0, -1, 1) * tensor.mask - scaled
    quantizer(tensor.coefficients, tensor.mask).backward(upstream)
    found = (value(np.log(0.05) + 1e-5) - value(np.log(0.05) - 1e-5)) / 2e-5
    assert float(quantizer.log_steps.grad[0]) == pytest.approx(found, rel=1e-3)


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.floats(-1, 1, width=32) | st.sampled_from([0.0, 1e-30, -1e-45, 0.4999, -0.5]), min_size=4),
    step=st.floats(0.01, 10),
)
def test_exact_steps_never_round_what_is_kept_to_zero(values, step):
    tensor = tensors("magnitude")[2]
    size = tensor.mask.numel()
    coefficients = torch.tensor((values * size)[:size], dtype=torch.float32)
    tensor = replace(tensor, coefficients=coefficients * tensor.mask)
    quantizer = StepQuantizer(tensor.bands, [step], True)
    symbols = quantizer.coded(tensor).symbols
    assert np.array_equal(symbols != 0, tensor.mask.numpy())
    forward = quantizer(tensor.coefficients, tensor.mask).detach()
    assert torch.equal(forward != 0, tensor.mask)
    assert np.array_equal(np.sign(symbols)[symbols != 0], np.sign(forward.numpy())[symbols != 0])
    negative = tensor.coefficients.numpy() < 0
    assert (symbols[negative] < 0).all()


def test_a_first_quantizer_has_steps_of_so_many_deviations():
    tensor = tensors()[1]
    deviation = float(np.std(tensor.coefficients.double().numpy()))
    one, each = (first_quantizer(tensor, 2.5, per) for per in ("layer", "band"))
    assert one.log_steps.shape == (1,)
    assert each.log_steps.shape == (len(tensor.bands),) != (1,)
    for quantizer in (one, each):
        assert quantizer.log_steps.exp().detach().numpy() == pytest.approx(2.5 * deviation, rel=1e-5)
        assert not quantizer.exact
    nothing = replace(tensor, coefficients=torch.zeros_like(tensor.coefficients))
    assert torch.isfinite(first_quantizer(nothing, 2.5, "layer").log_steps).all()
    assert not first_quantizer(nothing, 2.5, "layer").coded(nothing).symbols.any()


@pytest.mark.parametrize("deviations", [0.25, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("value", [1.0, -0.3])
def test_a_first_quantizer_keeps_values_that_are_all_alike(deviations, value):
    tensor = tensors()[1]
    alike = replace(tensor, coefficients=torch.full_like(tensor.coefficients, value))
    quantizer = first_quantizer(alike, deviations, "layer")
    assert quantizer(alike.coefficients, alike.mask).detach().numpy() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_codebook_that_was_not_trained_gives_the_coded_tensor_again(bits):
    for tensor in tensors("dct"):
        coded = quantize(tensor, QuantizeSettings("kmeans", bits=bits))
        quantizer = trained_quantizer(coded, tensor, 1.0)
        assert isinstance(quantizer, CodebookQuantizer)
        assert_same(quantizer.coded(tensor), coded)
        forward = quantizer(tensor.coefficients, tensor.mask).detach().double()
        assert torch.equal(forward, coefficients_of(coded))


def test_the_gradient_of_a_codebook_value_is_the_sum_over_its_members():
    tensor = tensors("magnitude")[1]
    coded = quantize(tensor, QuantizeSettings("kmeans", bits=3))
    quantizer = CodebookQuantizer(coded)
    upstream = torch.randn(tensor.mask.numel(), generator=torch.Generator().manual_seed(0))
    values = tensor.coefficients.clone().requires_grad_()
    quantizer(values, tensor.mask).backward(upstream)
    assert values.grad is None
    book = coded.reconstruction
    symbols = [*range(-len(book.negative), 0), 0, *range(1, len(book.positive) + 1)]
    assert len(symbols) == len(quantizer.values) == 9
    for symbol, gradient in zip(symbols, quantizer.values.grad, strict=True):
        members = upstream.numpy()[coded.symbols == symbol]
        assert len(members) > 0
        assert float(gradient) == pytest.approx(float(members.sum()) if symbol else 0.0, abs=1e-4)


def test_a_trained_codebook_is_what_the_file_holds_in_float16():
    tensor = tensors("wavelet")[1]
    quantizer = CodebookQuantizer(quantize(tensor, QuantizeSettings("kmeans", bits=4)))
    with torch.no_grad():
        quantizer.values += 0.01 * torch.randn(len(quantizer.values), generator=torch.Generator().manual_seed(0))
    coded = quantizer.coded(tensor)
    assert coded.reconstruction.positive.dtype == coded.reconstruction.negative.dtype == np.float16
    assert torch.equal(quantizer(tensor.coefficients, tensor.mask).detach().double(), coefficients_of(coded))


@pytest.mark.parametrize(
    "quantization",
    [
        QuantizeSettings(bits=5),
        QuantizeSettings(per="band"),
        QuantizeSettings("kmeans", bits=3),
        QuantizeSettings("none"),
        QuantizeSettings("none", coefficients="float32"),
    ],
    ids=["layer", "band", "codebook", "float16", "float32"],
)
def test_a_coded_tensor_survives_a_checkpoint(tmp_path, quantization):
    for tensor in tensors():
        coded = quantize(tensor, quantization)
        torch.save(coded_as_plain(coded), tmp_path / "plain")
        again = coded_from_plain(torch.load(tmp_path / "plain", weights_only=True), tensor)
        assert_same(again, coded)
        assert torch.equal(again.weight(), coded.weight())


def assert_same(found, expected):
    assert replace(found, symbols=None, reconstruction=None) == replace(expected, symbols=None, reconstruction=None)
    assert found.symbols.dtype == expected.symbols.dtype
    assert np.array_equal(found.symbols, expected.symbols)
    mine, theirs = found.reconstruction, expected.reconstruction
    assert type(mine) is type(theirs)
    if isinstance(theirs, Steps):
        assert mine == theirs
        return
    names = ("negative", "positive") if isinstance(theirs, Codebook) else ("values",)
    assert isinstance(theirs, Codebook | Values)
    for name in names:
        assert getattr(mine, name).dtype == getattr(theirs, name).dtype
        assert np.array_equal(getattr(mine, name), getattr(theirs, name))


def test_values_that_are_stored_each_on_its_own_are_not_trained():
    tensor = tensors()[0]
    assert trained_quantizer(quantize(tensor, QuantizeSettings("none")), tensor, 1.0) is None
