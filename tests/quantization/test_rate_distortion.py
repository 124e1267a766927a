"""Rate-distortion optimised quantisation: weights and feedback against dense oracles, bits against errors."""

import numpy as np
import pytest
import torch
from pruned_tensors import LAYOUTS, coded_bytes, numbers, pruned

from wavesweep.compression.compressor import significance_rates as _rates
from wavesweep.quantization import rate_distortion
from wavesweep.quantization.importance import LayerImportance
from wavesweep.quantization.quantize import quantize
from wavesweep.quantization.rate_distortion import quantize_rate_distortion
from wavesweep.quantization.second_order import blocks_of
from wavesweep.quantization.symbols import LARGEST
from wavesweep.settings.schema import QuantizeSettings
from wavesweep.transform.basis import make_basis


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
    tensor = pruned((12, 4, 3, 3), method, layout, wavelet=wavelet)
    generator = torch.Generator().manual_seed(4)
    moments = [torch.randn(size, 70, generator=generator, dtype=torch.float64) + 0.3 for size in (36, 12)]
    inputs, outputs = ((one @ one.T).numpy() for one in moments)
    atoms = atoms_of(tensor)
    expected = np.einsum("iom,iom->i", np.einsum("op,ipn->ion", outputs, atoms), atoms @ inputs)
    blocks = blocks_of(tensor, LayerImportance(inputs, outputs), 0.0)
    assert sum(len(block.row_weights) * len(block.column_weights) for block in blocks) == len(expected)
    for block in blocks:
        np.testing.assert_allclose(block.row_weights[:, None] * block.column_weights, block.gather(expected), rtol=1e-9)


def second_moment(size, seed):
    """That of rows whose neighbours are alike, so that many others compensate errors of one."""
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


def symbols_by_dense_feedback(tensor, importance, step, row_groups=None):
    """Nearest rounding of one coefficient after another, with the second-order matrix of all of them at once.

    Rows of one of the `row_groups` are rounded together, column by column.
    """
    atoms = atoms_of(tensor)
    by_outputs = np.einsum("op,ipn->ion", importance.outputs, atoms)
    dense = np.einsum("iom,jom->ij", by_outputs, atoms @ importance.inputs)
    order = []
    for group in groups_of_bands(tensor):
        index = [np.arange(band.slice.start, band.slice.stop).reshape(band.shape[0], -1) for band in group]
        matrix = np.concatenate(index, axis=1)
        weights = dense[matrix, matrix].round(9)
        rows, columns = (np.argsort(-one, kind="stable") for one in (weights[:, 0], weights[0]))
        bounds = np.linspace(0, len(rows), min(len(rows), row_groups or len(rows)) + 1).astype(int)
        order += [column for some in np.split(rows, bounds[1:-1]) for column in matrix[some][:, columns].T]
    left, symbols = tensor.coefficients.double().numpy().copy(), np.zeros(len(atoms), np.int32)
    for number, some in enumerate(order):
        symbols[some] = np.rint(left[some] / step)
        later = np.concatenate([np.empty(0, int), *order[number + 1 :]])
        changes = np.linalg.solve(dense[np.ix_(later, later)], dense[np.ix_(later, some)])
        left[later] += changes @ (left[some] - symbols[some] * step)
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


@pytest.mark.parametrize("groups", [1, 3, 5, 16])
@pytest.mark.parametrize(
    ("method", "shape"),
    [("wavelet", (16, 12)), ("wavelet", (16, 2)), *(("magnitude", shape) for shape in ((16, 3), (5, 17), (1, 9)))],
)
def test_groups_of_rows_and_blocks_of_columns_equal_the_same_with_all_at_once(method, shape, groups, monkeypatch):
    monkeypatch.setattr(rate_distortion, "_GROUPS", groups)
    monkeypatch.setattr(rate_distortion, "_BLOCK", 4)
    tensor = pruned(shape, method, "channel", percentile=0.0)
    importance = LayerImportance(second_moment(shape[1], 3), second_moment(shape[0], 5))
    quantizer = QuantizeSettings(step=1.0, rate_weight=0.0, damping=0.0)
    coded = quantize_rate_distortion(tensor, quantizer, importance, _rates, 1.0)
    (step,) = coded.reconstruction.steps
    np.testing.assert_array_equal(coded.symbols, symbols_by_dense_feedback(tensor, importance, step, groups))


@pytest.mark.parametrize("scale", [1e-20, 1e12])
def test_the_scale_of_the_outputs_changes_nothing_but_the_step(scale):
    tensor = pruned((16, 12), percentile=0.0)
    inputs, outputs = second_moment(12, 3), second_moment(16, 5)
    found = [
        quantize_rate_distortion(
            tensor,
            QuantizeSettings(step=float(np.sqrt(one)), rate_weight=0.1),
            LayerImportance(inputs, outputs * one),
            _rates,
            1.0,
        ).symbols
        for one in (1.0, scale)
    ]
    np.testing.assert_array_equal(*found)


def test_a_layer_that_the_outputs_do_not_depend_on_is_all_zero():
    importance = LayerImportance(second_moment(20, 3), np.zeros((16, 16)))
    assert not quantize_rate_distortion(pruned(), QuantizeSettings(step=0.1), importance, _rates, 1.0).symbols.any()


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
