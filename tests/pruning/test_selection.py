"""Counts, masks and thresholds: exact, nested, and with a rule for ties."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import pywt
import torch
from bases import wavelet
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.pruning.plan import TensorPlan
from wavesweep.pruning.scores import AnalysedTensor, magnitude_scores, random_scores, unit_scores
from wavesweep.pruning.selection import keep_top, keep_top_units, soften
from wavesweep.pruning.thresholds import Cut
from wavesweep.settings import registry
from wavesweep.transform.basis import Band

# Few different values, so that ties are common; and values as they come.
TIED = st.lists(st.integers(0, 3).map(float), min_size=1, max_size=60)
SCORES = st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=60)
quick = settings(deadline=None)


def cut(rule, scores, number=None, finest=None):
    scores = torch.as_tensor(scores, dtype=torch.float32)
    finest = scores if finest is None else torch.as_tensor(finest, dtype=torch.float32)
    return registry.row(registry.Threshold, rule).load()(scores, number, finest)


def analysed(values, bands=(), shape=(), name="fc1.weight", unit_axis=0):
    plan = TensorPlan(name, tuple(shape), True, "", unit_axis=unit_axis)
    return AnalysedTensor(plan, values.flatten(), bands)


def best_by_sorting(scores, kept):
    """Positions of the `kept` highest scores, the lower index first among equals."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    return sorted(order[:kept])


@quick
@given(scores=TIED | SCORES, data=st.data())
def test_exactly_the_best_are_kept(scores, data):
    kept = data.draw(st.integers(0, len(scores)))
    mask = keep_top(torch.tensor(scores), kept)
    assert mask.dtype == torch.bool
    assert mask.shape == (len(scores),)
    assert mask.nonzero().flatten().tolist() == best_by_sorting(scores, kept)


@quick
@given(scores=TIED | SCORES, percentiles=st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_masks_are_nested_over_growing_percentiles(scores, percentiles):
    tensor = torch.tensor(scores)
    masks = [keep_top(tensor, cut("percentile", scores, percentile).kept) for percentile in sorted(percentiles)]
    for looser, tighter in pairwise(masks):
        assert not (tighter & ~looser).any()


def test_ties_are_broken_by_the_lower_index():
    scores = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 0.0])
    masks = [keep_top(scores, kept).int().tolist() for kept in range(7)]
    assert masks == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1],
    ]


@pytest.mark.parametrize("kept", [-1, 4])
def test_an_impossible_count_is_refused(kept):
    with pytest.raises(ValueError, match=f"cannot keep {kept} of 3"):
        keep_top(torch.ones(3), kept)


@pytest.mark.parametrize(
    ("percentile", "count", "kept"),
    [
        (99.9, 1000, 1),
        (99.99, 10_000, 1),
        (99.95, 2000, 1),
        (80, 5, 1),
        (80.0, 235_200, 47_040),
        (66.6, 1000, 334),
        (0, 7, 7),
        (100, 7, 0),
        (50, 3, 1),  # half a coefficient is pruned: the pruned count is rounded half up
        (50, 5, 2),
        (0.1, 1000, 999),
        (4.35, 2000, 1913),  # 0.0435 * 2000 is 86.99999999999999 in binary
        (66.6, 250, 83),  # 166.5 are pruned, and a little less in binary
    ],
)
def test_percentiles_are_exact(percentile, count, kept):
    assert cut("percentile", torch.zeros(count), percentile) == Cut(kept)


@quick
@given(tenths=st.integers(0, 1000), count=st.integers(1, 500))
def test_the_pruned_share_is_the_nearest_possible(tenths, count):
    pruned = count - cut("percentile", torch.zeros(count), tenths / 10).kept
    assert abs(pruned - Fraction(tenths, 1000) * count) <= Fraction(1, 2)


@quick
@given(scores=TIED | SCORES, energy=st.floats(0.01, 1))
def test_energy_keeps_the_fewest_that_hold_it(scores, energy):
    kept = cut("energy", scores, energy).kept
    squares = np.sort(np.array(scores, dtype=np.float32).astype(np.float64) ** 2)[::-1]
    wanted, slack = energy * squares.sum(), 1e-9 * squares.sum()
    assert squares[:kept].sum() >= wanted - slack
    if kept:
        assert squares[: kept - 1].sum() < wanted
    else:
        assert squares.sum() == 0


@pytest.mark.parametrize(("energy", "kept"), [(0.0, 0), (0.5, 1), (0.64, 1), (0.65, 2), (0.96, 3), (0.97, 4), (1, 4)])
def test_energy_of_four_coefficients(energy, kept):
    assert cut("energy", [1, 2, 4, 2], energy).kept == kept


def test_energy_of_zeros_keeps_none():
    assert cut("energy", torch.zeros(4), 0.9).kept == 0


