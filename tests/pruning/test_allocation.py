"""Sharing a number of coefficients out: exact totals, no tensor beyond its size, and the rules of the papers."""

import time
from fractions import Fraction
from itertools import pairwise, product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.pruning import allocation as allocate
from wavesweep.pruning.allocation import Participant, lamp_scores

LENET300 = [(300, 784), (100, 300), (10, 100)]
quick = settings(deadline=None)

SHAPES = st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=4), min_size=1, max_size=5)
# Few different values, so that ties are common.
MAGNITUDES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=4)
POINT = st.tuples(st.floats(0, 100), st.floats(-0.1, 1))
CURVES = st.lists(st.tuples(st.integers(1, 30), st.lists(POINT, max_size=5)), min_size=1, max_size=5)


def none_of(size):
    """Magnitudes of a size that a rule does not read."""
    return torch.zeros(1).expand(size)


def erk(shapes, sizes, kept):
    tensors = [Participant(shape, none_of(size)) for shape, size in zip(shapes, sizes, strict=True)]
    return allocate.erk(tensors, kept)


def lamp(magnitudes, kept):
    return allocate.lamp([Participant((), values) for values in magnitudes], kept)


def sensitivity(curves, sizes, kept):
    tensors = [Participant((), none_of(size), curve) for curve, size in zip(curves, sizes, strict=True)]
    return allocate.sensitivity(tensors, kept)


@st.composite
def erk_rule(draw):
    shapes = draw(SHAPES)
    extra = draw(st.lists(st.integers(0, 5), min_size=len(shapes), max_size=len(shapes)))
    sizes = [prod(shape) + more for shape, more in zip(shapes, extra, strict=True)]
    return sizes, lambda kept: erk(shapes, sizes, kept)


@st.composite
def lamp_rule(draw):
    tensors = [torch.tensor(values, dtype=torch.float32) for values in draw(MAGNITUDES)]
    return [tensor.numel() for tensor in tensors], lambda kept: lamp(tensors, kept)


@st.composite
def sensitivity_rule(draw):
    drawn = draw(CURVES)
    sizes, curves = [size for size, _ in drawn], [tuple(points) for _, points in drawn]
    return sizes, lambda kept: sensitivity(curves, sizes, kept)


RULES = st.one_of(erk_rule(), lamp_rule(), sensitivity_rule())


@quick
@given(rule=RULES)
def test_every_total_is_met_exactly_and_no_tensor_ever_keeps_less_of_more(rule):
    sizes, counts_for = rule
    found = [counts_for(kept) for kept in range(sum(sizes) + 1)]
    for kept, counts in enumerate(found):
        assert sum(counts) == kept
        assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
    for fewer, more in pairwise(found):
        assert all(one <= other for one, other in zip(fewer, more, strict=True))


@quick
@given(rule=RULES)
def test_a_total_that_does_not_exist_is_refused(rule):
    sizes, counts_for = rule
    for kept in (-1, sum(sizes) + 1):
        with pytest.raises(ValueError, match=f"cannot keep {kept} of {sum(sizes)}"):
            counts_for(kept)


def test_no_tensors_share_nothing():
    assert erk([], [], 0) == lamp([], 0) == sensitivity([], [], 0) == ()


# By hand: coefficients in proportion to the sum of the dimensions, 1084 : 400 : 110 for LeNet-300-100.
@pytest.mark.parametrize(
    ("shapes", "kept", "expected"),
    [
        (LENET300, 797, (542, 200, 55)),
        (LENET300, 1594, (1084, 400, 110)),
        # Ten times as many would be 1,100 of the last tensor's 1,000: it stays dense, 14,940 are shared 1084 : 400.
        (LENET300, 15_940, (10_913, 4_027, 1_000)),
        (LENET300, 266_200, (235_200, 30_000, 1_000)),
        # A 3x3 convolution counts its kernel: 8 + 4 + 3 + 3 = 18, beside 10 + 20 = 30.
        ([(8, 4, 3, 3), (10, 20)], 96, (36, 60)),
        # 18 : 30 of 400 would be 250 of the linear layer's 200.
        ([(8, 4, 3, 3), (10, 20)], 400, (200, 200)),
    ],
)
def test_erk_gives_the_numbers_that_a_hand_gets(shapes, kept, expected):
    assert erk(shapes, [prod(shape) for shape in shapes], kept) == expected


def test_tensors_of_many_millions_are_shared_out_at_once():
    started = time.perf_counter()
    # A quarter of 40 million would be more than the 4 million of the smaller one.
    assert erk([(2048, 2048), (8192, 8192)], [2048**2, 8192**2], 40_000_000) == (2048**2, 40_000_000 - 2048**2)
    assert time.perf_counter() - started < 5


def test_erk_densities_are_of_the_coefficients_where_there_are_more_of_them_than_weights():
    # Density 30 / 200 for both; the first has twice as many coefficients as weights.
    assert erk([(10, 20), (10, 20)], [400, 200], 60) == (40, 20)


def lamp_by_definition(tensors, kept):
    """Scores as exact fractions, over the tensor's values in descending order; then the best of all."""
    ranked = []
    for number, values in enumerate(tensors):
        order = sorted(range(len(values)), key=lambda index: (-values[index], index))
        for place, index in enumerate(order):
            not_smaller = sum(values[other] ** 2 for other in order[: place + 1])
            score = Fraction(values[index] ** 2, not_smaller) if not_smaller else Fraction(0)
            ranked.append((-score, number, index))
    best = sorted(ranked)[:kept]
    return tuple(sum(number == which for _, which, _ in best) for number in range(len(tensors)))


