"""Tensors that a module computes before each call, such as normalised weights: replaced by what they compute.

`torch.nn.utils.parametrize` (with `parametrizations.weight_norm`, `spectral_norm` and `orthogonal`), the older
`torch.nn.utils.weight_norm` and `spectral_norm`, and `torch.nn.utils.prune`.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from wavesweep.errors import SettingsError
from wavesweep.runtime.terminal import some
from wavesweep.settings.effective import COMPUTED_BY


@dataclass(frozen=True)
class _Hook:
    """A forward hook that computes a tensor: what it is called, the attribute that has the tensor's name, the endings
    of the parameters that it computes from, and what removes it."""

    kind: str
    attribute: str
    sources: tuple[str, ...]
    remove: Callable[[nn.Module, str], object]


def _remove_spectral_norm(module: nn.Module, name: str) -> None:
    remove_spectral_norm(module, name)
    # PyTorch wraps the hook by which old state dicts are read, and then does not find it.
    hooks = module._load_state_dict_pre_hooks
    for number, hook in list(hooks.items()):
        inner = getattr(hook, "hook", hook)
        if isinstance(inner, SpectralNormLoadStateDictPreHook) and inner.fn.name == name:
            del hooks[number]


_HOOKS: dict[type, _Hook] = {
    WeightNorm: _Hook("weight_norm", "name", ("_g", "_v"), remove_weight_norm),
    SpectralNorm: _Hook("spectral_norm", "name", ("_orig",), _remove_spectral_norm),
    prune.BasePruningMethod: _Hook("prune", "_tensor_name", ("_orig",), prune.remove),
}


@dataclass(frozen=True)
class _Folded:
    """What was computed: the tensor's name in its module, by what, from which parameters, and its value."""

    name: str
    kind: str
    sources: tuple[nn.Parameter, ...]
    value: Tensor


def has_computed(model: nn.Module) -> bool:
    """Whether some module computes a tensor of its own before each call."""
    return any(parametrize.is_parametrized(module) or any(_hooks_of(module)) for module in model.modules())


def fold_computed(model: nn.Module) -> list[str]:
    """Replace all computed tensors of `model` by plain parameters of their values in evaluation.

    Returns:
        What was replaced, as notes.

    Raises:
        SettingsError: a tensor cannot be computed; the message says what removes it.
    """
    names: dict[str, list[str]] = {}
    shared: dict[tuple[int, ...], tuple[_Folded, nn.Parameter]] = {}
    # Backwards, as what is computed may be computed from what another module, or an earlier hook, computes.
    for module_name, module in reversed(list(model.named_modules())):
        for folded in chain(_fold_hooks(module), _fold_parametrized(module, module_name)):
            _put(module, folded, shared)
            names.setdefault(folded.kind, []).insert(0, f"{module_name}.{folded.name}".lstrip("."))
    left = model.state_dict().keys()
    names = {kind: [name for name in found if name in left] for kind, found in reversed(names.items())}
    return [
        f"{some(found)}: {COMPUTED_BY} {kind}; what it gives is pruned and stored, and wavesweep.load puts it into "
        "the network as a plain parameter"
        for kind, found in names.items()
        if found
    ]


def copy_of(model: nn.Module, shared: bool = False) -> nn.Module:
    """A copy of a network, computed tensors with gradients included, which `copy.deepcopy` refuses.

    Args:
        model: the network.
        shared: the copy has the same parameters and buffers, not copies.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in _computed_values(module):
            memo[id(value)] = value.detach().clone()
        if shared:
            own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
            memo |= {id(value): value for value in own}
    return deepcopy(model, memo)


def _hooks_of(module: nn.Module) -> Iterator[tuple[_Hook, str]]:
    """The hooks of a module that compute its tensors, with the tensor's name, in their order."""
    for hook in module._forward_pre_hooks.values():
        for kind, row in _HOOKS.items():
            if isinstance(hook, kind):
                yield row, getattr(hook, row.attribute)


def _computed_values(module: nn.Module) -> Iterator[Tensor]:
    """The tensors with gradients that a module keeps of its last call."""
    for _, name in _hooks_of(module):
        value = vars(module).get(name)
        if isinstance(value, Tensor) and not value.is_leaf:
            yield value
    if isinstance(module, nn.RNNBase):
        for value in module._flat_weights:
            if isinstance(value, Tensor) and not value.is_leaf:
                yield value


def _fold_hooks(module: nn.Module) -> Iterator[_Folded]:
    for hook, name in reversed(list(_hooks_of(module))):
        sources = tuple(module._parameters[name + ending] for ending in hook.sources)
        parameters = tuple(value for value in sources if value is not None)
        for ending, value in zip(hook.sources, sources, strict=True):
            if value is not None:  # a copy, as what removes a hook changes a tensor that another module may share
                module._parameters[name + ending] = nn.Parameter(value.detach().clone(), value.requires_grad)
        with torch.no_grad():
            hook.remove(module, name)
        yield _Folded(name, hook.kind, parameters, getattr(module, name).detach())


def _fold_parametrized(module: nn.Module, module_name: str) -> list[_Folded]:
    """Values of the module's parametrised tensors; it is one of its original class afterwards.

    Not by `remove_parametrizations`, which changes the class that copies of a module share.
    """
    if not parametrize.is_parametrized(module):
        return []
    found = []
    behind: Any = module.parametrizations
    for name, computing in behind.items():
        kinds = [type(part).__name__ for part in computing]
        try:
            with torch.no_grad():
                value: Tensor = computing.eval()()  # in training some would change their statistics
        except Exception as error:
            reason = " ".join(str(error).split())
            call = f"torch.nn.utils.parametrize.remove_parametrizations(layer, {name!r})"
            key = f"{module_name}.{name}".lstrip(".")
            raise SettingsError(
                "model", key, f"cannot be computed by {', '.join(kinds)} ({reason})", f"remove it by {call}"
            ) from None
        kind = " and ".join(_known(kind) for kind in kinds)
        found.append(_Folded(name, kind, tuple(computing.parameters(recurse=False)), value.detach()))
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    return found


def _known(kind: str) -> str:
    """PyTorch's classes by the names of the functions that register them."""
    known = {"_WeightNorm": "weight_norm", "_SpectralNorm": "spectral_norm", "_Orthogonal": "orthogonal"}
    return known.get(kind, kind)


def _put(module: nn.Module, folded: _Folded, shared: dict[tuple[int, ...], tuple[_Folded, nn.Parameter]]) -> None:
    """The value as a parameter of the module, the same one where another was computed from the same parameters."""
    value = folded.value.clone(memory_format=torch.contiguous_format)
    if not folded.sources:
        module.register_buffer(folded.name, value)
        return
    same = tuple(id(source) for source in folded.sources)  # alive, as `shared` holds them
    if same in shared and torch.equal(shared[same][1], value):
        setattr(module, folded.name, shared[same][1])
        return
    parameter = nn.Parameter(value, any(source.requires_grad for source in folded.sources))
    shared[same] = folded, parameter
    setattr(module, folded.name, parameter)
