"""A trained network as the compressor sees it, and what is measured of one in another state."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.data.examples import count_of
from wavesweep.data.splits import Dataset, Split, StoredImages
from wavesweep.measure.outputs import output_spread, outputs_on
from wavesweep.measure.quality import evaluate
from wavesweep.models.load import load_first_names, load_state
from wavesweep.quantization.importance import LayerImportance, layer_importance
from wavesweep.tasks.task import Inputs
from wavesweep.tasks.usual import CLASSIFICATION

# The importances of the last trained network (true) and of the last retrained one (false), which several arms may
# share, each with what decided them.
_importances: dict[bool, tuple[tuple[object, ...], "Importances"]] = {}


@dataclass(frozen=True)
class Importances:
    """Of each layer, and the spread of the network's outputs on the inputs that they were estimated on."""

    layers: Mapping[str, LayerImportance]
    output_spread: float


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, with the data that compressing it may need.

    `model` gives the structure; its values are overwritten whenever something is measured. `state` are the trained
    weights, a state dict on the CPU. `device` is where the network is measured and retrained.

    `input_shape` is that of one input, for removing units; `calibration` are inputs for the importance of weights,
    shape (count, ...), or all arguments of a network that takes several; `dataset` is for retraining and for metrics;
    `early_state` is the state dict that `retrain.rewind=weights` returns to. `key` names the trained weights, so that
    what was computed from them is kept for the next arm; with None nothing is kept. `notes` are what its user must know
    of it.
    """

    model: nn.Module
    state: Mapping[str, Tensor]
    device: torch.device
    input_shape: tuple[int, ...] = ()
    calibration: Tensor | StoredImages | Inputs | None = None
    dataset: Dataset | None = None
    early_state: Mapping[str, Tensor] | None = None
    key: str | None = None
    notes: tuple[str, ...] = ()


def validation_quality(network: TrainedNetwork, state: Mapping[str, Tensor]) -> dict[str, float]:
    """Quality on the validation split of a network of that state, a state dict on the CPU."""
    dataset, model = network.dataset, network.model
    assert dataset is not None
    load_first_names(model, state)
    return evaluate(model.to(network.device), dataset, dataset.validation, "validation", network.device)


def importances_of(
    network: TrainedNetwork, names: tuple[str, ...], state: Mapping[str, Tensor], seed: int
) -> Importances:
    """The importance of the weights `names` in a network of that state, which is computed where `model` lies.

    Those of the trained weights, and of the last other state, are kept.
    """
    if network.key is None:
        # In a copy: a caller's network may keep what it computed with its gradients, and could not be copied later.
        return _estimated(replace(network, model=deepcopy(network.model)), names, state, seed)
    is_trained = state is network.state
    device, count = next(network.model.parameters()).device, calibration_count(network)
    key = (network.key if is_trained else _digest(state), names, count, seed, str(device))
    if is_trained not in _importances or _importances[is_trained][0] != key:
        _importances.pop(is_trained, None)  # before the next, since those of very wide layers fill the memory
        _importances[is_trained] = key, _estimated(network, names, state, seed)
    return _importances[is_trained][1]


def _estimated(network: TrainedNetwork, names: tuple[str, ...], state: Mapping[str, Tensor], seed: int) -> Importances:
    load_state(network.model, state)
    given = calibration_inputs(network, next(network.model.parameters()).device)
    spread = output_spread(outputs_on(network.model, given))
    if isinstance(given, Inputs):
        with _taking_numbers(network.model, given):
            numbers = torch.arange(count_of(given), device=given.tensors[0].device)
            return Importances(layer_importance(network.model, names, numbers, seed), spread)
    return Importances(layer_importance(network.model, names, given.clone(), seed), spread)


def calibration_inputs(network: TrainedNetwork, device: torch.device, most: int | None = None) -> Tensor | Inputs:
    """The first calibration inputs, or all, as the network takes them, on the device."""
    calibration = _calibration_of(network)
    if isinstance(calibration, Inputs):
        return calibration.changed(lambda tensor: tensor[:most].to(device))
    inputs = calibration[:most].to(device)
    return inputs if network.dataset is None else network.dataset.normalise(inputs)


def validation_inputs(dataset: Dataset, device: torch.device, most: int) -> Tensor | Inputs:
    """The first inputs of validation, likewise."""
    split = dataset.validation
    if isinstance(split, Split):
        batch: Any = dataset.normalise(split.images[:most].to(device)), split.labels[:most]
    else:
        batch = dataset.on_device(split.head(most).content(), device)
    return dataset.task.split(batch)[0].changed(Tensor.clone)


def calibration_of(dataset: Dataset, most: int) -> Tensor | StoredImages | Inputs:
    """At most so many inputs for estimates: one tensor, or all arguments of a network that takes several."""
    split = dataset.calibration
    if dataset.task is CLASSIFICATION and isinstance(split, Split):
        return split.head(most).images
    given = dataset.inputs_of(min(most, len(split)))
    return given if given.only is None else given.only


@contextmanager
def _taking_numbers(model: nn.Module, given: Inputs) -> Iterator[None]:
    """Within it `model` takes a tensor of numbers of examples, and computes with their inputs."""

    def hook(_model: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        chosen = given.changed(lambda tensor: tensor[args[0]])
        return chosen.args, dict(chosen.kwargs)

    handle = model.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def calibration_count(network: TrainedNetwork) -> int | None:
    """How many calibration inputs there are; None without any."""
    given = network.calibration
    return count_of(given) if isinstance(given, Inputs) else None if given is None else len(given)


def _calibration_of(network: TrainedNetwork) -> Tensor | StoredImages | Inputs:
    assert network.calibration is not None
    return network.calibration


def _digest(state: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for value in state.values():
        content.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()
