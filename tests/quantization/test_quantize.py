"""Quantisation: bounds of the error, ranges of symbols, optimal codebooks, rate against distortion."""

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
import torch
from cases import case
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned_tensors import LAYOUTS, SHAPES, numbers, pruned

from wavesweep.compression.compressor import significance_rates as _rates
from wavesweep.errors import WavesweepError
from wavesweep.quantization.importance import LayerImportance
from wavesweep.quantization.quantize import quantize, quantize_small, round_to_step, short_number
from wavesweep.quantization.rate_distortion import quantize_rate_distortion
from wavesweep.quantization.symbols import LARGEST, Codebook, Steps, Values
from wavesweep.settings.registry import Method, rows
from wavesweep.settings.schema import QuantizeSettings

METHODS = tuple(rows(Method))


@pytest.mark.parametrize("method", METHODS)
def test_every_quantiser_leaves_pruned_coefficients_zero(method):
    for layout, shape in product(LAYOUTS, SHAPES):
        with case(layout, shape):
            assert_pruned_stay_zero(pruned(SHAPES[shape], method, layout), shape)


def assert_pruned_stay_zero(tensor, shape):
    _, mask = numbers(tensor)
    columns = SHAPES[shape][1] if len(SHAPES[shape]) == 2 else 54
    importance = LayerImportance(np.eye(columns) + 0.2, np.diag(np.linspace(1, 2, SHAPES[shape][0])))
    rdo = QuantizeSettings(step=0.3, rate_weight=0.05)
    for coded in (
        quantize(tensor, QuantizeSettings(bits=5)),
        quantize(tensor, QuantizeSettings("kmeans", bits=3)),
        quantize(tensor, QuantizeSettings("none")),
        quantize_rate_distortion(tensor, rdo, None, _rates, 1.0),
        quantize_rate_distortion(tensor, rdo, importance, _rates, 1.0),
    ):
        assert coded.symbols.dtype == np.int32
        assert coded.symbols.shape == mask.shape
        assert np.count_nonzero(coded.symbols)
        assert not coded.symbols[~mask].any()
        assert not coded.coefficients()[~mask].any()
        assert (coded.name, coded.shape, coded.view) == (tensor.plan.name, tensor.plan.shape, tensor.plan.view)
        error = torch.linalg.vector_norm(coded.weight() - tensor.weight)
        assert error < 0.5 * torch.linalg.vector_norm(tensor.weight)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
    st.floats(1e-3, 1e3),
    st.floats(1, 4),
)
def test_outside_the_dead_zone_the_nearest_multiple_is_taken(values, step, dead_zone):
    values = np.array(values)
    symbols = round_to_step(values, step, dead_zone)
    inside = np.abs(values) < dead_zone / 2 * step * (1 - 1e-9)
    assert not symbols[inside].any()
    outside = np.abs(values) > dead_zone / 2 * step * (1 + 1e-9)
    assert (symbols[outside] != 0).all()
    assert (np.abs(symbols * step - values)[outside] <= step / 2 * (1 + 1e-6)).all()
    assert (symbols * values >= 0).all()


@pytest.mark.parametrize("per", ["layer", "band"])
@pytest.mark.parametrize("atom_norm", [False, True])
def test_bits_bound_the_symbols(per, atom_norm):
    for bits in range(2, 17):
        with case(bits):
            assert_bounded(pruned(), bits, per, atom_norm)


def assert_bounded(tensor, bits, per, atom_norm):
    coded = quantize(tensor, QuantizeSettings(bits=bits, per=per, atom_norm=atom_norm))
    most = (1 << (bits - 1)) - 1
    largest = [int(np.abs(symbols).max()) for symbols in coded.band_symbols()]
    if per == "band" or not atom_norm:
        assert max(largest) <= most
        assert max(largest) >= 0.99 * most - 1
    values, _ = numbers(tensor)
    steps = coded.reconstruction.steps
    steps = steps if len(steps) > 1 else steps * len(tensor.bands)
    for band, step in zip(tensor.bands, steps, strict=True):
        assert (np.abs(coded.coefficients()[band.slice] - values[band.slice]) <= step / 2 * (1 + 1e-9)).all()


def test_bands_have_steps_of_their_own_range_and_norm():
    tensor = pruned()
    values, _ = numbers(tensor)
    assert len(quantize(tensor, QuantizeSettings()).reconstruction.steps) == 1
    by_band = quantize(tensor, QuantizeSettings(per="band")).reconstruction.steps
    for band, step in zip(tensor.bands, by_band, strict=True):
        assert step == pytest.approx(np.abs(values[band.slice]).max() / 127, rel=1e-3)
    given_step = QuantizeSettings(step=0.25, atom_norm=True)
    other = [replace(band, atoms=(("rbio3.3", number, "a"),)) for number, band in enumerate(tensor.bands, 1)]
    biorthogonal = replace(tensor, bands=tuple(other))
    found = quantize(biorthogonal, given_step).reconstruction.steps
    assert found == tuple(short_number(0.25 / band.atom_norm) for band in biorthogonal.bands)
    assert len(set(found)) == len(tensor.bands)
    assert quantize(tensor, QuantizeSettings(step=0.25), 2.0).reconstruction.steps == (0.5,)


