"""Weights made of coefficients: the same network, masks that hold, ties that stay, regrowth."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from workloads import Tied, images, network, parametrised, pruned_of, spec_of

from wavesweep.pruning.prune import build_basis
from wavesweep.quantization.trainable import first_quantizer
from wavesweep.settings.registry import Method, rows
from wavesweep.training.domain import Coefficients, plain_tensor

METHODS = tuple(rows(Method))

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.1),
}


def trained(model, optimizer="sgd", steps=6):
    """Some steps on random labels."""
    parameters = OPTIMIZERS[optimizer](model.parameters())
    inputs, labels = images(), torch.arange(16) % 5
    for _ in range(steps):
        parameters.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        parameters.step()
    return model


@pytest.mark.parametrize("layout", ["spatial", "channel", "all", "flat", "auto"])
@pytest.mark.parametrize("method", METHODS)
def test_without_a_mask_the_weights_are_the_baselines(method, layout):
    model, coefficients, _, before = parametrised(method, masked=False, layout=layout, wavelet="bior2.2")
    assert len(coefficients.latents) == 3
    for name, value in before.items():
        found = plain_tensor(model, name)
        assert found.shape == value.shape
        assert torch.allclose(found, value, atol=2e-6), name
    assert torch.allclose(model(images()), network()(images()), atol=1e-4)


@pytest.mark.parametrize("boundary", ["symmetric", "zero"])
def test_also_where_there_are_more_coefficients_than_weights(boundary):
    model, coefficients, _, before = parametrised(masked=False, boundary=boundary)
    assert sum(latent.numel() for latent in coefficients.latents) > sum(
        before[n].numel() for n in before if n[0] != "b"
    )
    for name, value in before.items():
        assert torch.allclose(plain_tensor(model, name), value, atol=2e-6)


@pytest.mark.parametrize("shrinkage", ["hard", "soft"])
@pytest.mark.parametrize("method", METHODS)
def test_with_masks_the_weights_are_those_of_one_shot_pruning(method, shrinkage):
    model, coefficients, arm, _ = parametrised(method, shrinkage=shrinkage)
    for tensor, again in zip(arm.tensors, coefficients.pruned(), strict=True):
        assert torch.allclose(plain_tensor(model, tensor.plan.name), tensor.weight, atol=2e-6)
        assert torch.equal(again.mask, tensor.mask)
        assert torch.equal(again.coefficients, tensor.coefficients)
        assert torch.equal(again.weight, tensor.weight)
        assert again.error == tensor.error
    assert coefficients.nonzero() == sum(int(torch.count_nonzero(tensor.coefficients)) for tensor in arm.tensors)


@pytest.mark.parametrize("regrow", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ["wavelet", "magnitude", "unit", "dct"])
def test_pruned_coefficients_stay_exactly_zero_while_the_others_move(method, optimizer, regrow):
    model, coefficients, arm, _ = parametrised(method, regrow=regrow)
    trained(model, optimizer)
    for tensor, now in zip(arm.tensors, coefficients.pruned(), strict=True):
        assert torch.equal(now.mask, tensor.mask)
        assert torch.count_nonzero(now.coefficients[~now.mask]) == 0
        assert not torch.allclose(now.coefficients[now.mask], tensor.coefficients[tensor.mask], atol=1e-4)
        # The weight of the network is the synthesis of these, so nothing pruned is in it.
        assert torch.allclose(plain_tensor(model, now.plan.name), now.weight, atol=2e-6)
        basis = build_basis(method, now.plan, "periodization", 0)
        if method in ("magnitude", "unit", "dct"):  # where analysis gives back the coefficients
            found = basis.analyse(plain_tensor(model, now.plan.name).detach())
            assert found[~now.mask].abs().max() < 1e-5
    assert coefficients.nonzero() == sum(arm.kept)


def test_the_gradient_of_a_pruned_coefficient_is_zero_without_regrowth_and_straight_through_with_it():
    gradients = {}
    for regrow in (False, True):
        model, coefficients, arm, _ = parametrised("dct", regrow=regrow)
        torch.nn.functional.cross_entropy(model(images()), torch.arange(16) % 5).backward()
        gradients[regrow] = [latent.grad for latent in coefficients.latents]
    for tensor, held, free in zip(arm.tensors, *gradients.values(), strict=True):
        assert torch.equal(held[tensor.mask], free[tensor.mask])
        assert torch.count_nonzero(held[~tensor.mask]) == 0
        assert torch.count_nonzero(free[~tensor.mask]) > 0


def test_regrowth_moves_pruned_coefficients_which_may_come_back():
    model, coefficients, arm, _ = parametrised("magnitude", regrow=True)
    held = [latent.detach().clone() for latent in coefficients.latents]
    trained(model)
    for tensor, before, latent in zip(arm.tensors, held, coefficients.latents, strict=True):
        moved = (latent - before)[~tensor.mask]
        assert moved.abs().max() > 1e-3
    masks = [~tensor.mask for tensor in arm.tensors]
    values = [latent.detach().clone() for latent in coefficients.latents]
    coefficients.set_masks(masks)
    for mask, value, now in zip(masks, values, coefficients.pruned(), strict=True):
        assert torch.equal(now.coefficients, value * mask)
    assert coefficients.nonzero() > 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_forget_what_is_pruned_and_train_the_rest_as_before(optimizer):
    found = {}
    for forgets in (False, True):
        model, coefficients, arm, _ = parametrised("wavelet", masked=False)
        optimizers = [OPTIMIZERS[optimizer](model.parameters())]
        for step in range(60):
            if step == 5:
                coefficients.set_masks([tensor.mask for tensor in arm.tensors])
                if forgets:
                    coefficients.forget_pruned(optimizers)
            optimizers[0].zero_grad()
            torch.nn.functional.cross_entropy(model(images()[:2]), torch.arange(2)).backward()
            optimizers[0].step()
        states = [optimizers[0].state[latent] for latent in coefficients.latents]
        found[forgets] = coefficients.pruned(), [state[min(state)] for state in states]  # exp_avg, momentum_buffer
    for old, new in zip(found[False][0], found[True][0], strict=True):
        assert torch.equal(old.coefficients, new.coefficients)
    for tensor, old, new in zip(found[True][0], found[False][1], found[True][1], strict=True):
        assert torch.count_nonzero(old[~tensor.mask]) > 0
        assert torch.count_nonzero(new[~tensor.mask]) == 0
        assert torch.equal(old[tensor.mask], new[tensor.mask])


def test_without_regrowth_a_mask_that_opens_again_finds_zeros():
    model, coefficients, arm, _ = parametrised("magnitude")
    trained(model)
    coefficients.set_masks([torch.zeros_like(tensor.mask) for tensor in arm.tensors])
    assert coefficients.nonzero() == 0
    coefficients.set_masks([torch.ones_like(tensor.mask) for tensor in arm.tensors])
    assert coefficients.nonzero() == 0


@pytest.mark.parametrize("method", ["wavelet", "dct", "magnitude"])
def test_loading_weights_sets_all_coefficients_and_keeps_the_masks(method):
    model, coefficients, arm, before = parametrised(method)
    trained(model)
    coefficients.load([before[tensor.plan.name] for tensor in arm.tensors])
    for tensor, now in zip(arm.tensors, coefficients.pruned(), strict=True):
        assert torch.equal(now.mask, tensor.mask)
        assert torch.allclose(now.coefficients, tensor.coefficients, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_tied_weights_stay_one_parameter(method, masked):
    tokens = torch.arange(17)
    expected = Tied()
    model, coefficients, arm, before = parametrised(method, masked, model=Tied(), wavelet="haar")
    assert [tensor.plan.name for tensor in arm.tensors] == ["embedding.weight", "middle.weight"]
    if not masked:
        assert torch.allclose(model(tokens), expected(tokens), atol=1e-5)
        for name, value in before.items():
            assert torch.allclose(plain_tensor(model, name), value, atol=2e-6)
    parameters = list(model.parameters())
    assert len(parameters) == len(list(expected.parameters())) == 3
    assert {id(latent) for latent in coefficients.latents} <= {id(parameter) for parameter in parameters}
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(tokens), tokens.flip(0)).backward()
        optimizer.step()
    assert torch.equal(model.embedding.weight, model.head.weight)
    assert model.again is model.middle
    now = coefficients.pruned()[0]
    assert torch.allclose(model.head.weight, now.weight, atol=2e-6)
    assert not torch.allclose(model.head.weight, arm.tensors[0].weight, atol=1e-3)


def test_the_gradient_of_a_tied_weight_is_the_sum_of_both_uses():
    tokens = torch.arange(17)
    expected = Tied()
    torch.nn.functional.cross_entropy(expected(tokens), tokens.flip(0)).backward()
    model, coefficients, _, _ = parametrised("magnitude", False, model=Tied())
    torch.nn.functional.cross_entropy(model(tokens), tokens.flip(0)).backward()
    assert torch.allclose(coefficients.latents[0].grad, expected.embedding.weight.grad.reshape(-1), atol=1e-6)


def test_one_module_may_hold_a_parameter_under_two_names():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(8, 8)
            self.first.register_parameter("mirror", self.first.weight)

    model = Twice()
    spec = spec_of(model, "dct")
    before = model.first.weight.detach().clone()
    Coefficients(model, spec, pruned_of(model, spec).tensors, False, False)
    assert torch.allclose(model.first.weight, before, atol=1e-6)
    assert torch.equal(model.first.weight, model.first.mirror)
    assert len(list(model.parameters())) == 2


def test_frozen_weights_stay_frozen():
    model = network()
    model[3].weight.requires_grad_(False)
    model, coefficients, arm, _ = parametrised(model=model)
    trained(model)
    assert [latent.requires_grad for latent in coefficients.latents] == [True, False, True]
    assert torch.equal(coefficients.pruned()[1].coefficients, arm.tensors[1].coefficients)


@pytest.mark.parametrize("trains_steps", [False, True])
@pytest.mark.parametrize("boundary", ["periodization", "symmetric"])
@pytest.mark.parametrize("method", ["magnitude", "wavelet", "shuffled", "rotation"])
def test_everything_follows_the_network_to_another_device(method, boundary, trains_steps, monkeypatch):
    # No GPU needed: operations refuse tensors of the device "meta", which have no values, beside others.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know that device
    model, coefficients, arm, _ = parametrised(method, boundary=boundary)
    if trains_steps:
        coefficients.quantize([first_quantizer(tensor, 1.0, "band") for tensor in arm.tensors])
    model.to("meta")
    optimizer = OPTIMIZERS["adam"](model.parameters())
    labels = torch.zeros(16, dtype=torch.int64, device="meta")
    torch.nn.functional.cross_entropy(model(images().to("meta")), labels).backward()
    optimizer.step()
    count = 6 + 3 * trains_steps
    assert [parameter.grad.device.type for parameter in model.parameters()] == ["meta"] * count


@pytest.mark.parametrize(("channels", "kernel"), [(2, 3), (1, 3), (3, 1)])
def test_weights_keep_the_memory_format_of_the_parameters(channels, kernel):
    # One channel, or one pixel: `is_contiguous` takes each format for the other, operations do not.
    for given in (torch.contiguous_format, torch.channels_last):
        layers = nn.Sequential(nn.Conv2d(channels, 9, kernel), nn.Conv2d(9, 4, 3)).to(memory_format=given)
        strides = [layer.weight.stride() for layer in layers]
        model, coefficients, *_ = parametrised(model=layers)
        assert len(coefficients.latents) == 2
        assert [layer.weight.stride() for layer in layers] == strides
        outputs = model(torch.randn(2, channels, 7, 7))
        assert outputs.is_contiguous(memory_format=given)
        outputs.sum().backward()
        if given == torch.contiguous_format:
            outputs.view(2, -1)  # as a user's network may do
