"""Pruning with counts that are shared out among the tensors."""

from itertools import product

import pytest
import torch
from cases import case
from torch import nn

from wavesweep.compression.compressor import CompressionSettings
from wavesweep.experiment.arm_keys import arm_key
from wavesweep.pruning.allocation import lamp_scores
from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.prune import ArmSpec, prune
from wavesweep.pruning.selection import kept_count
from wavesweep.settings.effective import effective_threshold
from wavesweep.settings.registry import Method, rows
from wavesweep.settings.schema import (
    CodecSettings,
    LayerOverride,
    LayersSettings,
    QuantizeSettings,
    RetrainSettings,
    Settings,
    ThresholdSettings,
)

METHODS = tuple(rows(Method))

MODEL = nn.Sequential(nn.Conv2d(2, 9, 3), nn.Flatten(), nn.Linear(225, 22), nn.Linear(22, 10))
NAMES = ("0.weight", "2.weight", "3.weight")
CURVES = (((50.0, 0.01), (100.0, 0.5)), ((80.0, 0.01), (100.0, 0.9)), ((20.0, 0.1), (100.0, 0.8)))
ALLOCATIONS = ("erk", "lamp", "sensitivity")


def spec_of(
    method,
    allocation,
    percentile=80.0,
    overrides=(),
    boundary="periodization",
    curves=CURVES,
    wavelet="db2",
    **threshold,
):
    chosen = Settings(wavelet=wavelet, level=2, layers=LayersSettings(overrides=list(overrides)))
    plans = tuple(plan for plan in plan_tensors(MODEL, chosen, (2, 7, 7)) if plan.pruned)
    assert tuple(plan.name for plan in plans) == NAMES
    settings = ThresholdSettings(percentile=percentile, allocation=allocation, **threshold)
    return ArmSpec(method, plans, boundary, settings, 0, curves=curves if allocation == "sensitivity" else ())


def weights_of(spec):
    """Noise; the tensors differ in scale, by which a global selection would choose."""
    generator = torch.Generator().manual_seed(0)
    return {
        plan.name: scale * torch.randn(plan.shape, generator=generator)
        for plan, scale in zip(spec.plans, (0.01, 1.0, 5.0), strict=True)
    }


def pruned(spec):
    return prune(weights_of(spec), spec)


def counts(arm):
    return [int(tensor.mask.sum()) for tensor in arm.tensors]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "unit"])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_all_tensors_together_keep_what_the_percentile_leaves_of_them(allocation, method):
    for boundary, percentile in product(("periodization", "symmetric"), (0.0, 33.3, 80.0, 99.5, 100.0)):
        with case(boundary, percentile):
            arm = pruned(spec_of(method, allocation, percentile, boundary=boundary))
            total = sum(tensor.mask.numel() for tensor in arm.tensors)
            assert sum(counts(arm)) == kept_count(total, percentile)
            assert arm.kept == tuple(counts(arm))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_the_counts_differ_from_those_of_equal_shares(allocation):
    assert counts(pruned(spec_of("wavelet", allocation))) != counts(pruned(spec_of("wavelet", "uniform")))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_units_are_kept_whole_within_the_counts_of_their_tensors(allocation):
    arm = pruned(spec_of("unit", allocation, 50.0))
    allowed = pruned(spec_of("magnitude", allocation, 50.0)).kept
    assert all(0 <= most - kept < 225 for kept, most in zip(arm.kept, allowed, strict=True))
    assert any(arm.kept)
    for tensor in arm.tensors:
        units = tensor.mask.view(tensor.plan.shape[0], -1)
        assert bool((units.all(1) | ~units.any(1)).all())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_tensor_with_a_percentile_of_its_own_is_left_out(allocation):
    own = LayerOverride("2.weight", percentile=10.0)
    with_own = pruned(spec_of("wavelet", allocation, overrides=[own], curves=(CURVES[0], (), CURVES[2])))
    sizes = [tensor.mask.numel() for tensor in with_own.tensors]
    kept = counts(with_own)
    assert kept[1] == kept_count(sizes[1], 10.0)
    assert kept[0] + kept[2] == kept_count(sizes[0] + sizes[2], 80.0)


def test_lamp_keeps_the_coefficients_of_the_highest_scores_of_all():
    spec = spec_of("magnitude", "lamp")
    arm, weights = pruned(spec), weights_of(spec)
    scores = torch.cat([lamp_scores(weights[name].abs().flatten()) for name in NAMES])
    kept = torch.cat([tensor.mask for tensor in arm.tensors])
    assert scores[kept].min() > scores[~kept].max()


def test_lamp_ranks_by_weighted_magnitudes_where_the_method_does():
    # Atoms of an orthogonal wavelet have the same norm, those of a biorthogonal one do not.
    for wavelet, same in (("db2", True), ("bior2.2", False)):
        weighted, plain = (
            pruned(spec_of("wavelet", "lamp", wavelet=wavelet, atom_norm=norm)) for norm in (True, False)
        )
        assert sum(weighted.kept) == sum(plain.kept)
        assert (weighted.kept == plain.kept) is same


def test_pruning_with_the_counts_found_gives_the_same_arm():
    spec = spec_of("wavelet", "sensitivity")
    arm = pruned(spec)
    again = pruned(ArmSpec(spec.method, spec.plans, spec.boundary, ThresholdSettings(), spec.seed, arm.kept))
    for one, other in zip(arm.tensors, again.tensors, strict=True):
        assert torch.equal(one.mask, other.mask)


def key_of(spec):
    return arm_key(spec, "baseline", CompressionSettings(RetrainSettings(), QuantizeSettings(), CodecSettings(), 0))


def test_the_key_of_an_arm_knows_how_its_percentile_was_shared_out():
    other_curves = (CURVES[0], CURVES[1], ((20.0, 0.2), (100.0, 0.8)))
    specs = [spec_of("wavelet", name) for name in ("uniform", *ALLOCATIONS)]
    keys = {key_of(spec) for spec in [*specs, spec_of("wavelet", "sensitivity", curves=other_curves)]}
    assert len(keys) == 5


def test_the_key_of_an_arm_does_not_know_where_a_table_lies():
    keys = {key_of(spec_of("wavelet", "sensitivity", sensitivity=path)) for path in ("here.csv", "there.csv")}
    assert len(keys) == 1
    assert key_of(spec_of("wavelet", "uniform", sensitivity="here.csv")) == key_of(spec_of("wavelet", "uniform"))


def test_the_key_of_an_arm_is_as_it_was():
    # A failure means that arms on disk are no longer found: raise KEY_VERSION, or mend the code.
    assert key_of(spec_of("wavelet", "uniform")) == "2ba2e4a45e71df5f"


def test_a_file_says_how_its_percentile_was_shared_out_but_not_where_the_table_lay():
    threshold = spec_of("wavelet", "sensitivity", sensitivity="here.csv").threshold
    decided = effective_threshold(threshold, "wavelet", [None])
    assert (decided.allocation, decided.sensitivity) == ("sensitivity", None)