@pytest.mark.parametrize("value", [1.0, 1e-30, 123456.0, 0.012345])
def test_steps_are_short(value):
    assert len(repr(short_number(value)).strip("0.")) <= 9
    assert short_number(value) == pytest.approx(value, rel=5e-4)


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1.0, 1e20, 1e35])
def test_steps_of_any_size_give_symbols_that_can_be_coded(scale):
    tensor = pruned(scale=scale)
    for quantizer in (QuantizeSettings(), QuantizeSettings(bits=16), QuantizeSettings(step=1e-25)):
        coded = quantize(tensor, quantizer)
        assert np.abs(coded.symbols.astype(np.int64)).max() <= LARGEST
        assert torch.isfinite(coded.weight()).all()
        if scale >= 1e-20:
            assert torch.allclose(coded.weight(), tensor.weight, rtol=0, atol=0.02 * float(tensor.weight.abs().max()))


def best_cost(values, levels):
    """Smallest sum of squares over all ways to cut sorted values into at most `levels` runs."""
    values = np.sort(values)
    costs = []
    for number in range(min(levels, len(values))):
        for cuts in combinations(range(1, len(values)), number):
            costs.append(sum(((part - part.mean()) ** 2).sum() for part in np.split(values, cuts)))
    return min(costs)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-40, 40).filter(bool), min_size=1, max_size=9), st.integers(1, 2))
def test_codebooks_are_optimal(values, bits):
    tensor = pruned()
    coefficients = torch.zeros(tensor.mask.numel())
    coefficients[: len(values)] = torch.tensor(values) / 8
    tensor = replace(tensor, coefficients=coefficients, mask=coefficients != 0)
    # One bit is less than the settings allow, but the cost is easier to see.
    coded = quantize(tensor, QuantizeSettings("kmeans", bits=bits))
    found = coded.coefficients()[: len(values)]
    cost = ((found - np.array(values) / 8) ** 2).sum()
    assert cost == pytest.approx(best_cost(np.array(values) / 8, 1 << bits), abs=0.02)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_codebook_never_prunes(bits):
    tensor = pruned()
    _, mask = numbers(tensor)
    coded = quantize(tensor, QuantizeSettings("kmeans", bits=bits))
    rule = coded.reconstruction
    assert isinstance(rule, Codebook)
    assert ((coded.symbols != 0) == mask).all()
    assert len(rule.negative) + len(rule.positive) <= 1 << bits
    assert (rule.negative.dtype, rule.positive.dtype) == (np.float16, np.float16)
    assert (rule.positive > 0).all()
    assert (rule.negative < 0).all()
    assert (np.diff(np.abs(rule.negative)) >= 0).all()
    assert (np.diff(rule.positive) >= 0).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_without_quantisation_coefficients_are_rounded_to_their_type(dtype):
    tensor = pruned()
    values, mask = numbers(tensor)
    coded = quantize(tensor, QuantizeSettings("none", coefficients=dtype))
    assert isinstance(coded.reconstruction, Values)
    assert coded.reconstruction.values.dtype == dtype
    np.testing.assert_array_equal(coded.coefficients(), np.where(mask, values, 0).astype(dtype).astype(np.float64))


@pytest.mark.parametrize("quantizer", [QuantizeSettings("kmeans"), QuantizeSettings("none")])
def test_weights_beyond_half_precision_survive_or_are_refused_by_name(quantizer):
    tensor = pruned(scale=1e6)
    said = ""
    try:
        weight = quantize(tensor, quantizer).weight()
    except WavesweepError as error:
        said = str(error)
    if said:
        assert tensor.plan.name in said
    else:
        assert torch.linalg.vector_norm(weight - tensor.weight) < 0.1 * torch.linalg.vector_norm(tensor.weight)


def test_everything_pruned_is_all_zero():
    tensor = pruned(percentile=100.0)
    for quantizer in (QuantizeSettings(), QuantizeSettings("kmeans"), QuantizeSettings("none")):
        coded = quantize(tensor, quantizer)
        assert not coded.symbols.any()
        assert not coded.weight().any()
    assert not quantize_rate_distortion(tensor, QuantizeSettings(step=0.1), None, _rates, 1.0).symbols.any()


def test_small_tensors_are_quantised_over_their_range():
    values = np.linspace(-3, 2, 41)
    symbols, rule = quantize_small(values, 8)
    assert isinstance(rule, Steps)
    assert np.abs(symbols * rule.steps[0] - values).max() <= rule.steps[0] / 2 * (1 + 1e-9)
    assert np.abs(symbols).max() == 127
    assert quantize_small(np.zeros(5), 8)[0].tolist() == [0] * 5
