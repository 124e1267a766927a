"""Filling a network from a checkpoint as training leaves it; nothing is unpickled beyond tensors and plain values."""

import pickle
import re
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.errors import SettingsError
from wavesweep.models.names import (
    Match,
    Network,
    differences,
    matches,
    nearest,
    prefixes_in_words,
    some_short,
)
from wavesweep.models.shards import files_of_index, is_index
from wavesweep.runtime.finite import is_finite, is_storable
from wavesweep.runtime.terminal import short_name

KEY = "model.checkpoint"
_REMEDY = "give a .safetensors file or a state dict (torch.save(model.state_dict(), ...))"
# State dicts are at most so deep in the dictionaries of a checkpoint.
_DEEPEST_ENTRY = 4
_COUNTER = "num_batches_tracked"
_SHARD = re.compile(r"-\d+-of-\d+\.")
# State dicts of a checkpoint, by the dotted keys that lead to them.
States = dict[str, dict[str, Tensor]]


def load_checkpoint(model: nn.Module, path: str) -> str | None:
    """Fill `model` from a checkpoint: a state dict, or what holds one that fits, under whatever prefix.

    Returns:
        What was stripped or left out, as a note; None if the names are the network's.

    Raises:
        SettingsError: the file is missing or broken, or no tensors in it, or several, fit the model.
    """
    content = _read(path)
    own = model.state_dict()
    states = {entry: {**_counters(state, own), **state} for entry, state in _states(content)}
    if not states:
        raise SettingsError(KEY, path, "must hold a state dict: names and tensors", _held(content, states))
    network = Network({name: tuple(value.shape) for name, value in own.items()}, _first_names(own))
    shapes = {entry: {name: tuple(value.shape) for name, value in state.items()} for entry, state in states.items()}
    found = [match for entry in states for match in matches(network, entry, shapes[entry])]
    if len(found) > 1:
        several = ", ".join(_place(match) for match in found[:5])
        hint = f"it holds {several}: save the one you mean alone"
        raise SettingsError(KEY, path, "must hold one state dict that fits the model", hint)
    if not found:
        close = max(
            (nearest(network, entry, shapes[entry]) for entry in states),
            key=lambda match: len(match.names.keys() & own.keys()),
        )
        wrong = differences(network, close, shapes[close.entry])
        text = "; ".join(f"{what}: {some_short(names)}" for what, names in wrong.items() if names)
        raise SettingsError(KEY, path, f"does not fit the model ({text})", _advice(path, content, states, close))
    state = states[found[0].entry]
    _fill(model, path, own, {name: state[other] for name, other in found[0].names.items()}, network)
    return None if found[0].is_plain else f"{KEY}: {found[0]}"


def _counters(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Counters of batch normalisations as they are in a new network; files of old PyTorch have none, which
    `load_state_dict` forgives as well."""
    if not any(name.endswith(_COUNTER) for name in own):
        return {}
    owners = [name.removesuffix("running_var") for name in state if name.endswith("running_var")]
    return {f"{owner}{_COUNTER}": torch.tensor(0) for owner in owners}


def _fill(model: nn.Module, path: str, own: Mapping[str, Tensor], state: dict[str, Tensor], network: Network) -> None:
    by_first = {network.first[name]: value for name, value in state.items()}
    state = {**{name: by_first[network.first[name]] for name in own if name not in state}, **state}
    weights = dict(model.named_parameters(remove_duplicate=False))
    for name in own:
        if state[name].layout != torch.strided or state[name].is_quantized or state[name].device.type == "meta":
            raise SettingsError(KEY, path, f"tensor {name} is sparse, quantised or empty", "give dense tensors")
        if not (is_finite(state[name]) if name in weights else is_storable(state[name])):
            raise SettingsError(KEY, path, f"tensor {name} holds NaN or infinity", "give another checkpoint")
    model.load_state_dict(state)


def _read(path: str) -> Any:
    """What is in a checkpoint, as plain values and tensors on the CPU."""
    if not is_index(path):
        return _read_file(path)
    merged: dict[str, Any] = {}
    for file, names in files_of_index(path).items():
        content = _read_file(str(file))
        lacking = [name for name in names if not isinstance(content, Mapping) or name not in content]
        if lacking:
            raise SettingsError(KEY, str(file), f"lacks tensors that its index names ({some_short(lacking)})")
        merged.update({name: content[name] for name in names})
    return merged


def _read_file(path: str) -> Any:
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings(), _plain_objects():
            warnings.simplefilter("ignore")  # torch's own advice is to unpickle whatever it is
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SettingsError(KEY, path, "must be an existing file") from None
    except Exception as error:
        raise SettingsError(KEY, path, f"cannot be read ({_reason(error)})", _REMEDY) from None


def _plain_objects() -> AbstractContextManager[Any]:
    """Let through what training scripts keep their options in: names and values, no code."""
    allow = getattr(torch.serialization, "safe_globals", None)  # not before PyTorch 2.5
    return nullcontext() if allow is None else allow([Namespace])


def _reason(error: Exception) -> str:
    if not isinstance(error, pickle.UnpicklingError):
        return str(error).split("\n", 1)[0][:200] or type(error).__name__
    refused = re.search(r"GLOBAL (\S+)", str(error))
    what = f" ({short_name(refused[1])})" if refused else ""
    return f"it holds objects other than tensors{what}, or is no PyTorch file"


def _states(
    tree: Any, keys: tuple[str, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors of each dictionary of a checkpoint that has some."""
    seen = set() if seen is None else seen
    if not isinstance(tree, Mapping) or id(tree) in seen or len(keys) > _DEEPEST_ENTRY:
        return
    seen.add(id(tree))
    named = {name: value for name, value in tree.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield ".".join(keys), tensors
    for name, value in named.items():
        yield from _states(value, (*keys, name), seen)


def _first_names(own: Mapping[str, Tensor]) -> dict[str, str]:
    """Per tensor the first name of those that are tied to it: `safetensors.torch.save_model` stores one of them."""
    first: dict[tuple[Any, ...], str] = {}
    return {
        name: first.setdefault((tensor.data_ptr(), tensor.shape) if tensor.numel() else (name,), name)
        for name, tensor in own.items()
    }


def _place(match: Match) -> str:
    entry = short_name(match.entry) if match.entry else "one of its own"
    return f"{entry} (prefix {short_name(match.prefix)})" if match.prefix else entry


def _advice(path: str, content: Any, states: States, close: Match) -> str:
    if _SHARD.search(path):
        return "it is one of several files: give their index, a .json"
    return _held(content, states, close.entry)


def _held(content: Any, states: States, entry: str | None = None) -> str:
    """The keys of a checkpoint, and how the names of a state dict in it begin."""
    if not isinstance(content, Mapping):
        return f"it holds {type(content).__name__}"
    if not content:
        return "it is empty"
    if entry is None:
        return f"its keys are {some_short(list(map(str, content)))}"
    begin = f"names begin with {prefixes_in_words(list(states[entry]))}"
    if not entry:
        return f"its {begin}"
    return f"its keys are {some_short(list(map(str, content)))}, and the {begin} in {short_name(entry)}"
