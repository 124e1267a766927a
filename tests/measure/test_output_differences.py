"""How far outputs are from others, relative to how much they differ between inputs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from wavesweep.measure import outputs
from wavesweep.measure.outputs import NoTensorError, OutputError, output_error, output_spread, outputs_on
from wavesweep.tasks.task import Inputs


def test_the_spread_is_the_distance_from_the_mean_output():
    found = np.random.default_rng(0).normal(3, 2, (100, 5, 4))
    expected = math.sqrt(found.var(0).sum())
    assert output_spread(torch.from_numpy(found)) == pytest.approx(expected)
    assert output_spread(torch.from_numpy(found) + 1e3) == pytest.approx(expected)


def test_a_network_may_return_one_number_per_input():
    found = torch.tensor([1.0, 2.0, 3.0])
    assert output_spread(found) == pytest.approx(math.sqrt(2 / 3))
    assert output_error(found, found + 1, None).relative == pytest.approx(math.sqrt(1.5))


def test_outputs_that_do_not_vary_are_measured_by_their_size():
    assert output_spread(torch.tensor([[3.0, 4.0]])) == 5
    assert output_spread(torch.tensor([[0.1, 0.2]] * 7)) == pytest.approx(math.sqrt(0.05))
    assert output_spread(torch.zeros(3, 2)) == 1


def test_the_error_has_no_unit():
    generator = torch.Generator().manual_seed(0)
    before, noise = (torch.randn(50, 8, generator=generator) for _ in range(2))
    found = output_error(before, before + 0.1 * noise, None)
    assert found.relative == pytest.approx(0.1, rel=0.1)
    assert found.agreement is None
    assert output_error(1e6 * before + 7, 1e6 * (before + 0.1 * noise) + 7, None).relative == pytest.approx(
        found.relative, rel=1e-5
    )


def test_classes_agree_along_their_axis():
    before = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [5.0, 4.0]])
    after = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 1.0], [4.0, 5.0]])
    assert output_error(before, after, 1).agreement == 0.5
    assert output_error(before[..., None, None], after[..., None, None], 1).agreement == 0.5
    assert output_error(before, before, 1) == OutputError(0, 1)


def test_what_is_not_finite_has_no_error():
    assert output_error(torch.ones(2, 2), torch.full((2, 2), math.nan), 1).relative is None


def test_only_the_first_inputs_are_compared(monkeypatch):
    model, inputs = nn.Linear(3, 2), torch.randn(1000, 3)
    assert torch.equal(outputs_on(model, inputs), model(inputs[: outputs.MOST_INPUTS]))
    monkeypatch.setattr(outputs, "_MOST_NUMBERS", 20)
    assert outputs_on(model, inputs).shape == (10, 2)


def test_networks_of_several_inputs_and_outputs_in_mappings_are_compared():
    class Two(nn.Module):
        def forward(self, left, right):
            return {"logits": left - right}

    given = Inputs((torch.ones(3, 2),), {"right": torch.zeros(3, 2)})
    assert torch.equal(outputs_on(Two(), given), torch.ones(3, 2))


def test_a_network_without_a_tensor_in_its_outputs_is_not_compared():
    class Nothing(nn.Module):
        def forward(self, _inputs):
            return "nothing"

    with pytest.raises(NoTensorError):
        outputs_on(Nothing(), torch.zeros(2, 3))
