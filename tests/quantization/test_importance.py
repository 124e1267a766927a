"""The importance of weights against direct computations on small networks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_layers import Conv1D
from torch import nn
from torch.func import functional_call, jacrev

from wavesweep.quantization import importance
from wavesweep.quantization.importance import layer_importance


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(inplace=True), nn.Linear(7, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1, stride=2),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.Conv2d(5, 4, 3, dilation=2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def made(factory, seed=0):
    torch.manual_seed(seed)
    model = factory()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def images_of(count, shape=(2, 12, 12)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def weights_of(model):
    return [name for name, value in model.named_parameters() if value.dim() > 1]


def inputs_of(model, layer, images):
    found = []
    handle = layer.register_forward_hook(lambda module, arguments, output: found.append(arguments[0].detach().clone()))
    with torch.no_grad():
        model(images)
    handle.remove()
    return found[0]


def test_inputs_of_linear_layers_are_second_moments():
    model, images = made(mlp), images_of(150, (3, 2, 2))
    found = layer_importance(model, weights_of(model), images.clone(), 0)
    assert list(found) == ["1.weight", "3.weight"]
    for name, layer in (("1.weight", model[1]), ("3.weight", model[3])):
        rows = inputs_of(model, layer, images).double().numpy()
        np.testing.assert_allclose(found[name].inputs, rows.T @ rows / len(images), rtol=1e-5, atol=1e-6)
        assert found[name].outputs.shape == (layer.out_features,) * 2


def test_inputs_of_convolutions_are_second_moments_of_patches():
    model, images = made(cnn), images_of(100)
    found = layer_importance(model, weights_of(model), images.clone(), 0)
    for name, layer in (("0.weight", model[0]), ("3.weight", model[3])):
        inputs = inputs_of(model, layer, images).double()
        padded = F.pad(inputs, (layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0]))
        size, stride, dilation = layer.kernel_size[0], layer.stride[0], layer.dilation[0]
        total = np.zeros((inputs.shape[1] * size * size,) * 2)
        reach = dilation * (size - 1) + 1
        for top in range(0, padded.shape[2] - reach + 1, stride):
            for left in range(0, padded.shape[3] - reach + 1, stride):
                patch = padded[:, :, top : top + reach : dilation, left : left + reach : dilation]
                rows = patch.reshape(len(images), -1).numpy()
                total += rows.T @ rows
        np.testing.assert_allclose(found[name].inputs, total / len(images), rtol=1e-4, atol=1e-5)


def moments_of_jacobians(model, layer, images):
    """Mean over images and places of J^T J, J being the derivatives of the outputs by the units of `layer`."""
    totals = []
    for image in images.split(1):
        kept = {}

        def replace(module, arguments, output, kept=kept):
            kept["shape"] = output
            return output + kept["change"]

        handle = layer.register_forward_hook(replace)
        with torch.no_grad():
            kept["change"] = torch.zeros(1)
            model(image)
            zeros = torch.zeros_like(kept["shape"])

        def outputs(change, kept=kept, image=image):
            kept["change"] = change
            return functional_call(model, {}, (image,))[0]

        jacobian = jacrev(outputs)(zeros).detach()[:, 0].double().flatten(2 if zeros.dim() > 2 else 1)
        handle.remove()
        jacobian = jacobian.reshape(len(jacobian), zeros.shape[1], -1)
        totals.append(torch.einsum("oup,ovp->uv", jacobian, jacobian) / jacobian.shape[2])
    return torch.stack(totals).mean(0).numpy()


@pytest.mark.parametrize("factory", [mlp, cnn])
def test_outputs_are_second_moments_of_jacobians(factory, monkeypatch):
    monkeypatch.setattr(importance, "_PROJECTIONS", 600)
    model = made(factory)
    images = images_of(12, (3, 2, 2) if factory is mlp else (2, 12, 12))
    found = layer_importance(model, weights_of(model), images.clone(), 0)
    for name in weights_of(model):
        expected = moments_of_jacobians(model, model.get_submodule(name.removesuffix(".weight")), images)
        # Random signs meet each other only on average.
        np.testing.assert_allclose(found[name].outputs, expected, rtol=0.1, atol=0.03 * expected.max())
        diagonals = (np.diag(moment) for moment in (found[name].outputs, expected))
        np.testing.assert_allclose(*diagonals, rtol=0.1, atol=1e-3 * expected.max())


def test_importance_predicts_the_change_of_the_outputs():
    # Of the last layer the estimate is exact: outputs are linear in it, and its Jacobian is the identity.
    model, images = made(mlp), images_of(200, (3, 2, 2))
    found = layer_importance(model, ["3.weight"], images.clone(), 0)["3.weight"]
    np.testing.assert_allclose(np.diag(found.outputs), 1, rtol=1e-6)
    change = 0.01 * torch.randn(3, 7, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = model(images).double()
        model[3].weight += change
        moved = (model(images).double() - before).square().sum(1).mean()
    rows = change.double().numpy()
    predicted = np.trace(rows @ found.inputs @ rows.T)
    assert predicted == pytest.approx(float(moved), rel=1e-3)


@pytest.mark.parametrize(
    ("layer", "shape", "tolerance"),
    [
        (lambda: Conv1D(6, 5), (5,), 0.02),
        (lambda: Conv1D(6, 5), (7, 5), 0.02),
        (lambda: nn.Conv1d(5, 6, 1), (5, 7), 0.02),
        (lambda: nn.Conv1d(6, 12, 1, groups=6), (6, 7), 0.02),
        (lambda: nn.Conv2d(6, 6, 3, groups=6, padding=1), (6, 5, 5), 0.2),
        (lambda: nn.Conv2d(6, 12, 3, groups=3, stride=2), (6, 9, 9), 0.2),
        (lambda: nn.ConvTranspose2d(5, 4, 2, stride=2), (5, 3, 3), 0.02),
        (lambda: nn.ConvTranspose1d(5, 4, 3, stride=3, output_padding=1), (5, 3), 0.02),
        (lambda: nn.ConvTranspose2d(5, 4, 3, padding=1), (5, 6, 6), 0.3),
    ],
)
def test_importance_predicts_the_change_of_other_layers_outputs(layer, shape, tolerance):
    model = made(lambda: nn.Sequential(layer(), nn.Flatten()))
    # Channels of very different sizes, as depthwise convolutions have them.
    images = images_of(400, shape)
    if isinstance(model[0], nn.modules.conv._ConvNd):
        images *= torch.logspace(-1, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    else:
        images *= torch.logspace(-1, 1, shape[-1])
    found = layer_importance(model, ["0.weight"], images.clone(), 0)["0.weight"]
    weight = model[0].weight
    rows, columns = weight.shape[0], weight[0].numel()
    assert (found.outputs.shape, found.inputs.shape) == ((rows, rows), (columns, columns))
    moved, predicted = 0.0, 0.0
    for seed in range(8):
        change = 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            before = model(images).double()
            weight += change
            moved += float((model(images).double() - before).square().sum(1).mean())
            weight -= change
        flat = change.double().reshape(rows, columns).numpy()
        predicted += float((found.outputs * (flat @ found.inputs @ flat.T)).sum())
    assert predicted == pytest.approx(moved, rel=tolerance)


def test_errors_of_different_groups_count_as_independent():
    model = made(lambda: nn.Sequential(nn.Conv1d(4, 6, 1, groups=2), nn.Flatten(), nn.Linear(6 * 5, 3)))
    found = layer_importance(model, ["0.weight"], images_of(50, (4, 5)), 0)["0.weight"]
    assert (found.outputs[:3, 3:] == 0).all()
    assert (found.outputs[:3, :3] != 0).all()


@pytest.mark.parametrize("factory", [mlp, cnn])
def test_the_network_is_left_as_it_was(factory):
    model = made(factory)
    images = images_of(70, (3, 2, 2) if factory is mlp else (2, 12, 12))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    outputs = model(images).detach()
    same = images.clone()
    layer_importance(model, weights_of(model), images, 0)
    assert torch.equal(images, same)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model(images).detach(), outputs)


def test_hooks_go_when_the_network_fails():
    model = made(mlp)
    with pytest.raises(RuntimeError):
        layer_importance(model, weights_of(model), torch.zeros(5, 1, 1, 1), 0)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_same_seed_gives_the_same_numbers():
    model, images = made(cnn), images_of(30)
    names = weights_of(model)
    first, again, other = (layer_importance(model, names, images.clone(), seed) for seed in (0, 0, 1))
    for name in names:
        np.testing.assert_array_equal(first[name].outputs, again[name].outputs)
        np.testing.assert_array_equal(first[name].inputs, other[name].inputs)
    assert any((first[name].outputs != other[name].outputs).any() for name in names)


def test_in_place_activations_do_not_change_the_numbers():
    for factory in (mlp, cnn):
        model = made(factory)
        images = images_of(40, (3, 2, 2) if factory is mlp else (2, 12, 12))
        found = layer_importance(model, weights_of(model), images.clone(), 0)
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        plain = layer_importance(model, weights_of(model), images.clone(), 0)
        for name in found:
            np.testing.assert_allclose(found[name].inputs, plain[name].inputs)
            np.testing.assert_allclose(found[name].outputs, plain[name].outputs)


def test_frozen_weights_and_other_layers_are_no_obstacle():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding_mode="reflect"), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    model.requires_grad_(False)
    found = layer_importance(model, ["0.weight", "3.weight"], images_of(10), 0)
    assert list(found) == ["3.weight"]
    assert (np.diag(found["3.weight"].outputs) > 0).all()


class Twice(nn.Module):
    """A layer that is used twice, the second time on what is nearly zero, and a head that no logit depends on."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.head = nn.Linear(6, 6), nn.Linear(6, 3), nn.Linear(6, 2)

    def forward(self, inputs):
        hidden = self.first(self.first(inputs.flatten(1)) * 1e-6)
        self.seen = self.head(hidden)
        return self.last(hidden)


def test_all_calls_of_a_layer_count_and_what_no_logit_depends_on_is_left_out():
    model, images = made(Twice), images_of(50, (1, 2, 3))
    found = layer_importance(model, weights_of(model), images.clone(), 0)
    assert set(found) == {"first.weight", "last.weight"}
    rows = images.flatten(1).double().numpy()
    np.testing.assert_allclose(found["first.weight"].inputs, rows.T @ rows / 50, rtol=1e-5, atol=1e-6)
    # The first call moves the logits a million times less than the second, on which they depend by the last layer.
    expected = float((model.last.weight.detach() ** 2).sum())
    assert np.trace(found["first.weight"].outputs) == pytest.approx(expected, rel=0.2)


def test_sums_of_squares_may_leave_half_precision():
    layer = nn.Linear(8, 3)
    images = 100 + torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    expected = layer_importance(layer, ["weight"], images, 0)["weight"].inputs
    found = layer_importance(layer.half(), ["weight"], images.half(), 0)["weight"].inputs
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_batches_of_large_images_are_small():
    sizes = [importance._batch_size(torch.zeros(100, *shape)) for shape in ((64,), (3, 32, 32), (3, 224, 224))]
    assert sizes == [64, 8, 1]
