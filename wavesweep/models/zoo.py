"""The networks by name. Input channels, size and classes come from the data set."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.errors import SettingsError
from wavesweep.models.densenet import densenet_bc
from wavesweep.models.outputs import tensor_of_outputs
from wavesweep.models.pretrained import torchvision_model
from wavesweep.models.resnet import cifar_resnet
from wavesweep.runtime.factories import call_factory
from wavesweep.runtime.seeding import seeded
from wavesweep.settings import registry
from wavesweep.settings.schema import ModelSettings

# Images up to this size get ResNet-18's small stem: 3x3, stride 1, no pooling.
_SMALL_IMAGE = 64

Factory = Callable[..., nn.Module]
Checked = Callable[[nn.Module], None]


def build_model(
    settings: ModelSettings,
    input_shape: Sequence[int],
    classes: int,
    seed: int,
    example: Tensor | None = None,
    checked: Checked | None = None,
) -> nn.Module:
    """A network whose initial weights follow from the seed, or are those of `model.weights`.

    Args:
        settings: which one.
        input_shape: of one input; (channels, height, width) of an image.
        classes: of the data set.
        seed: of the initial weights.
        example: an input, shape (1, ...), that it must accept; zeros of `input_shape` by default.
        checked: makes a network give the predictions of a task other than classification, and looks whether it does.

    Raises:
        SettingsError: the name or the target is unknown, or the network does not accept the inputs.
    """
    with seeded(seed):
        if settings.source == "torchvision":
            model = torchvision_model(settings, classes)
        elif settings.name == "custom":
            model = take_contiguous(_custom(settings))
        elif is_of_zoo(settings):
            model = _from_zoo(settings, input_shape, classes)
        else:
            raise SettingsError("model", settings.name, f"must be one of {', '.join(registry.options('model'))}")
        # Lazy layers get their weights now.
        if checked is not None:
            checked(model)
            return model
        if not is_of_zoo(settings):
            give_predictions(model, tensor_of_outputs)
        _check_output(model, settings, torch.zeros(1, *input_shape) if example is None else example, classes)
    return model


def with_channels_last(model: nn.Module, settings: ModelSettings) -> nn.Module:
    """`model` with the weights of its convolutions, and so what comes out of them, stored with the channels last.

    On the CPU a step of training takes 0.6 to 0.8 of the time so (benchmarks/README.md). Only networks of the
    zoo: in a user's own, `.view` could refuse such outputs.
    """
    if is_of_zoo(settings):
        model.to(memory_format=torch.channels_last)
    return model


def give_predictions(model: nn.Module, predictions: Callable[[Any], Any]) -> nn.Module:
    """Make `model` return what `predictions` takes of its outputs."""
    model.register_forward_hook(lambda _module, _inputs, output: predictions(output))
    return model


def give_logits(model: nn.Module) -> nn.Module:
    """Make `model` return its logits where it returns an object that has them, as those of Hugging Face do."""
    model.register_forward_hook(lambda _module, _inputs, output: getattr(output, "logits", output))
    return model


def take_contiguous(model: nn.Module) -> nn.Module:
    """Make `model` see images with the channels first in memory: augmented ones have them last, which `.view` in a
    user's own network may refuse."""
    model.register_forward_pre_hook(
        lambda _module, given: tuple(value.contiguous() if isinstance(value, Tensor) else value for value in given)
    )
    return model


def mlp(input_shape: Sequence[int], classes: int, hidden: Sequence[int] = (256, 128), bias: bool = True) -> nn.Module:
    """Fully connected network with ReLU between the layers."""
    sizes = [prod(input_shape), *hidden, classes]
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{number}"] = nn.Linear(inputs, outputs, bias=bias)
        layers[f"relu{number}"] = nn.ReLU()
    layers.popitem()  # the last layer gives logits
    return nn.Sequential(OrderedDict(layers))


def lenet300(input_shape: Sequence[int], classes: int) -> nn.Module:
    """LeNet-300-100 (LeCun et al. 1998): two hidden layers of 300 and 100 units."""
    return mlp(input_shape, classes, hidden=(300, 100))


def mlp5(input_shape: Sequence[int], classes: int) -> nn.Module:
    """Four hidden layers of 1000, 1000, 500 and 200 units, no biases."""
    return mlp(input_shape, classes, hidden=(1000, 1000, 500, 200), bias=False)


