"""torchvision's classifiers by name, with or without trained weights."""

import difflib
import sys
import warnings
from pathlib import PurePosixPath
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from wavesweep.errors import SettingsError
from wavesweep.settings.schema import ModelSettings


def trained_weights(settings: ModelSettings) -> Any:
    """The entry of torchvision's enumeration that `model.weights` names, None without weights.

    Raises:
        SettingsError: the model or the weights have another name.
    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if settings.name not in known:
        similar = difflib.get_close_matches(settings.name, known, n=3)
        hint = f"did you mean {' or '.join(similar)}?" if similar else "see torchvision.models.list_models"
        raise SettingsError("model.name", settings.name, f"must be one of torchvision's {len(known)} classifiers", hint)
    if settings.weights is None:
        return None
    found = torchvision.models.get_model_weights(settings.name)
    if settings.weights not in found.__members__:
        allowed = f"must be one of {', '.join(found.__members__)} for model.name={settings.name}, or null"
        raise SettingsError("model.weights", settings.weights, allowed)
    return found[settings.weights]


def weights_file(settings: ModelSettings) -> str:
    """The name of the weights' file, which ends with a hash of its content: DEFAULT may mean another one some day."""
    return PurePosixPath(trained_weights(settings).url).name


def torchvision_model(settings: ModelSettings, classes: int) -> nn.Module:
    """A classifier of torchvision; its weights are downloaded where torch.hub's cache does not have them.

    Where the data set has other classes than the weights, the last layer starts untrained, and the rest from them.

    Raises:
        SettingsError: there is no such model or weights, they cannot be had, or they do not fit the data set.
    """
    weights = trained_weights(settings)
    if weights is None:
        return _built(settings, num_classes=classes)
    trained_classes = len(weights.meta["categories"])
    if classes != trained_classes and not settings.recipe.epochs:
        raise SettingsError(
            "model.weights",
            settings.weights,
            f"has {trained_classes} classes where the data set has {classes}",
            "set model.recipe.epochs to train a new last layer, and the rest on",
        )
    try:
        model = _built(settings, weights=weights, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SettingsError(
            "model.weights",
            settings.weights,
            f"cannot be had from {weights.url} ({reason})",
            f"put that file into {torch.hub.get_dir()}/checkpoints",
        ) from None
    if classes != trained_classes:
        _renew_layers(model, _built(settings, num_classes=classes))
    return model


def _built(settings: ModelSettings, **options: Any) -> nn.Module:
    import torchvision

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how some will be initialised in torchvision's future
            model: nn.Module = torchvision.models.get_model(settings.name, **options, **settings.arguments)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError("model.arguments", settings.arguments, f"model {settings.name}: {reason}") from None
    return model


def _renew_layers(model: nn.Module, fresh: nn.Module) -> None:
    """Take the layers of `fresh` whose weights have another shape: those that give the classes."""
    for name, module in list(model.named_modules()):
        replacement = fresh.get_submodule(name)
        own = module.named_parameters(recurse=False)
        if any(value.shape != replacement.get_parameter(parameter).shape for parameter, value in own):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, replacement)
