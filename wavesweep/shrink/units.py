"""Removing units from a network: which can go, what they leave behind, and a proof by its outputs.

A unit may go where nobody reads it (the next layers' weights for it are zero, whatever it computes), or where its own
weights are zero, so that what it emits is a constant, and each layer that reads it can do without: the constant is
zero after normalisation and activation, or is added to that layer's bias. All is done in float64; each group of
coupled units is checked by the network's outputs, and put back if these change.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from wavesweep.models.load import load_state
from wavesweep.models.resize import LAYERS, fit_to, put_tensors
from wavesweep.shrink.candidates import Reasons, removable
from wavesweep.shrink.graph import Group, Indices, Part, coupled_groups
from wavesweep.shrink.observe import Inputs, observe, outputs, random_images, same_outputs

# Outputs before and after, relative to the largest: in float64 while units go, and of the float32 network at the end.
_EXACT, _CLOSE = 1e-9, 1e-4


@dataclass(frozen=True)
class Shrunk:
    """A smaller network with the outputs of the zeroed one.

    `removed` are the units of each layer that went, by their numbers in the full network; `kept` says for each tensor
    that was cut which indices of which axes are left; `folded` names the biases that took up constants. `kept_because`
    has the superfluous units that are still there, by layer and reason.
    """

    model: nn.Module
    state: dict[str, Tensor]
    removed: dict[str, tuple[int, ...]]
    kept: dict[str, dict[int, Indices]]
    folded: frozenset[str]
    kept_because: list[dict[str, object]]


@dataclass
class _Work:
    """A network on its way to a smaller one.

    `left` are the indices of the full network that are still there, by layer and axis; `refused` the layers whose
    units were tried and put back, and why.
    """

    model: nn.Module
    images: Tensor
    reference: Tensor
    locked: Mapping[str, Mapping[int, str]]
    left: dict[tuple[str, int], Indices] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


def shrink(
    model: nn.Module,
    state: Mapping[str, Tensor],
    input_shape: Sequence[int],
    locked: Mapping[str, Mapping[int, str]] | None = None,
) -> Shrunk:
    """Remove the units that `state` makes superfluous; `model` is left as it is.

    Args:
        model: the network, of full size.
        state: its state dict, in which units are zero.
        input_shape: of one image.
        locked: tensor name and axis to the reason why it cannot be cut.
    """
    full = deepcopy(model).cpu().eval()
    load_state(full, state)
    if not any(_zeros(m, axis) for m in full.modules() if isinstance(m, LAYERS) for axis in (0, 1)):
        return _unshrunk(full, [])
    exact = deepcopy(full).double().requires_grad_(True)
    images = random_images(input_shape)
    reasons = Reasons()
    try:
        work = _Work(exact, images.double(), outputs(exact, images.double()), locked or {})
        while _round(work, reasons):
            pass
        small = _finished(full, work)
        close = same_outputs(outputs(full, images), outputs(small, images), _CLOSE)
    except Exception as error:  # anything may go wrong in the forward pass of a network that is not ours
        return _unshrunk(full, [_whole(f"it cannot be followed ({_line(error)})")])
    if not close:
        return _unshrunk(full, [_whole("the smaller network has other outputs")])
    state = {name: value.detach() for name, value in small.state_dict().items()}
    folded = frozenset(_named(name, "bias") for name in work.folded)
    return Shrunk(small, state, _removed(full, work), _kept(small, work), folded, reasons.rows())


def _round(work: _Work, reasons: Reasons) -> bool:
    """Remove what can go now; whether anything did, because that may have made more superfluous."""
    reasons.clear()
    groups = coupled_groups(work.model, work.images[:1])
    inputs = observe(work.model, work.images)
    touched: set[tuple[str, bool]] = set()
    for group in groups:
        # A layer that reads several groups, side by side, has other numbers after the first was cut.
        if any((part.name, part.inputs) in touched for part in group.parts):
            continue
        units = removable(group, inputs, _obstacle(group, work), reasons)
        if units.size and _remove(group, units, inputs, work):
            touched.update((part.name, part.inputs) for part in group.parts)
        elif units.size:
            removable(group, inputs, _obstacle(group, work), reasons)  # to note why not
    parts = [part for group in groups for part in group.parts]
    computed, reading = ({p.name for p in parts if p.inputs is inputs} for inputs in (False, True))
    for name, module in work.model.named_modules():
        if isinstance(module, LAYERS) and name not in computed:
            reasons.add(name, "the dependency graph does not have this layer", _zeros(module, 0))
        if isinstance(module, LAYERS) and name not in reading:
            reasons.add(name, "is an input of the network, here one that is not read", _zeros(module, 1))
    return bool(touched)


def _obstacle(group: Group, work: _Work) -> str | None:
    """Why no unit of a group can go, apart from what they compute."""
    if group.obstacle:
        return group.obstacle
    owners: dict[int, int] = {}
    for module in work.model.modules():
        for parameter in module._parameters.values():
            owners[id(parameter)] = owners.get(id(parameter), 0) + (parameter is not None)
    for part in group.parts:
        if part.name in work.refused:
            return work.refused[part.name]
        if any(owners[id(parameter)] > 1 for parameter in part.module.parameters()):
            return f"passes {part.name}, which shares its weights with another layer"
        reason = work.locked.get(_named(part.name, "weight"), {}).get(int(part.inputs))
        if reason:
            return reason
    return None


def _remove(group: Group, units: Indices, inputs: Mapping[str, Inputs], work: _Work) -> bool:
    """Cut units out of all modules of their group; false, with all put back, if the outputs change."""
    before = [(part.module, _tensors(part.module)) for part in group.parts]
    folded, left = set(), {}
    for part in group.parts:
        # A stage of a residual network may be narrower than the units that go.
        if not part.of(units).size:
            continue
        if part.inputs and _fold(part, units, inputs[part.name]):
            folded.add(part.name)
        axis = int(part.inputs)
        all_here = np.arange(part.length)
        here = np.setdiff1d(all_here, part.of(units))
        left[part.name, axis] = work.left.get((part.name, axis), all_here)[here]
        _cut(part, torch.from_numpy(here))
    try:
        same = same_outputs(work.reference, outputs(work.model, work.images), _EXACT)
        reason = None if same else "the outputs of the network change without it"
    except Exception as error:  # such as a network that counts its features itself
        reason = f"the network fails without it ({_line(error)})"
    if reason is None:
        work.left |= left
        work.folded |= folded
        return True
    for module, tensors in reversed(before):
        put_tensors(module, tensors)
    work.refused |= {part.name: reason for part in group.producers}
    return False


def _fold(part: Part, units: Indices, inputs: Inputs) -> bool:
    """Add what a layer is fed by units that go to its bias; whether there was anything."""
    weight, columns = part.weight, part.of(units)
    per_input = weight[:, torch.from_numpy(columns)].flatten(2).sum(2) if weight.dim() > 2 else weight[:, columns]
    # A unit that nobody reads need not be constant, and a weight of zero times whatever it emits is nothing.
    constant = np.where(inputs.constant[columns], inputs.value[columns], 0.0)
    if not constant.any() or not per_input.any():
        return False
    bias = part.module.bias
    assert isinstance(bias, Tensor)
    put_tensors(part.module, {"bias": (bias + per_input @ torch.from_numpy(constant)).detach()})
    return True


def _cut(part: Part, left: Tensor) -> None:
    if part.inputs:
        put_tensors(part.module, {"weight": part.weight.detach()[:, left]})
        return
    tensors = {name: value for name, value in _tensors(part.module).items() if value.dim()}
    put_tensors(part.module, {name: value[left] for name, value in tensors.items()})


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    named = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    return {name: value.detach() for name, value in named}


def _finished(full: nn.Module, work: _Work) -> nn.Module:
    """The smaller network in the types of the full one."""
    types = {name: value.dtype for name, value in full.state_dict().items()}
    state = {name: value.detach().to(types[name]) for name, value in work.model.state_dict().items()}
    small = deepcopy(full)
    fit_to(small, {name: value.shape for name, value in state.items()})
    load_state(small, state)
    return small


def _removed(full: nn.Module, work: _Work) -> dict[str, tuple[int, ...]]:
    sizes = {name: len(m.weight) for name, m in full.named_modules() if isinstance(m, LAYERS)}
    return {
        name: tuple(np.setdiff1d(np.arange(sizes[name]), left).tolist())
        for (name, axis), left in work.left.items()
        if axis == 0 and name in sizes
    }


def _kept(small: nn.Module, work: _Work) -> dict[str, dict[int, Indices]]:
    kept: dict[str, dict[int, Indices]] = {}
    for (name, axis), left in work.left.items():
        for tensor, value in _tensors(small.get_submodule(name)).items():
            if value.dim() > axis:
                kept.setdefault(_named(name, tensor), {})[axis] = left
    return kept


def _unshrunk(full: nn.Module, because: list[dict[str, object]]) -> Shrunk:
    return Shrunk(full, dict(full.state_dict()), {}, {}, frozenset(), because)


def _whole(reason: str) -> dict[str, object]:
    return {"layer": "", "units": 0, "reason": reason}


def _zeros(module: nn.Module, axis: int) -> int:
    """How many outputs (axis 0) or inputs (1) of a layer have weights that are all zero."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return int((~weight.detach().transpose(0, axis).flatten(1).ne(0).any(1)).sum())


def _named(module: str, tensor: str) -> str:
    return f"{module}.{tensor}" if module else tensor


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
