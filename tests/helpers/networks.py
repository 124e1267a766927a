"""Networks with units that are zero, as pruning leaves them."""

import torch
from torch import nn

from wavesweep.models.zoo import build_model
from wavesweep.settings.schema import ModelSettings

ZOO = {
    "mlp": (1, 8, 8),
    "lenet300": (1, 10, 10),
    "lenet5": (1, 16, 16),
    "mlp5": (1, 8, 8),
    "fashion_cnn": (2, 8, 12),
    "resnet18": (3, 16, 16),
    "resnet20": (3, 16, 16),
    "resnet56": (1, 16, 16),
}
CLASSES = 7


def trained(name, seed=0):
    """A network of the zoo whose normalisations are not at their start values."""
    return with_statistics(build_model(ModelSettings(name=name), ZOO[name], CLASSES, seed), seed)


def with_statistics(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 2)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return model.eval()


def layers(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}


def zero_units(model, share, seed=0, skip=()):
    """Set the weights of random units to zero; returns them by layer. Biases stay."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, layer in layers(model).items():
        if name not in skip:
            gone = torch.rand(len(layer.weight), generator=generator) < share
            layer.weight.data[gone] = 0
            found[name] = torch.nonzero(gone).flatten().tolist()
    return found


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def outputs(model, shape, count=5, seed=1):
    images = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model.eval()(images)


def assert_same_outputs(model, other, shape):
    expected = outputs(model, shape)
    assert float(expected.std()) > 0
    torch.testing.assert_close(outputs(other, shape), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
