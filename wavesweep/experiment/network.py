"""A trained network as the compressor sees it, and what is measured of one in another state."""

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wavesweep.codec.assemble import tied_names
from wavesweep.data.splits import Dataset, StoredImages
from wavesweep.measure.quality import evaluate
from wavesweep.models.load import load_state
from wavesweep.quantization.importance import LayerImportance, layer_importance

# The importances of the last trained network (true) and of the last retrained one (false), which several arms may
# share, each with what decided them.
_importances: dict[bool, tuple[tuple[object, ...], dict[str, LayerImportance]]] = {}


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, with the data that compressing it may need.

    `model` gives the structure; its values are overwritten whenever something is measured. `state` are the trained
    weights, a state dict on the CPU. `device` is where the network is measured and retrained.

    `input_shape` is that of one input, for removing units; `calibration` are inputs for the importance of weights,
    shape (count, ...); `dataset` is for retraining and for accuracies; `early_state` is the state dict that
    `retrain.rewind=weights` returns to. `key` names the trained weights, so that what was computed from them is kept
    for the next arm; with None nothing is kept. `notes` are what its user must know of it.
    """

    model: nn.Module
    state: Mapping[str, Tensor]
    device: torch.device
    input_shape: tuple[int, ...] = ()
    calibration: Tensor | StoredImages | None = None
    dataset: Dataset | None = None
    early_state: Mapping[str, Tensor] | None = None
    key: str | None = None
    notes: tuple[str, ...] = ()


def validation_quality(network: TrainedNetwork, state: Mapping[str, Tensor]) -> dict[str, float]:
    """Quality on the validation split of a network of that state, a state dict on the CPU."""
    dataset, model = network.dataset, network.model
    assert dataset is not None
    # What was changed under its first name is loaded under all, or the last would bring the old values back.
    tied = {name: state[first] for name, first in tied_names(model).items()}
    load_state(model, {**state, **tied})
    return evaluate(model.to(network.device), dataset, dataset.validation, "validation", network.device)


def importances_of(
    network: TrainedNetwork, names: tuple[str, ...], state: Mapping[str, Tensor], seed: int
) -> dict[str, LayerImportance]:
    """The importance of the weights `names` in a network of that state, which is computed where `model` lies.

    Those of the trained weights, and of the last other state, are kept.
    """
    if network.key is None:
        # In a copy: a caller's network may keep what it computed with its gradients, and could not be copied later.
        return _estimated(replace(network, model=deepcopy(network.model)), names, state, seed)
    is_trained = state is network.state
    device, count = next(network.model.parameters()).device, len(_calibration_of(network))
    key = (network.key if is_trained else _digest(state), names, count, seed, str(device))
    if is_trained not in _importances or _importances[is_trained][0] != key:
        _importances.pop(is_trained, None)  # before the next, since those of very wide layers fill the memory
        _importances[is_trained] = key, _estimated(network, names, state, seed)
    return _importances[is_trained][1]


def _estimated(
    network: TrainedNetwork, names: tuple[str, ...], state: Mapping[str, Tensor], seed: int
) -> dict[str, LayerImportance]:
    load_state(network.model, state)
    inputs = _calibration_of(network)[:].to(next(network.model.parameters()).device)
    if network.dataset is not None:
        inputs = network.dataset.normalise(inputs)
    return layer_importance(network.model, names, inputs.clone(), seed)


def _calibration_of(network: TrainedNetwork) -> Tensor | StoredImages:
    assert network.calibration is not None
    return network.calibration


def _digest(state: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for value in state.values():
        content.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()
