"""Quantisation: bounds of the error, ranges of symbols, optimal codebooks, rate against distortion."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wavesweep.codec.context import planes_of
from wavesweep.codec.range_coder import encode
from wavesweep.coding import _rates
from wavesweep.compression.arm import ArmSpec, prune
from wavesweep.compression.basis import make_basis
from wavesweep.compression.importance import LayerImportance
from wavesweep.compression.layers import plan_tensors
from wavesweep.compression.quantize import quantize, quantize_small, round_to_step, short_number
from wavesweep.compression.rate_distortion import quantize_rate_distortion
from wavesweep.compression.second_order import blocks_of
from wavesweep.compression.symbols import LARGEST, Codebook, Steps, Values
from wavesweep.config import METHODS, QuantizeSettings, Settings, ThresholdSettings
from wavesweep.errors import WavesweepError

LAYOUTS = ("channel", "flat", "all")
SHAPES = {"linear": (16, 20), "conv": (8, 6, 3, 3)}


def network(shape, seed=0, scale=1.0):
    layer = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2:])
    generator = torch.Generator().manual_seed(seed)
    layer.weight.data = scale * torch.randn(shape, generator=generator)
    return nn.Sequential(layer)


def pruned(
    shape=SHAPES["linear"], method="wavelet", layout="channel", percentile=50.0, scale=1.0, wavelet="haar", **changes
):
    model = network(shape, scale=scale)
    settings = Settings(wavelet=wavelet, level=2, layout=layout)
    plans = tuple(plan for plan in plan_tensors(model, settings, ()) if plan.pruned)
    threshold = ThresholdSettings(percentile=percentile, **changes)
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    return prune(weights, ArmSpec(method, plans, "periodization", threshold, 0)).tensors[0]


def numbers(tensor):
    return tensor.coefficients.double().numpy(), tensor.mask.numpy()


def coded_bytes(coded, tensor):
    planes = planes_of([(band.level, band.orientation, band.shape) for band in tensor.bands])
    return len(encode([(planes, coded.band_symbols())]))


EVERY = [(method, layout, shape) for method in METHODS for layout in LAYOUTS for shape in SHAPES]


@pytest.mark.parametrize(("method", "layout", "shape"), EVERY)
def test_every_quantiser_leaves_pruned_coefficients_zero(method, layout, shape):
    tensor = pruned(SHAPES[shape], method, layout)
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


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("per", ["layer", "band"])
@pytest.mark.parametrize("atom_norm", [False, True])
def test_bits_bound_the_symbols(bits, per, atom_norm):
    tensor = pruned()
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
    biorthogonal = replace(tensor, bands=tuple(replace(band, atom_norm=1.0 + i) for i, band in enumerate(tensor.bands)))
    found = quantize(biorthogonal, given_step).reconstruction.steps
    assert found == tuple(short_number(0.25 / (1 + i)) for i in range(len(tensor.bands)))
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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["wavelet", "magnitude", "dct", "rotation", "shuffled"])
def test_without_a_price_rate_distortion_is_nearest_rounding(method, layout):
    tensor = pruned(method=method, layout=layout)
    values, mask = numbers(tensor)
    coded = quantize_rate_distortion(tensor, QuantizeSettings(step=0.2), None, _rates, 1.0)
    (step,) = coded.reconstruction.steps
    np.testing.assert_array_equal(coded.symbols, np.where(mask, np.rint(values / step), 0))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("correlated", [False, True])
def test_a_higher_price_of_bits_gives_fewer_symbols_and_bytes(layout, correlated):
    tensor = pruned((40, 8, 3, 3), "magnitude", layout, percentile=60.0)
    importance = LayerImportance(np.eye(72) + 0.5, np.eye(40)) if correlated else None
    found = []
    for weight in (0.0, 0.05, 0.2, 0.5):
        coded = quantize_rate_distortion(
            tensor, QuantizeSettings(step=0.8, rate_weight=weight), importance, _rates, 1.0
        )
        found.append((np.count_nonzero(coded.symbols), coded_bytes(coded, tensor)))
    assert found == sorted(found, reverse=True)
    assert [size for _, size in found] == sorted((size for _, size in found), reverse=True)
    assert found[-1][1] < 0.9 * found[0][1]


def atoms_of(tensor):
    """All atoms of a tensor's basis, shape (count, units, weights of a unit)."""
    basis = make_basis(tensor.basis, tensor.plan.view)
    atoms = torch.stack([basis.synthesise(one) for one in torch.eye(basis.count, dtype=torch.float64)])
    return atoms.reshape(basis.count, tensor.plan.view[0], -1).numpy()


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "flat"])  # that has no units
@pytest.mark.parametrize("method", ["wavelet", "magnitude", "dct", "rotation", "shuffled"])
@pytest.mark.parametrize("wavelet", ["haar", "bior2.2"])
def test_weights_are_those_of_each_atom(method, layout, wavelet):
    tensor = pruned((20, 6, 3, 3), method, layout, wavelet=wavelet)
    generator = torch.Generator().manual_seed(4)
    moments = [torch.randn(size, 70, generator=generator, dtype=torch.float64) + 0.3 for size in (54, 20)]
    inputs, outputs = ((one @ one.T).numpy() for one in moments)
    atoms = atoms_of(tensor)
    expected = np.einsum("iom,iom->i", np.einsum("op,ipn->ion", outputs, atoms), atoms @ inputs)
    blocks = blocks_of(tensor, LayerImportance(inputs, outputs), 0.0)
    assert sum(len(block.row_weights) * len(block.column_weights) for block in blocks) == len(expected)
    for block in blocks:
        np.testing.assert_allclose(block.row_weights[:, None] * block.column_weights, block.gather(expected), rtol=1e-9)


