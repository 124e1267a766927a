"""Whether a network, a task and the data fit each other: tried with a few examples before anything is trained."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.data.splits import Dataset, Split
from wavesweep.errors import SettingsError
from wavesweep.models.zoo import give_predictions
from wavesweep.settings.schema import Settings
from wavesweep.tasks.task import Inputs, tensors_in
from wavesweep.tasks.usual import CLASSIFICATION

_EXAMPLES = 2


def checked_by(settings: Settings, dataset: Dataset) -> Callable[[nn.Module], None] | None:
    """What makes a network give the predictions of the task, and refuses one that does not fit.

    None for classification of plain inputs, which has a check of its own.
    """
    if dataset.task is CLASSIFICATION and isinstance(dataset.train, Split):
        return None

    def check(model: nn.Module) -> None:
        give_predictions(model, dataset.task.predictions)
        _check(model, settings, dataset)

    return check


def _check(model: nn.Module, settings: Settings, dataset: Dataset) -> None:
    task, was_training = dataset.task, model.training
    batch = dataset.first(_EXAMPLES)
    try:
        inputs, targets = task.split(batch)
    except Exception as error:
        key, value = _of_task(settings)
        what = f"cannot split a batch into inputs and targets ({_reason(error)})"
        raise SettingsError(key, value, what, "see dataset.target") from None
    model.eval()
    try:
        with torch.no_grad():
            predictions = inputs.changed(Tensor.clone).call(model)
    except Exception as error:
        what = f"does not accept inputs of {_shapes(inputs)} ({_reason(error)})"
        raise SettingsError("model", settings.model.name, what, "choose another dataset or model") from None
    model.train(was_training)
    try:
        found = [("loss", float(task.loss(predictions, targets)))]
        found += [(one.name, float(one.result(one.update(None, predictions, targets)))) for one in task.metrics]
    except Exception as error:
        given = f"predictions of {_shapes(predictions)} for targets of {_shapes(targets)}"
        what = f"cannot be measured by task={settings.task.name}: {given} ({_reason(error)})"
        raise SettingsError("model", settings.model.name, what, "choose another task, model or dataset") from None
    for name, value in found:
        if math.isnan(value):
            key, given = _of_task(settings)
            raise SettingsError(key, given, f"gives {name} nan for an untrained network on {_EXAMPLES} examples")


def _of_task(settings: Settings) -> tuple[str, Any]:
    if settings.task.target is None:
        return "task", settings.task.name
    return "task.target", settings.task.target


def _shapes(tree: Any) -> str:
    """The shapes of the tensors in something."""
    tensors = tree.tensors if isinstance(tree, Inputs) else tensors_in(tree)
    shapes = [f"{tuple(tensor.shape[1:])}" for tensor in tensors]
    return f"shape {' and '.join(shapes)}" if shapes else f"type {type(tree).__name__}"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
