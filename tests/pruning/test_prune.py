"""One arm, from weights to pruned weights: exact counts, and weights that are what the method says."""

from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
import pytest
import pywt
import torch
from cases import case
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wavesweep.errors import TrialError
from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.prune import ArmSpec, build_basis, prune, selection_groups
from wavesweep.settings.registry import Method, rows
from wavesweep.settings.schema import LayerOverride, LayersSettings, Settings, ThresholdSettings

METHODS = tuple(rows(Method))

COEFFICIENT_METHODS = [name for name in METHODS if name != "unit"]
# Odd and even axes, axes too short for a level, and units of different sizes.
MODEL = nn.Sequential(nn.Conv2d(2, 9, 3), nn.Flatten(), nn.Linear(45, 22), nn.Linear(22, 10))


def plans_of(model, **settings):
    plans = plan_tensors(model, Settings(**{"wavelet": "db2", "level": 2} | settings), (2, 7, 7))
    return tuple(plan for plan in plans if plan.pruned)


def noise(plans, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {plan.name: torch.randn(plan.shape, generator=generator) for plan in plans}


def spec_of(method, plans=None, kept=None, boundary="periodization", seed=0, **threshold):
    plans = plans_of(MODEL) if plans is None else plans
    return ArmSpec(method, plans, boundary, ThresholdSettings(**threshold), seed, kept)


def one_tensor(shape, **settings):
    """Plan and weights of a network of one linear layer."""
    plans = plans_of(nn.Sequential(nn.Linear(shape[1], shape[0])), **settings)
    return plans, noise(plans)


def counts(arm):
    return [int(tensor.mask.sum()) for tensor in arm.tensors]


def half_up(value):
    return int(np.floor(value + 0.5))


@settings(deadline=None, max_examples=30)
@given(tenths=st.integers(0, 1000), seed=st.integers(0, 3), method=st.sampled_from(COEFFICIENT_METHODS))
def test_the_requested_number_is_kept_exactly(tenths, seed, method):
    plans = plans_of(MODEL)
    weights = noise(plans, seed)
    for scope in ("layer", "global"):
        arm = prune(weights, spec_of(method, plans, seed=seed, scope=scope, percentile=tenths / 10))
        sizes = [tensor.mask.numel() for tensor in arm.tensors]
        totals = sizes if scope == "layer" else [sum(sizes)]
        assert arm.kept == tuple(total - half_up(tenths * total / 1000) for total in totals)
        assert sum(counts(arm)) == sum(arm.kept)
        assert scope == "global" or tuple(counts(arm)) == arm.kept
        assert all(torch.equal(weights[name], value) for name, value in noise(plans, seed).items())
        for tensor in arm.tensors:
            assert tensor.mask.numel() == sum(prod(band.shape) for band in tensor.bands)
            assert torch.equal(tensor.coefficients[~tensor.mask], torch.zeros(int((~tensor.mask).sum())))
            assert bool((tensor.coefficients[tensor.mask] != 0).all())


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_magnitude_zeroes_the_smallest_weights(scope):
    plans = plans_of(MODEL)
    weights = noise(plans)
    arm = prune(weights, spec_of("magnitude", plans, scope=scope, percentile=70.0))
    every = torch.cat([weight.flatten() for weight in weights.values()])
    for tensor in arm.tensors:
        weight = weights[tensor.plan.name]
        among = every if scope == "global" else weight
        threshold = among.abs().flatten().sort(descending=True).values[half_up(0.3 * among.numel()) - 1]
        assert torch.equal(tensor.weight, torch.where(weight.abs() >= threshold, weight, 0))


@pytest.mark.parametrize("method", COEFFICIENT_METHODS)
def test_weights_are_the_synthesis_of_the_kept_coefficients(method):
    plans = plans_of(MODEL)
    weights = noise(plans)
    for tensor in prune(weights, spec_of(method, plans, percentile=60.0, seed=3)).tensors:
        basis = build_basis(method, tensor.plan, "periodization", 3)
        original = weights[tensor.plan.name]
        coefficients = basis.analyse(original.reshape(tensor.plan.view))
        assert torch.equal(tensor.coefficients, coefficients * tensor.mask)
        assert torch.equal(tensor.weight, basis.synthesise(tensor.coefficients).reshape(tensor.plan.shape))
        error = (original - tensor.weight).norm() / original.norm()
        assert tensor.error == pytest.approx(error.item(), abs=1e-6)
        # Pruned are the smallest, where the score is the magnitude.
        if method != "random":
            assert coefficients[~tensor.mask].abs().max() <= coefficients[tensor.mask].abs().min()


@pytest.mark.parametrize("boundary", pywt.Modes.modes)
def test_wavelet_pruning_is_that_of_pywavelets(boundary):
    plans, weights = one_tensor((24, 40), wavelet="bior2.2", level=2, layout="channel")
    weight = weights["0.weight"].numpy()
    coefficients, slices = pywt.coeffs_to_array(pywt.wavedec2(weight, "bior2.2", boundary, level=2))
    magnitudes = np.sort(np.abs(coefficients).ravel())[::-1]
    # Some modes store a value twice, so cut where the next is clearly smaller.
    count = next(n for n in range(100, 200) if magnitudes[n] < magnitudes[n - 1] - 1e-3)
    ours = prune(weights, spec_of("wavelet", plans, boundary=boundary, kept=(count,))).tensors[0]
    coefficients[np.abs(coefficients) < magnitudes[count - 1]] = 0
    assert int(ours.mask.sum()) == np.count_nonzero(coefficients) == count
    kept = pywt.array_to_coeffs(coefficients, slices, output_format="wavedec2")
    np.testing.assert_allclose(ours.weight.numpy(), pywt.waverec2(kept, "bior2.2", boundary), atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(tenths=st.integers(0, 1000), scope=st.sampled_from(["layer", "global"]), seed=st.integers(0, 5))
def test_units_are_pruned_whole_and_never_exceed_the_count(tenths, scope, seed):
    plans = plans_of(MODEL)
    weights = noise(plans, seed)
    arm = prune(weights, spec_of("unit", plans, scope=scope, percentile=tenths / 10))
    pairs = [(count, tensor.mask.numel()) for count, tensor in zip(counts(arm), arm.tensors, strict=True)]
    for count, total in pairs if scope == "layer" else [map(sum, zip(*pairs, strict=True))]:
        assert count <= total - half_up(tenths * total / 1000)
    for tensor in arm.tensors:
        original = weights[tensor.plan.name].flatten(1)
        rows, norms = tensor.weight.flatten(1), original.norm(dim=1)
        kept = rows.norm(dim=1) > 0
        assert torch.equal(rows, original * kept[:, None])
        if kept.any() and not kept.all():
            assert norms[kept].min() >= norms[~kept].max()


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("method", METHODS)
def test_a_compared_arm_keeps_what_the_main_arm_keeps(method, scope):
    overrides = [LayerOverride(match="2.*", percentile=50.0)]
    plans = plans_of(MODEL, layers=LayersSettings(overrides=overrides))
    weights = noise(plans)
    main = prune(weights, spec_of("wavelet", plans, scope=scope, percentile=80.0))
    other = prune(weights, spec_of(method, plans, kept=main.kept, scope=scope, percentile=10.0))
    if method == "unit":
        assert 0 < sum(counts(other)) <= sum(counts(main))
    else:
        assert other.kept == main.kept
        assert sum(counts(other)) == sum(counts(main))
        assert other.tensors[1].mask.sum() == main.tensors[1].mask.sum()


def test_a_compared_arm_with_fewer_coefficients_keeps_all_it_has():
    plans, weights = one_tensor((8, 8), layout="channel")
    main = prune(weights, spec_of("wavelet", plans, boundary="symmetric", percentile=0.0))
    other = prune(weights, spec_of("magnitude", plans, kept=main.kept))
    assert main.kept > (64,)
    assert other.kept == (64,)
    assert torch.equal(other.tensors[0].weight, weights["0.weight"])


def test_groups_that_share_a_threshold():
    plans = plans_of(MODEL)
    own = (plans[0], replace(plans[1], percentile=50.0), plans[2])
    assert selection_groups(plans, ThresholdSettings(scope="layer")) == [[0], [1], [2]]
    assert selection_groups(plans, ThresholdSettings(scope="global")) == [[0, 1, 2]]
    assert selection_groups(own, ThresholdSettings(scope="global")) == [[1], [0, 2]]
    # A percentile of its own has no effect where a rule has no percentiles.
    assert selection_groups(own, ThresholdSettings("energy", scope="global")) == [[0, 1, 2]]
    assert selection_groups(own[1:2], ThresholdSettings(scope="global")) == [[0]]


def test_an_override_has_a_percentile_of_its_own():
    overrides = [LayerOverride(match="2.*", percentile=50.0)]
    plans = plans_of(MODEL, layers=LayersSettings(overrides=overrides))
    for scope in ("layer", "global"):
        arm = prune(noise(plans), spec_of("magnitude", plans, scope=scope, percentile=90.0))
        others = [arm.tensors[0].mask.numel(), arm.tensors[2].mask.numel()]
        assert counts(arm)[1] == 22 * 45 // 2
        expected = sum(map(half_up, np.multiply(others, 0.1))) if scope == "layer" else half_up(sum(others) * 0.1)
        assert counts(arm)[0] + counts(arm)[2] == expected


@pytest.mark.parametrize("method", METHODS)
def test_percentile_0_reconstructs_and_100_leaves_nothing(method):
    for layout in ("auto", "spatial", "channel", "all", "flat"):
        with case(layout):
            assert_all_or_nothing(method, plans_of(MODEL, layout=layout))


def assert_all_or_nothing(method, plans):
    weights = noise(plans)
    for tensor in prune(weights, spec_of(method, plans, percentile=0.0)).tensors:
        original = weights[tensor.plan.name]
        assert tensor.weight.shape == original.shape
        assert (tensor.weight - original).norm() <= 1e-5 * original.norm()
        assert tensor.error <= 1e-5
    for tensor in prune(weights, spec_of(method, plans, percentile=100.0)).tensors:
        assert not tensor.weight.any()
        assert tensor.error == 1


def test_a_weight_that_is_not_finite_is_named():
    plans = plans_of(MODEL)
    for method, bad in product(METHODS, (float("nan"), float("inf"))):
        weights = noise(plans)
        weights["2.weight"][3, 4] = bad
        with case(method, bad), pytest.raises(TrialError, match=r"tensor 2\.weight holds NaN or infinity"):
            prune(weights, spec_of(method, plans))


def test_a_tensor_of_zeros_has_no_error():
    plans, _ = one_tensor((8, 8))
    arm = prune({"0.weight": torch.zeros(8, 8)}, spec_of("wavelet", plans))
    assert (arm.tensors[0].error, arm.kept) == (0.0, (13,))


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("method", ["wavelet", "magnitude", "dct", "rotation", "shuffled"])
def test_soft_shrinkage_is_pywavelets_at_the_largest_pruned_magnitude(method, scope):
    plans = plans_of(MODEL)
    weights = noise(plans)
    hard = prune(weights, spec_of(method, plans, scope=scope, percentile=70.0))
    soft = prune(weights, spec_of(method, plans, scope=scope, percentile=70.0, shrinkage="soft"))
    assert (hard.shrinkage, soft.shrinkage) == ("hard", "soft")
    full = [
        build_basis(method, plan, "periodization", 0).analyse(weights[plan.name].reshape(plan.view)) for plan in plans
    ]
    pruned = [values[~tensor.mask].abs().max() for values, tensor in zip(full, hard.tensors, strict=True)]
    for values, edge, tensor in zip(full, pruned, soft.tensors, strict=True):
        edge = max(pruned).item() if scope == "global" else edge.item()
        expected = pywt.threshold(values.numpy(), edge, mode="soft")
        np.testing.assert_allclose(tensor.coefficients.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("rule", ["absolute", "universal"])
def test_soft_shrinkage_moves_by_the_threshold_of_the_rule(rule):
    plans, weights = one_tensor((32, 32), wavelet="haar", level=1, layout="channel")
    weights["0.weight"][:4] *= 9  # something that stands out of the noise
    basis = build_basis("wavelet", plans[0], "periodization", 0)
    values = basis.analyse(weights["0.weight"])
    diagonal = np.sort(values[basis.bands[-1].slice].abs())
    universal = diagonal[127] / 0.6744897501960817 * np.sqrt(2 * np.log(1024))  # the lower of two medians
    arm = prune(weights, spec_of("wavelet", plans, rule=rule, shrinkage="soft", value=0.7))
    expected = pywt.threshold(values.numpy(), universal if rule == "universal" else 0.7, mode="soft")
    np.testing.assert_allclose(arm.tensors[0].coefficients.numpy(), expected, atol=1e-5)
    assert np.count_nonzero(expected) > 0


@pytest.mark.parametrize("method", ["random", "unit"])
def test_scores_that_are_no_magnitudes_are_never_soft(method):
    plans = plans_of(MODEL)
    soft, hard = (prune(noise(plans), spec_of(method, plans, shrinkage=kind)) for kind in ("soft", "hard"))
    assert soft.shrinkage == "hard"
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(soft.tensors, hard.tensors, strict=True))


def test_random_masks_follow_from_the_seed_and_are_nested():
    plans = plans_of(MODEL)
    masks = [
        torch.cat(
            [t.mask for t in prune(noise(plans, data), spec_of("random", plans, seed=seed, percentile=p)).tensors]
        )
        for data, seed, p in ((0, 0, 50.0), (1, 0, 50.0), (0, 1, 50.0), (0, 0, 90.0))
    ]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not (masks[3] & ~masks[0]).any()


# On 512 x 512 normal values at level 3, keeping the largest 10 %.
WHITE_NOISE = {
    "haar": 0.749,
    "sym4": 0.749,
    "bior4.4": 0.76,
    "bior2.2": 0.815,
    "rbio3.3": 0.897,
    "bior3.1": 1.13,
}


@pytest.mark.parametrize(("wavelet", "error"), [(None, 0.748), *WHITE_NOISE.items()])
def test_errors_on_white_noise_are_those_of_the_design(wavelet, error):
    plans, weights = one_tensor((512, 512), wavelet=wavelet or "haar", level=3, layout="channel")
    assert plans[0].levels == (3, 3)
    arm = prune(weights, spec_of("wavelet" if wavelet else "magnitude", plans, percentile=90.0))
    assert arm.tensors[0].error == pytest.approx(error, abs=0.01)


def test_ranking_by_atom_norm_helps_bior22_and_hurts_rbio33():
    errors = {}
    for wavelet in ("bior2.2", "rbio3.3"):
        plans, weights = one_tensor((256, 256), wavelet=wavelet, level=3, layout="channel")
        for ranked in (False, True):
            arm = prune(weights, spec_of("wavelet", plans, percentile=90.0, atom_norm=ranked))
            errors[wavelet, ranked] = arm.tensors[0].error
    assert errors["bior2.2", True] < errors["bior2.2", False] - 0.01
    assert errors["rbio3.3", True] > errors["rbio3.3", False] + 0.01