def second_moment(size, seed):
    """That of rows whose neighbours are alike, so that errors of one are made good by many others."""
    rows = torch.randn(60, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows[:, 1:] += 0.8 * rows[:, :-1]
    return (rows.T @ rows / 60).numpy()


def groups_of_bands(tensor):
    """Bands that are quantised together, in order; what follows a group takes up its errors."""
    levels = dict(zip(tensor.basis.axes, tensor.basis.levels, strict=False))
    if not levels.get(0):
        return [tensor.bands]
    place, top, found = tensor.basis.axes.index(0), levels[0], []
    for level in range(1, top + 1):
        details = [band for band in tensor.bands[1:] if band.level == level]
        found.append([band for band in details if band.orientation[place] == "d"])
        low = [band for band in details if band.orientation[place] == "a"]
        found.append([tensor.bands[0], *low] if level == top else low)
    return found


def symbols_by_dense_feedback(tensor, importance, step):
    """Nearest rounding of one coefficient after another, with the second-order matrix of all of them at once."""
    atoms = atoms_of(tensor)
    by_outputs = np.einsum("op,ipn->ion", importance.outputs, atoms)
    dense = np.einsum("iom,jom->ij", by_outputs, atoms @ importance.inputs)
    order = []
    for group in groups_of_bands(tensor):
        index = [np.arange(band.slice.start, band.slice.stop).reshape(band.shape[0], -1) for band in group]
        matrix = np.concatenate(index, axis=1)
        weights = dense[matrix, matrix].round(9)
        rows, columns = (np.argsort(-one, kind="stable") for one in (weights[:, 0], weights[0]))
        order += matrix[rows][:, columns].reshape(-1).tolist()
    left, symbols = tensor.coefficients.double().numpy().copy(), np.zeros(len(atoms), np.int32)
    for number, one in enumerate(order):
        symbols[one] = np.rint(left[one] / step)
        later = order[number + 1 :]
        if later:
            left[later] += np.linalg.solve(dense[np.ix_(later, later)], dense[later, one]) * (
                left[one] - symbols[one] * step
            )
    return symbols


@pytest.mark.parametrize(
    ("method", "wavelet"),
    [("wavelet", "haar"), ("shuffled", "haar"), ("wavelet", "bior2.2"), ("magnitude", "haar"), ("dct", "haar")],
)
@pytest.mark.parametrize("shape", [(8, 12), (8, 4, 1, 3)])
def test_feedback_by_blocks_equals_feedback_among_all_coefficients(method, wavelet, shape):
    tensor = pruned(shape, method, "channel", percentile=0.0, wavelet=wavelet)
    importance = LayerImportance(second_moment(int(np.prod(shape[1:])), 3), second_moment(shape[0], 5))
    quantizer = QuantizeSettings(step=1.0, rate_weight=0.0, damping=0.0)
    coded = quantize_rate_distortion(tensor, quantizer, importance, _rates, 1.0)
    (step,) = coded.reconstruction.steps
    np.testing.assert_array_equal(coded.symbols, symbols_by_dense_feedback(tensor, importance, step))
    assert (coded.symbols != np.rint(tensor.coefficients.double().numpy() / step)).mean() > 0.05


@pytest.mark.parametrize("method", ["magnitude", "dct", "wavelet"])
def test_units_make_good_what_others_lose(method):
    # More units than groups of rows, which are quantised one after the other.
    tensor = pruned((48, 16), method, "channel", percentile=0.0)
    by_outputs = np.random.default_rng(2).normal(size=(10, 48))
    alike = LayerImportance(second_moment(16, 3), by_outputs.T @ by_outputs)
    apart = LayerImportance(alike.inputs, np.diag(np.diag(alike.outputs)))
    settings = QuantizeSettings(step=1.0, rate_weight=0.0)

    def cost(importance):
        coded = quantize_rate_distortion(tensor, settings, importance, _rates, 1.0)
        error = (coded.weight() - tensor.weight).double().numpy()
        return np.trace(alike.outputs @ error @ alike.inputs @ error.T)

    assert cost(alike) < 0.5 * cost(apart)


@pytest.mark.integration
@pytest.mark.parametrize("method", ["magnitude", "dct", "rotation", "wavelet", "shuffled"])
def test_importance_gives_smaller_errors_of_the_outputs_at_no_more_bytes(method):
    shape = (64, 48)
    tensor = pruned(shape, method, "channel", percentile=0.0)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(500, 6, generator=generator) @ torch.randn(6, 48, generator=generator)
    inputs = (inputs + 0.1 * torch.randn(500, 48, generator=generator)).double()
    importance = LayerImportance((inputs.T @ inputs / 500).numpy(), np.eye(64))

    def error(coded):
        return float(torch.linalg.vector_norm(inputs @ (coded.weight() - tensor.weight).double().T))

    plain = quantize(tensor, QuantizeSettings(step=0.5))
    best = None
    for step in np.geomspace(0.3, 10, 10):
        settings = QuantizeSettings(step=float(step), rate_weight=0.01)
        coded = quantize_rate_distortion(tensor, settings, importance, _rates, 1.0)
        if coded_bytes(coded, tensor) <= coded_bytes(plain, tensor):
            best = error(coded) if best is None else min(best, error(coded))
    assert best is not None
    assert best < 0.7 * error(plain)


@pytest.mark.parametrize("step", [1e-12, 1e12])
def test_rate_distortion_with_extreme_steps_gives_symbols_that_can_be_coded(step):
    tensor = pruned()
    coded = quantize_rate_distortion(tensor, QuantizeSettings(step=step, rate_weight=0.1), None, _rates, 1.0)
    assert np.abs(coded.symbols.astype(np.int64)).max() <= LARGEST
    coded_bytes(coded, tensor)
    assert torch.isfinite(coded.weight()).all()
