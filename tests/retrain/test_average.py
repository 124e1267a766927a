"""Moving averages of the weights: their values, and that training goes on from the weights themselves."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from wavesweep.retrain.average import WeightAverage


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def moved(model, step):
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=generator))
            else:
                value.add_(1)


def test_every_weight_and_statistic_is_the_weighted_mean_of_its_values_after_each_step():
    model, decay, steps = network(), 0.8, 5
    average = WeightAverage(model, decay)
    states = [copy.deepcopy(model.state_dict())]
    for step in range(steps):
        moved(model, step)
        average.update()
        states.append(copy.deepcopy(model.state_dict()))
    with average.in_place():
        found = copy.deepcopy(model.state_dict())
    for name, last in states[-1].items():
        weights = [decay**steps, *((1 - decay) * decay ** (steps - step) for step in range(1, steps + 1))]
        expected = sum(weight * state[name] for weight, state in zip(weights, states, strict=True))
        torch.testing.assert_close(found[name], expected if last.is_floating_point() else last)


def fail_with(average, model, before):
    with average.in_place():
        assert not torch.equal(model[0].weight, before["0.weight"])
        raise KeyError


def test_the_weights_come_back_even_after_an_error():
    model = network()
    average = WeightAverage(model, 0.5)
    moved(model, 0)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(KeyError):
        fail_with(average, model, before)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_it_goes_on_from_what_was_saved():
    model = network()
    average = WeightAverage(model, 0.9)
    moved(model, 0)
    average.update()
    saved = copy.deepcopy(average.saved())
    other = WeightAverage(model, 0.9)
    other.load(saved)
    moved(model, 1)
    average.update()
    other.update()
    assert all(torch.equal(one, two) for one, two in zip(average.saved(), other.saved(), strict=True))


def test_tied_and_parametrised_weights_are_averaged_once():
    class Double(nn.Module):
        def forward(self, weight):
            return 2 * weight

    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    for layer in model:
        parametrize.register_parametrization(layer, "weight", Double(), unsafe=True)
    latent = model[0].parametrizations.weight.original
    model[1].parametrizations.weight.original = latent
    with torch.no_grad():
        latent.fill_(1.0)
    average = WeightAverage(model, 0.75)
    with torch.no_grad():
        latent.fill_(5.0)
    average.update()
    with average.in_place():
        assert torch.equal(model[1].weight, torch.full((2, 2), 2 * (0.75 * 1 + 0.25 * 5)))
    assert torch.equal(latent, torch.full((2, 2), 5.0))