def lenet5(input_shape: Sequence[int], classes: int) -> nn.Module:
    """LeNet-5 as in Caffe: 20 and 50 filters of 5x5, each pooled by 2, then 500 hidden units."""
    channels, height, width = input_shape
    after = [((size - 4) // 2 - 4) // 2 for size in (height, width)]
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 20, 5),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(50 * prod(after), 500),
            relu=nn.ReLU(),
            fc2=nn.Linear(500, classes),
        )
    )


def fashion_cnn(input_shape: Sequence[int], classes: int) -> nn.Module:
    """Two 3x3 convolutions of 32 and 64 filters, each pooled by 2, then 128 hidden units."""
    channels, height, width = input_shape
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(64 * (height // 4) * (width // 4), 128),
            relu3=nn.ReLU(),
            fc2=nn.Linear(128, classes),
        )
    )


def resnet18(input_shape: Sequence[int], classes: int) -> nn.Module:
    """ResNet-18 (He et al. 2016): the 3x3 stem for images up to 64 pixels, the ImageNet stem above."""
    import torchvision

    model: nn.Module = torchvision.models.resnet18(num_classes=classes)
    channels, height, width = input_shape
    if max(height, width) <= _SMALL_IMAGE:
        model.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return model


def resnet20(input_shape: Sequence[int], classes: int) -> nn.Module:
    """ResNet-20 for CIFAR-sized images (He et al. 2016)."""
    return cifar_resnet(20, input_shape[0], classes)


def resnet56(input_shape: Sequence[int], classes: int) -> nn.Module:
    """ResNet-56 for CIFAR-sized images (He et al. 2016)."""
    return cifar_resnet(56, input_shape[0], classes)


def densenet100(input_shape: Sequence[int], classes: int) -> nn.Module:
    """DenseNet-BC of 100 layers and growth rate 12 (Huang et al. 2017)."""
    return densenet_bc(100, 12, input_shape[0], classes)


def is_of_zoo(settings: ModelSettings) -> bool:
    """Whether a row of the registry makes the network, and neither torchvision nor the user."""
    row = registry.rows(registry.Model).get(settings.name)
    return settings.source == "zoo" and row is not None and bool(row.target)


def _from_zoo(settings: ModelSettings, input_shape: Sequence[int], classes: int) -> nn.Module:
    try:
        factory: Factory = registry.row(registry.Model, settings.name).load()
        return factory(input_shape, classes, **settings.arguments)
    except TypeError as error:
        raise SettingsError("model.arguments", settings.arguments, f"model {settings.name}: {error}") from None
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            "model", settings.name, f"does not fit inputs of shape {tuple(input_shape)} ({reason})"
        ) from None


def _custom(settings: ModelSettings) -> nn.Module:
    model = call_factory("model", settings.target, settings.arguments, "the model")
    if not isinstance(model, nn.Module):
        returned = type(model).__name__
        raise SettingsError("model.target", settings.target, f"must return a torch.nn.Module, returned {returned}")
    if isinstance(model, torch.jit.ScriptModule):
        raise SettingsError(
            "model.target", settings.target, "returned a TorchScript module", "return the module that was scripted"
        )
    return model.cpu()  # where networks begin


def _other_type(model: nn.Module, example: Tensor) -> str:
    """The remedy for a network of another type of numbers than its inputs; empty where that is not the reason."""
    kinds = {one.dtype for one in model.parameters() if one.is_floating_point()} - {torch.float32}
    if not kinds or not example.is_floating_point():
        return ""
    names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return f"its parameters are {names}: return model.float()"


def _check_output(model: nn.Module, settings: ModelSettings, example: Tensor, classes: int) -> None:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():  # what a network keeps of its first inputs may be needed in training
            outputs = model(example.repeat(2, *[1] * (example.dim() - 1)))
    except Exception as error:
        reason = " ".join(str(error).split())
        what = "images" if example.dim() == 4 else "inputs"
        raise SettingsError(
            "model",
            settings.name,
            f"does not accept {what} of shape {tuple(example.shape[1:])} ({reason})",
            _other_type(model, example) or "choose another dataset or model",
        ) from None
    model.train(was_training)
    if not isinstance(outputs, Tensor):
        gives = f"gives {type(outputs).__name__}, not a tensor of shape (inputs, classes) or an object with .logits"
        raise SettingsError("model", settings.name, gives, "wrap the network")
    shape = tuple(outputs.shape)
    if shape != (2, classes):
        raise SettingsError(
            "model",
            settings.name,
            f"gives outputs of shape {shape[1:]} where the data set has {classes} classes",
        )