@quick
@given(tensors=MAGNITUDES, data=st.data())
def test_lamp_counts_are_those_of_its_definition(tensors, data):
    kept = data.draw(st.integers(0, sum(map(len, tensors))))
    assert lamp([torch.tensor(values).float() for values in tensors], kept) == lamp_by_definition(tensors, kept)


def test_lamp_scores_are_those_of_the_definition():
    scores = lamp_scores(torch.tensor([1.0, 3.0, 2.0, 0.0, 2.0]))
    assert scores.dtype == torch.float64
    assert torch.allclose(scores, torch.tensor([1 / 18, 1, 4 / 13, 0, 4 / 17], dtype=torch.float64))


def test_lamp_does_not_depend_on_the_scale_of_a_tensor_and_keeps_something_of_each():
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert lamp([values, 1000 * values], 20) == (10, 10)
    assert lamp([torch.full((100,), 1e-3), torch.rand(5)], 2) == (1, 1)


def test_sensitivity_prunes_the_tensor_that_loses_less():
    robust, fragile = ((50, 0.01), (90, 0.02)), ((50, 0.3), (90, 0.8))
    assert sensitivity([fragile, robust], [100, 100], 110) == (100, 10)
    assert sensitivity([fragile, robust], [100, 100], 80) == (70, 10)
    assert sensitivity([robust, fragile], [100, 100], 110) == (10, 100)


def test_sensitivity_counts_loss_per_coefficient_not_per_percent():
    # The same curve hurts a tensor of ten coefficients a hundred times as much for each of them.
    curve = ((50, 0.1), (90, 0.3))
    assert sensitivity([curve, curve], [1000, 10], 510) == (500, 10)


def test_equally_robust_tensors_share_in_proportion_to_their_sizes():
    flat = ((90, 0.0),)
    assert sensitivity([flat, flat], [1000, 100], 550) == (500, 50)


def test_a_measured_gain_counts_as_no_loss_and_a_dip_does_not_help():
    gain, level = ((50, -0.05), (90, 0.3)), ((50, 0.0), (90, 0.3))
    dip, before = ((30, 0.2), (60, 0.05), (90, 0.6)), ((30, 0.2), (60, 0.2), (90, 0.6))
    other = ((40, 0.01), (80, 0.1), (100, 0.9))
    for kept in range(201):
        assert sensitivity([gain, other], [100, 100], kept) == sensitivity([level, other], [100, 100], kept)
        assert sensitivity([dip, other], [100, 100], kept) == sensitivity([before, other], [100, 100], kept)


def test_what_is_lost_first_counts_for_what_is_free_afterwards():
    # All of `steep` costs 0.5, whatever its later coefficients cost; all of `even` costs 0.3.
    steep, even = ((10, 0.5), (100, 0.5)), ((100, 0.3),)
    assert sensitivity([steep, even], [100, 100], 100) == (100, 0)


def test_beyond_the_last_point_all_accuracy_is_taken_to_be_lost():
    measured, unknown = ((50, 0.0), (100, 0.9)), ((50, 0.0),)
    assert sensitivity([unknown, measured], [100, 100], 60) == (50, 10)
    assert sensitivity([unknown, measured], [100, 100], 40) == (40, 0)


def test_the_order_of_the_points_has_no_effect():
    points = ((95.0, 0.5), (20.0, 0.01), (60.0, 0.1))
    other = ((50.0, 0.2),)
    for kept in (20, 90, 150):
        one, reverse = ([curve, other] for curve in (points, points[::-1]))
        assert sensitivity(one, [100, 100], kept) == sensitivity(reverse, [100, 100], kept)


@quick
@given(
    steps=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5), min_size=1, max_size=3),
    data=st.data(),
)
def test_of_convex_curves_the_least_summed_loss_is_found(steps, data):
    # Loss of tensor t with n coefficients pruned, known for every n: sums of steps that grow, in 1/256 (exact floats).
    losses = [[sum(sorted(of_tensor)[:n]) / 256 for n in range(len(of_tensor) + 1)] for of_tensor in steps]
    sizes = [len(of_tensor) for of_tensor in steps]
    curves = [
        tuple((100 * n / size, loss) for n, loss in enumerate(of_tensor))
        for size, of_tensor in zip(sizes, losses, strict=True)
    ]
    kept = data.draw(st.integers(0, sum(sizes)))

    def summed(counts):
        return sum(loss[size - count] for loss, size, count in zip(losses, sizes, counts, strict=True))

    every = (counts for counts in product(*(range(size + 1) for size in sizes)) if sum(counts) == kept)
    assert summed(sensitivity(curves, sizes, kept)) == min(map(summed, every))


@quick
@given(data=st.data(), count=st.integers(1, 5))
def test_sharing_out_is_in_proportion_to_within_one(data, count):
    weights = data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    total = data.draw(st.integers(0, 60))
    shares = allocate._share_out([Fraction(weight) for weight in weights], [1000] * count, total)
    # Webster's method may leave the quota, by less than one more unit in so small a house.
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - Fraction(weight * total, sum(weights))) < 2
