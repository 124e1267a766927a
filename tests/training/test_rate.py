"""The file's bits in the loss: the table against a count by hand and against the range coder, its gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import parametrised

from wavesweep.codec.planes import planes_of
from wavesweep.codec.range_coder import encode
from wavesweep.quantization.trainable import first_quantizer
from wavesweep.training import rate
from wavesweep.training.rate import BitsPenalty, bit_table, group_norms
from wavesweep.transform.basis import Band, make_basis
from wavesweep.transform.basis import BasisSpec as Spec


def by_hand(symbols, band):
    """Probabilities of every symbol of one band, one by one: (cost of this, cost of 0, of 1, of 2), all in bits."""
    plane = symbols[band.slice].reshape(band.shape[0] if band.shape else 1, -1)
    rows, columns = plane.shape
    nonzero = [[int(plane[i][j] != 0) for j in range(columns)] for i in range(rows)]
    count = sum(map(sum, nonzero))
    average = (count + 0.5) / (rows * columns + 1)
    beyond = sum(abs(int(plane[i][j])) - 1 for i in range(rows) for j in range(columns) if plane[i][j])
    mean = (beyond + 0.3) / (count + 1)

    def odds(share):
        return math.log(share / (1 - share))

    costs = np.zeros((4, rows, columns))
    for i in range(rows):
        for j in range(columns):
            here = odds(average)
            if rows > 1 and columns > 1:
                in_row = (sum(nonzero[i]) + 2 * average) / (columns + 2)
                in_column = (sum(row[j] for row in nonzero) + 2 * average) / (rows + 2)
                here += odds(in_row) - odds(average) + odds(in_column) - odds(average)
            significant = 1 / (1 + math.exp(-here))

            def bits(symbol, significant=significant):
                if not symbol:
                    return -math.log2(1 - significant)
                stop = 1 / (1 + mean)  # geometric, with that mean
                return -math.log2(significant * 0.5 * stop * (1 - stop) ** (abs(symbol) - 1))

            costs[:, i, j] = [bits(int(plane[i][j])), bits(0), bits(1), bits(2)]
    return costs.reshape(4, -1)


@settings(deadline=None, max_examples=60)
@given(
    shapes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3),
    data=st.data(),
)
def test_the_table_is_what_a_count_by_hand_gives(shapes, data):
    bands, start = [], 0
    for shape in shapes:
        bands.append(Band(1, "d", shape, start))
        start += math.prod(shape)
    values = st.sampled_from([0, 0, 0, 1, -1, 2, -3, 40])
    symbols = torch.tensor(data.draw(st.lists(values, min_size=start, max_size=start)), dtype=torch.float32)
    table = bit_table(symbols, bands)
    costs = np.concatenate([by_hand(symbols, band) for band in bands], axis=1)
    assert table.total == pytest.approx(costs[0].sum(), rel=1e-4, abs=1e-4)
    assert table.first.numpy() == pytest.approx(np.clip(costs[2] - costs[1], 0.05, 30.0), abs=1e-3)
    assert table.next.numpy() == pytest.approx(costs[3] - costs[2], abs=1e-3)
    assert table.first.shape == table.next.shape == symbols.shape


def sparse(shape, density, seed, structured):
    """Random sparse symbols of a shape, with rows and columns of different densities where `structured`."""
    generator = np.random.default_rng(seed)
    share = np.full(shape, density)
    if structured:
        for axis in (0, 1):
            factors = np.exp(1.2 * generator.standard_normal(shape[axis]))
            share = share * np.expand_dims(factors, 1 - axis)
        share *= density / share.mean()
    magnitudes = 1 + generator.geometric(0.6, shape) // 2
    return np.where(generator.random(shape) < share, magnitudes * generator.choice([-1, 1], shape), 0).astype(np.int32)


@pytest.mark.parametrize("structured", [False, True], ids=["uniform", "structured"])
@pytest.mark.parametrize("density", [0.01, 0.05, 0.3])
def test_the_total_is_close_to_the_coders_size(density, structured):
    for seed in range(2):
        symbols = sparse((300, 400), density, seed, structured)
        bands = (Band(0, "", symbols.shape, 0),)
        planes = planes_of([(0, "", symbols.shape)])
        real = 8 * len(encode([(planes, [symbols])]))
        estimated = bit_table(torch.from_numpy(symbols).float().reshape(-1), bands).total
        assert estimated == pytest.approx(real, rel=0.15)


def test_the_total_is_close_to_the_coders_size_over_the_bands_of_a_wavelet():
    basis = make_basis(Spec("wavelet", (0, 1), "haar", (2, 2), "periodization"), (256, 320))
    planes = planes_of([(band.level, band.orientation, band.shape) for band in basis.bands])
    # Coarse bands are denser, as in a trained network.
    symbols = [sparse(band.shape, 0.04 * 2**band.level, band.start, True) for band in basis.bands]
    real = 8 * len(encode([(planes, symbols)]))
    flat = torch.from_numpy(np.concatenate([part.reshape(-1) for part in symbols])).float()
    assert bit_table(flat, basis.bands).total == pytest.approx(real, rel=0.15)


def tables(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, generator=generator, dtype=torch.float64) * 9 + 0.1 for _ in range(2))


def bits(scaled, first, further):
    return rate._InterpolatedBits.apply(scaled, first, further)


def test_interpolated_bits_are_the_tables_at_integers():
    first, further = tables(1)
    for symbol in range(-5, 6):
        expected = 0.0 if symbol == 0 else float(first) + (abs(symbol) - 1) * float(further)
        assert float(bits(torch.tensor([float(symbol)], dtype=torch.float64), first, further)) == pytest.approx(
            expected
        )


@given(low=st.integers(-6, 5), share=st.floats(0, 1))
def test_interpolated_bits_are_linear_between_integers(low, share):
    first, further = tables(1)
    ends = [float(bits(torch.tensor([float(x)], dtype=torch.float64), first, further)) for x in (low, low + 1)]
    middle = float(bits(torch.tensor([low + share], dtype=torch.float64), first, further))
    assert middle == pytest.approx((1 - share) * ends[0] + share * ends[1], abs=1e-9)


def test_interpolated_bits_are_summed_and_have_the_gradients_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    scaled = 2 * torch.randn(50, generator=generator, dtype=torch.float64)
    first, further = tables(50)
    each = [float(bits(scaled[i : i + 1], first[i : i + 1], further[i : i + 1])) for i in range(50)]
    assert float(bits(scaled, first, further)) == pytest.approx(sum(each))
    assert torch.autograd.gradcheck(lambda x: bits(x, first, further), (scaled.requires_grad_(),))


def penalised(rate_weight=1.0, group_weight=0.0, method="wavelet"):
    """A network with quantised coefficients, and its penalty."""
    _, coefficients, arm, _ = parametrised(method, percentile=20.0)
    coefficients.quantize([first_quantizer(tensor, 1.0, "band") for tensor in coefficients.pruned()])
    penalty = BitsPenalty(coefficients, rate_weight, group_weight)
    penalty.refresh()
    return coefficients, penalty, arm


@pytest.mark.parametrize(("rate_weight", "group_weight"), [(3.0, 0.0), (0.0, 0.5), (2.0, 0.1)])
def test_the_penalty_has_the_gradients_of_finite_differences(rate_weight, group_weight):
    coefficients, penalty, _ = penalised(rate_weight, group_weight)
    penalty.loss().backward()
    for latent, synthesis in zip(coefficients.latents, coefficients.syntheses, strict=True):
        for parameter in (latent, synthesis.quantizer.log_steps):
            direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            values = []
            with torch.no_grad():
                for sign in (1, -2):  # one step forward, two back
                    parameter += sign * 1e-3 * direction
                    values.append(float(penalty.loss()))
                parameter += 1e-3 * direction
            slope = float((parameter.grad * direction).sum())
            # Kinks at integers make differences inexact, as does float32.
            assert slope == pytest.approx((values[0] - values[1]) / 2e-3, rel=0.1, abs=0.02)


def test_the_penalty_is_in_bits_per_coefficient_and_leaves_masked_ones_alone():
    coefficients, penalty, arm = penalised(rate_weight=1.0)
    count = sum(latent.numel() for latent in coefficients.latents)
    with torch.no_grad():  # on integers the interpolation is the table
        for latent, synthesis in zip(coefficients.latents, coefficients.syntheses, strict=True):
            steps = synthesis.quantizer.steps()
            latent.copy_(torch.round(latent / steps) * steps)
    # bits(x) = cost(x) - cost(0), so with the cost of all zeros it is the whole estimate.
    total = 0.0
    for latent, synthesis, table in zip(coefficients.latents, coefficients.syntheses, penalty._tables, strict=True):
        symbols = torch.round((latent * synthesis.mask / synthesis.quantizer.steps()).detach())
        sizes = symbols.abs()
        total += float((table.first * sizes.clamp(max=1) + table.next * (sizes - 1).clamp(min=0)).sum())
    assert float(penalty.loss().detach()) == pytest.approx(total / count, rel=1e-3)
    penalty.loss().backward()
    for latent, tensor in zip(coefficients.latents, arm.tensors, strict=True):
        assert torch.count_nonzero(latent.grad[~tensor.mask]) == 0
        assert torch.count_nonzero(latent.grad[tensor.mask]) > 0
    assert penalty.estimated_bytes == pytest.approx(sum(table.total for table in penalty._tables) / 8)


def test_the_group_penalty_is_that_of_the_group_lasso():
    shape = (4, 3, 2)
    values = torch.randn(24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values.view(4, 6)[1] = 0  # an empty unit
    values.view(4, 6)[:, 4] = 0  # and an empty input
    scaled = values.clone().requires_grad_()
    group_norms(scaled, (Band(0, "", shape, 0),)).backward()
    plane, gradient = values.view(4, 6), scaled.grad.view(4, 6)
    for i in range(4):
        for j in range(6):
            expected = 0.0
            for group, size in ((plane[i], 6), (plane[:, j], 4)):
                if float(group.norm()):
                    expected += math.sqrt(size) * float(plane[i, j] / group.norm())
            assert float(gradient[i, j]) == pytest.approx(expected, abs=1e-6)
    assert torch.count_nonzero(gradient[1]) == torch.count_nonzero(gradient[:, 4]) == 0
    norms = sum(math.sqrt(6) * float(row.norm()) for row in plane) + sum(2 * float(c.norm()) for c in plane.T)
    assert float(group_norms(values, (Band(0, "", shape, 0),))) == pytest.approx(norms, abs=1e-3)


def test_leaving_zero_costs_most_in_empty_rows_and_columns():
    symbols = sparse((40, 60), 0.4, 0, False)
    symbols[7], symbols[:, 11] = 0, 0  # an empty unit and an empty input
    symbols[8] = 1  # a full unit
    first = bit_table(torch.from_numpy(symbols).float().reshape(-1), (Band(0, "", (40, 60), 0),)).first.view(40, 60)
    ordinary = np.delete(np.delete(np.arange(40), [7, 8]), [])
    normal_columns = np.delete(np.arange(60), 11)
    others = first[ordinary][:, normal_columns]
    assert first[7, normal_columns].min() > others.max() > others.min() > first[8, normal_columns].max()
    assert first[ordinary, 11].min() > others.max()
    assert first.argmax() == 7 * 60 + 11


@pytest.mark.parametrize("shape", [(3, 4), (1, 12), (12,), (1,), ()])
def test_all_empty_and_all_full_bands_have_finite_bounded_bits(shape):
    count = math.prod(shape)
    for value in (0.0, 1.0, -(2.0**20)):
        table = bit_table(torch.full((count,), value), (Band(0, "", shape, 0),))
        assert torch.isfinite(table.next).all()
        assert table.next.min() > 0
        assert 0.05 <= float(table.first.min()) <= float(table.first.max()) <= 30
        assert math.isfinite(table.total)
        assert table.total > 0
