"""Which units can only go together: the dependency graph of Torch-Pruning, as arrays.

A unit of a layer is coupled with the channels of normalisations that it passes, with the units of other layers that it
is added to (residual connections), and with the inputs of the layers that read it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wavesweep.models.resize import LAYERS, NORMS, is_resizable

Indices = npt.NDArray[np.int64]
# A module, the name of the function that would cut it, and pairs of index and unit.
Coupled = tuple[Any, str, set[tuple[int, int]]]


@dataclass(frozen=True)
class Part:
    """Units of a group in one module: unit `units[k]` is its index `indices[k]`, of its outputs or its `inputs`."""

    name: str
    module: nn.Module
    inputs: bool
    indices: Indices
    units: Indices

    @property
    def weight(self) -> Tensor:
        """The module's weight; not for normalisations, which may have none."""
        return _weight(self.module)

    @property
    def length(self) -> int:
        """How many outputs, or inputs, the module has."""
        return int(self.weight.shape[1]) if self.inputs else _size(self.module)

    def of(self, units: Indices) -> Indices:
        """The indices that belong to some of the units."""
        return self.indices[np.isin(self.units, units)]


@dataclass(frozen=True)
class Group:
    """Units that go through the same modules, numbered 0, 1, ..., and why none of them can be removed, if so."""

    units: Indices
    parts: tuple[Part, ...]
    obstacle: str | None = None

    @property
    def producers(self) -> list[Part]:
        """The layers that compute the units."""
        return [part for part in self.parts if not part.inputs and isinstance(part.module, LAYERS)]

    @property
    def consumers(self) -> list[Part]:
        """The layers that read the units."""
        return [part for part in self.parts if part.inputs]


def coupled_groups(model: nn.Module, images: Tensor) -> list[Group]:
    """The groups of all layers of `model`, each unit in one group.

    Args:
        model: a network in evaluation mode; parameters must require gradients, by which it is traced.
        images: an example input, shape (1, ...).
    """
    import torch_pruning  # late: loading a file needs no graph

    names = {module: name for name, module in model.named_modules()}
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(model, images, verbose=False)
        roots = [module for module in names if isinstance(module, LAYERS) and module in graph.module2node]
        # Where a shortcut pads channels, as in ResNets for CIFAR, the widest stage is the one that has them all.
        roots.sort(key=lambda module: -len(_weight(module)))
        seen: set[tuple[nn.Module, int]] = set()
        groups = []
        for root in roots:
            units = np.array([unit for unit in range(len(_weight(root))) if (root, unit) not in seen], np.int64)
            if not units.size:
                continue
            group = _group(root, units, _coupled(graph, root, units), names)
            groups.append(group)
            seen.update((part.module, int(index)) for part in group.producers for index in part.indices)
    return groups


def _coupled(graph: Any, root: nn.Module, units: Indices) -> list[Coupled]:
    """What must go with units of a layer.

    `DependencyGraph.get_pruning_group` with an end: where it takes a slice of the image for one of the channels, as
    in circular padding, its indices wander for ever. Here each is followed once, up to the longest axis of the network.
    """
    from torch_pruning._helpers import _HybridIndex

    limit = max(max(_weight(module).shape[:2]) for module in graph.module2node if isinstance(module, LAYERS))
    start, handler = graph.module2node[root], graph.get_pruner_of_module(root).prune_out_channels
    found = {(start, handler): {(unit, unit) for unit in units.tolist()}}
    waiting = [(start, handler, [_HybridIndex(idx=unit, root_idx=unit) for unit in units.tolist()])]
    while waiting:
        node, trigger, indices = waiting.pop()
        for dependency in node.dependencies:
            if not dependency.is_triggered_by(trigger):
                continue
            reached = indices
            for mapping in dependency.index_mapping:
                reached = reached if mapping is None else mapping(reached)
            known = found.setdefault((dependency.target, dependency.handler), set())
            new = [at for at in reached if 0 <= at.idx < limit and (at.idx, at.root_idx) not in known]
            if new:
                known.update((at.idx, at.root_idx) for at in new)
                waiting.append((dependency.target, dependency.handler, new))
    return [(node.module, handler.__name__, pairs) for (node, handler), pairs in found.items() if pairs]


def _group(root: nn.Module, units: Indices, coupled: Sequence[Coupled], names: dict[nn.Module, str]) -> Group:
    found: dict[tuple[nn.Module, bool], set[tuple[int, int]]] = {}
    obstacle = None
    for module, handler, pairs in coupled:
        if isinstance(module, nn.Parameter):
            obstacle = "is combined with a parameter that belongs to no layer"
        elif module in names and not is_resizable(module) and sum(p.numel() for p in module.parameters()) > 1:
            obstacle = f"passes {names[module]} ({type(module).__name__}), which is not cut"
        if not isinstance(module, nn.Module) or not isinstance(module, (*LAYERS, *NORMS)):
            continue
        inputs = isinstance(module, LAYERS) and handler == "prune_in_channels"
        found.setdefault((module, inputs), set()).update(pairs)
    widest = max(len(_weight(module)) for module, inputs in found if not inputs and isinstance(module, LAYERS))
    parts = []
    for (module, inputs), pairs in found.items():
        size = _weight(module).shape[1] if inputs else _size(module)
        at, of = np.array(sorted(pairs), np.int64).T
        uneven = len(set(np.bincount(np.searchsorted(units, of), minlength=len(units)).tolist())) > 1
        if inputs and isinstance(module, nn.Linear) and uneven and size % widest == 0:
            # The graph takes the narrowest stage's channels for those that are flattened, so some have too many.
            repeat = size // widest
            at = (units[:, None] * repeat + np.arange(repeat)).reshape(-1)
            of = units.repeat(repeat)
        if not inputs and np.unique(at).size < at.size:
            alone = Part(names[root], root, False, units, units)
            return Group(units, (alone,), "is mixed with others in the dependency graph")
        # A shortcut that pads gives no channels beyond its own.
        fits = at < size
        parts.append(Part(names[module], module, inputs, at[fits], of[fits]))
    return Group(units, tuple(parts), obstacle)


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def _size(module: nn.Module) -> int:
    return module.num_features if isinstance(module, NORMS) else len(_weight(module))
