"""What callers of `wavesweep.compress` and `export_onnx` give, which is checked before any work."""

import operator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from wavesweep.codec.header import unstorable
from wavesweep.compression.network import TrainedNetwork
from wavesweep.data.splits import Dataset, Split
from wavesweep.errors import SettingsError
from wavesweep.models.computed import copy_of, fold_computed
from wavesweep.models.zoo import give_logits, take_contiguous
from wavesweep.runtime.devices import choose_device
from wavesweep.settings.schema import Settings


@dataclass(frozen=True)
class CallersData:
    """What callers give beside the network, as `wavesweep.compress` describes it."""

    input_shape: tuple[int, ...] = ()
    images: Tensor | None = None
    labels: Tensor | None = None
    validation: tuple[Tensor, Tensor] | None = None


def callers_network(model: nn.Module, settings: Settings, data: CallersData) -> TrainedNetwork:
    """A copy of the caller's network, with what its compression needs of the data.

    In the copy weights that layers compute are plain parameters, as its notes say.

    Raises:
        SettingsError: the network, or the data, are not what the settings need.
    """
    check_model(model, settings)
    network = take_contiguous(give_logits(copied(model)))
    notes = tuple(fold_computed(network))
    outputs = _check_data(settings, network, data)
    parameter = next(model.parameters(), None)
    dataset, device = None, torch.device("cpu") if parameter is None else parameter.device
    if settings.retrain.name != "none":
        dataset = _dataset_of(settings, network, data, outputs)
        device = device if device.type == "cuda" and settings.device != "cpu" else choose_device(settings.device)
    return TrainedNetwork(
        network,
        {name: value.detach().cpu().clone() for name, value in network.state_dict().items()},
        device,
        data.input_shape,
        None if data.images is None else data.images[: settings.quantize.images],
        dataset,
        notes=notes,
    )


def _check_data(settings: Settings, network: nn.Module, data: CallersData) -> Any:
    """Refuse data that the network does not take, and settings that need what is not given.

    Returns what the network gives for the first image, if there is one.
    """
    retrain, outputs = settings.retrain, None
    if settings.quantize.max_drop is not None:
        raise SettingsError("quantize.max_drop", settings.quantize.max_drop, "needs a data set", "use the command line")
    if settings.shrink and not data.input_shape:
        raise SettingsError("shrink", True, "needs the shape of an image", "give compress(input_shape=...)")
    if settings.shrink:
        _check_inputs(torch.zeros(1, *data.input_shape), network, "input_shape")
    if data.validation is not None and (not isinstance(data.validation, tuple | list) or len(data.validation) != 2):
        kind, allowed = type(data.validation).__name__, "must be a pair of images and labels"
        raise SettingsError("validation", kind, allowed, "give compress(validation=(images, labels))")
    if data.images is not None:
        outputs = _check_inputs(data.images, network, "images")
    if data.validation is not None:
        _check_inputs(data.validation[0], network, "validation")
    if retrain.name != "none" and any(given is None for given in (data.images, data.labels, data.validation)):
        raise SettingsError("retrain.name", retrain.name, "needs data", "give compress(images=, labels=, validation=)")
    if retrain.name == "rewind" and retrain.rewind == "weights":
        raise SettingsError("retrain.rewind", "weights", "needs the training of the baseline", "use the command line")
    if settings.quantize.importance != "none":
        if data.images is None:
            raise SettingsError("quantize.importance", "second_order", "needs images", "give compress(images=...)")
        _check_differentiable(outputs)
    return outputs


def _check_differentiable(outputs: Any) -> None:
    """Refuse outputs whose derivatives `quantize.importance` cannot have."""
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        found = str(outputs.dtype).removeprefix("torch.") if isinstance(outputs, Tensor) else type(outputs).__name__
        allowed = "must be a tensor of floating-point numbers, or hold one as .logits, for quantize.importance"
        raise SettingsError("model", f"outputs {found}", allowed, "wrap the network, or set quantize.importance=none")


def _dataset_of(settings: Settings, network: nn.Module, data: CallersData, outputs: Any) -> Dataset:
    """The images and labels to retrain with; `outputs` are the network's for the first image."""
    assert data.images is not None
    assert data.labels is not None
    assert data.validation is not None
    retrain, train, validation = settings.retrain, Split(data.images, data.labels), Split(*data.validation)
    classes = _classes_of(outputs)  # labels need not have all of them
    for split, what in ((train, "labels"), (validation, "validation")):
        _check_labels(split, classes, what)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise SettingsError("retrain.name", retrain.name, "needs parameters with gradients", "unfreeze some")
    if retrain.augment and data.images.dim() != 4:
        raise SettingsError("retrain.augment", True, "needs images, of shape (count, channels, height, width)")
    # The images are normalised already, so their mean is taken as 0 and their standard deviation as 1.
    return Dataset(train, validation, validation, classes, torch.zeros(()), torch.ones(()))


