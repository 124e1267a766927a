"""What is asked of the networks and tensors that callers of `wavesweep.compress` give."""

import operator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from wavesweep.data.splits import Split
from wavesweep.errors import SettingsError
from wavesweep.settings.schema import Settings


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


def copied(model: nn.Module) -> nn.Module:
    """A copy of the network, to work with."""
    try:
        return deepcopy(model)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            "model",
            type(model).__name__,
            f"cannot be copied by copy.deepcopy ({reason})",
            "remove first what computes its weights, as torch.nn.utils.remove_weight_norm does",
        ) from None


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


def classes_of(outputs: Any) -> int:
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


def check_inputs(inputs: Tensor, network: nn.Module, what: str) -> None:
    """Refuse inputs that the network does not take, before anything is computed with all of them."""
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
            scratch(one if parameter is None else one.to(parameter.device))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(what, tuple(inputs.shape), f"is not what the network takes ({reason})") from None


def check_labels(split: Split, classes: int, what: str) -> None:
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