def test_universal_is_the_formula_of_donoho_and_johnstone():
    rng = np.random.default_rng(0)
    finest = np.abs(rng.standard_normal(3001)) * 0.25
    scores = np.abs(np.concatenate([finest, rng.standard_normal(999)])).astype(np.float32)
    sigma = np.median(finest) / 0.6744897501960817
    threshold = sigma * np.sqrt(2 * np.log(4000))
    result = cut("universal", scores, finest=finest)
    assert sigma == pytest.approx(0.25, rel=0.05)  # the noise that was put in
    assert result.threshold == pytest.approx(threshold, rel=1e-6)
    assert result.kept == (scores >= threshold).sum()
    assert 0 < result.kept < 999


def test_universal_keeps_what_is_not_zero_where_there_is_no_noise():
    scores = torch.tensor([0.0, 0.0, 0.0, 2.0, 0.5])
    assert cut("universal", scores, finest=torch.zeros(5)).kept == 2


@quick
@given(scores=TIED | SCORES, value=st.floats(0, 1e3, width=32))
def test_absolute_keeps_what_reaches_the_value(scores, value):
    result = cut("absolute", scores, value)
    assert result.kept == sum(score >= value for score in scores)
    assert result.threshold == value


@quick
@given(units=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=20), data=st.data())
def test_units_are_kept_whole_best_first_and_never_exceed_the_count(units, data):
    scores, sizes = (torch.tensor(column) for column in zip(*units, strict=True))
    kept = data.draw(st.integers(0, int(sizes.sum())))
    mask = keep_top_units(scores.float(), sizes, kept)
    assert mask.shape == scores.shape
    assert int(sizes[mask].sum()) <= kept
    chosen = mask.nonzero().flatten().tolist()
    assert chosen == best_by_sorting(scores.tolist(), len(chosen))
    if len(chosen) < len(units):
        following = (set(best_by_sorting(scores.tolist(), len(chosen) + 1)) - set(chosen)).pop()
        assert int(sizes[mask].sum() + sizes[following]) > kept


def test_unit_scores_are_the_norms_of_rows_and_filters():
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3, 2, 2)))
    for unit_axis in (0, 1):
        others = tuple(axis for axis in range(4) if axis != unit_axis)
        norms = np.sqrt((weight.numpy() ** 2).sum(axis=others, keepdims=True))
        found = unit_scores(analysed(weight, shape=weight.shape, unit_axis=unit_axis), False, 0)
        np.testing.assert_allclose(found.numpy(), np.broadcast_to(norms, weight.shape).ravel())


@quick
@given(
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30),
    threshold=st.floats(0.015625, 8, width=32),
)
def test_soften_is_pywavelets_soft_threshold(values, threshold):
    coefficients = torch.tensor(values)
    softened = soften(coefficients, coefficients.abs(), threshold)
    expected = pywt.threshold(np.array(values), threshold, mode="soft")
    np.testing.assert_allclose(softened.numpy(), expected, atol=1e-5)


def test_soften_moves_a_weighted_coefficient_in_proportion():
    softened = soften(torch.tensor([1.0, -3.0]), torch.tensor([4.0, 6.0]), 3.0)
    np.testing.assert_allclose(softened.numpy(), [0.25, -1.5])


def test_scores_are_magnitudes_weighted_by_the_norms_of_atoms():
    values = torch.tensor([1.0, -2.0, 3.0, -4.0])
    bands = (Band(1, "a", (2,), 0, (("bior3.1", 1, "a"),)), Band(1, "d", (2,), 2, (("bior3.1", 1, "d"),)))
    low, high = (band.atom_norm for band in bands)
    assert low != pytest.approx(high, rel=0.1)
    assert magnitude_scores(analysed(values, bands), False, 0).tolist() == [1, 2, 3, 4]
    assert magnitude_scores(analysed(values, bands), True, 0).tolist() == pytest.approx(
        [low, 2 * low, 3 * high, 4 * high]
    )
    assert values.tolist() == [1, -2, 3, -4]


def test_weighted_scores_are_the_norms_of_what_each_coefficient_adds():
    basis = wavelet((64,), (0,), (1,), "bior2.2", "periodization")
    values = basis.analyse(torch.from_numpy(np.random.default_rng(0).standard_normal(64)))
    scores = magnitude_scores(analysed(values, basis.bands), True, 0)
    for index in (0, 20, 40, 63):
        alone = torch.zeros_like(values)
        alone[index] = values[index]
        assert scores[index].item() == pytest.approx(basis.synthesise(alone).norm().item())


def test_random_scores_follow_from_seed_and_name():
    def scores_of(seed, name):
        return random_scores(analysed(torch.zeros(1000), name=name), False, seed)

    scores = scores_of(0, "fc1.weight")
    assert torch.equal(scores, scores_of(0, "fc1.weight"))
    assert not torch.equal(scores, scores_of(1, "fc1.weight"))
    assert not torch.equal(scores, scores_of(0, "fc2.weight"))
    assert 0.45 < scores.mean() < 0.55
