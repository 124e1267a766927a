"""Unit pruning: whole rows and filters, on the axis that counts them."""

import pytest
import torch
from torch import nn

from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.prune import ArmSpec, prune
from wavesweep.settings.schema import Settings, ThresholdSettings


@pytest.mark.parametrize(
    ("layer", "unit_axis"),
    [(nn.Linear(6, 4), 0), (nn.Conv2d(3, 4, 3), 0), (nn.ConvTranspose2d(3, 4, 3), 1)],
    ids=["linear", "conv", "transposed"],
)
def test_the_weakest_units_are_zero_and_the_others_untouched(layer, unit_axis):
    plans = tuple(plan for plan in plan_tensors(layer, Settings(), (3, 8, 8)) if plan.pruned)
    weight = torch.randn(plans[0].shape, generator=torch.Generator().manual_seed(0))
    arm = prune({"weight": weight}, ArmSpec("unit", plans, "periodization", ThresholdSettings(percentile=50), seed=0))
    norms = weight.transpose(0, unit_axis).flatten(1).norm(dim=1)
    strongest = set(norms.topk(2).indices.tolist())
    units = arm.tensors[0].weight.transpose(0, unit_axis)
    original = weight.transpose(0, unit_axis)
    for unit in range(4):
        assert torch.equal(units[unit], original[unit] if unit in strongest else torch.zeros_like(original[unit]))


def test_what_is_compared_gets_the_number_that_whole_units_really_keep():
    plans = tuple(plan for plan in plan_tensors(nn.Linear(10, 3), Settings(), (1, 2, 5)) if plan.pruned)
    weights = {"weight": torch.randn(3, 10, generator=torch.Generator().manual_seed(0))}
    arm = prune(weights, ArmSpec("unit", plans, "periodization", ThresholdSettings(percentile=50), seed=0))
    assert arm.kept == (10,)  # 15 were asked for, which is one and a half rows
    assert int(arm.tensors[0].mask.sum()) == 10