def check_model(model: Any, settings: Settings) -> None:
    """Refuse what is no network, or one whose parameters hold nothing yet."""
    if not isinstance(model, nn.Module):
        raise SettingsError("model", type(model).__name__, "must be a torch.nn.Module")
    if isinstance(model, torch.jit.ScriptModule):
        raise SettingsError("model", "a TorchScript module", "is not taken", "give the module that was scripted")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise SettingsError("model", name, "has no shape yet", "call the model once with an input")
        if parameter.device.type == "meta":
            raise SettingsError("model", name, "has no values, being on the meta device", "load the weights")
    _check_types(model, settings)
    if reason := unstorable(model.state_dict()):
        raise SettingsError.from_text(f"model: {reason}", "model")


def copied(model: nn.Module) -> nn.Module:
    """A copy of the network, to work with."""
    try:
        return copy_of(model)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            "model",
            type(model).__name__,
            f"cannot be copied by copy.deepcopy ({reason})",
            _remedy(model),
        ) from None


def _remedy(model: nn.Module) -> str:
    """What to do about a network that cannot be copied: most often it holds tensors that were computed."""
    computed = [
        f"{module_name}.{name}".lstrip(".")
        for module_name, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    if computed:
        return f"detach what was computed: {', '.join(computed[:5])}"
    return "make it a network that copy.deepcopy copies"


def check_shape(input_shape: Any) -> tuple[int, ...]:
    """The shape as a tuple; refuses what is not one of an input."""
    try:
        sizes = tuple(map(operator.index, input_shape))
    except TypeError:
        sizes = (0,)
    if not all(size > 0 for size in sizes):
        allowed = "must be the shape of one input, such as (channels, height, width)"
        raise SettingsError("input_shape", input_shape, allowed)
    return sizes


def _classes_of(outputs: Any) -> int:
    """How many classes a network tells apart, by its outputs for one input."""
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != 1:
        found = f"of shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        allowed = "must be a tensor of shape (inputs, classes), or hold one as .logits, to be retrained"
        raise SettingsError("model", f"outputs {found}", allowed, "wrap the network")
    return outputs.shape[1]


def _check_types(model: nn.Module, settings: Settings) -> None:
    """Refuse parameters of types that cannot be coded, or not retrained."""
    retrain = settings.retrain.name
    allowed = (torch.float32,) if retrain != "none" else (torch.float32, torch.float64, torch.float16)
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype not in allowed:
            names = ", ".join(str(kind).removeprefix("torch.") for kind in allowed)
            what = "" if retrain == "none" else f" with retrain={retrain}"
            kind = str(parameter.dtype).removeprefix("torch.")
            raise SettingsError("model", f"{name} of {kind}", f"must be {names}{what}", "give compress(model.float())")


def _check_inputs(inputs: Tensor, network: nn.Module, what: str) -> Any:
    """Refuse inputs that the network does not take; returns what it gives for the first one."""
    parameter = next(network.parameters(), None)
    wanted = torch.float32 if parameter is None else parameter.dtype
    allowed = f"must be a tensor of {str(wanted).removeprefix('torch.')}, or of int64 for tokens"
    if not isinstance(inputs, Tensor):
        raise SettingsError(what, type(inputs).__name__, allowed, f"give compress({what}=torch.as_tensor(...))")
    if inputs.dtype not in (wanted, torch.int64):
        raise SettingsError(what, str(inputs.dtype).removeprefix("torch."), allowed, f"convert and normalise {what}")
    if not len(inputs):
        raise SettingsError(what, tuple(inputs.shape), "must hold one input at least")
    scratch = deepcopy(network).eval()
    try:
        with torch.no_grad():
            one = inputs[:1].clone()  # which the network may change
            return scratch(one if parameter is None else one.to(parameter.device))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(what, tuple(inputs.shape), f"is not what the network takes ({reason})") from None


def _check_labels(split: Split, classes: int, what: str) -> None:
    """Refuse labels that are not one class per input."""
    labels = split.labels
    if not isinstance(labels, Tensor):
        allowed = "must be a tensor of one int64 per image"
        raise SettingsError(what, type(labels).__name__, allowed, f"give compress({what}=torch.as_tensor(...))")
    if len(labels) != len(split.images) or labels.dim() != 1 or labels.dtype != torch.int64:
        raise SettingsError(what, tuple(labels.shape), "must be one int64 per image", f"give compress({what}=...)")
    if len(labels) == 0 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        allowed = f"must hold classes from 0 to below {classes}, the number of the network's outputs"
        raise SettingsError(what, "labels", allowed, f"give compress({what}=...)")
