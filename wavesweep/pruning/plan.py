"""Which tensors of a network are pruned, and how each is seen as a signal.

A weight tensor is viewed as a signal of some shape, and some of the signal's axes are transformed; the layout
chooses. The wavelet level that an axis allows is limited by its length, so the plan holds the level that each
axis really gets beside the level that was asked for.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import pywt
from torch import nn

from wavesweep.settings import registry
from wavesweep.settings.registry import Method
from wavesweep.settings.schema import LayerOverride, LayersSettings, Settings

# Their weights are (in, out, ...), all others' are (out, in, ...).
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYER_TYPES: dict[str, tuple[type[nn.Module], ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED),
    "linear": (nn.Linear, nn.MultiheadAttention),
    "embedding": (nn.Embedding,),
}
PRUNABLE = tuple(layer for types in _LAYER_TYPES.values() for layer in types)
# Why a tensor is not pruned: its second name, and what the settings leave out.
SAME_AS, NOT_A_TYPE = "is the same tensor as", "is not among layers.types"
EXCLUDED, NOT_INCLUDED = "matches layers.exclude", "matches no pattern of layers.include"
# Attention has the linear layers of queries, keys and values as matrices of its own, stacked if they are of one size.
_ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True)
class TensorPlan:
    """One parameter of the network: whether it is pruned and why, and how it is transformed.

    `view` is the shape as a signal, `axes` the axes of it that the layout transforms, `levels` the effective
    wavelet level of each of those axes, at most `requested_level`. `unit_axis` counts the output units (filters).
    """

    name: str
    shape: tuple[int, ...]
    pruned: bool
    reason: str
    layout: str = ""
    view: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    wavelet: str = ""
    requested_level: int | str = 0
    levels: tuple[int, ...] = ()
    percentile: float | None = None
    unit_axis: int = 0
    bits: int | None = None

    @property
    def weights(self) -> int:
        """Number of weights in the tensor."""
        return prod(self.shape)

    def row(self) -> dict[str, Any]:
        """The plan as a row of the record."""
        return asdict(self)


def plan_tensors(model: nn.Module, settings: Settings, input_shape: Sequence[int]) -> list[TensorPlan]:
    """Decide for every parameter of `model` whether it is pruned, and how it is transformed.

    Args:
        model: the network; only its structure and shapes are used.
        settings: `layers`, `layout`, `wavelet`, `level` and `boundary` are used.
        input_shape: (channels, height, width) of the images, for the first linear layer's grid.
    """
    grid_layer = _input_grid_layer(model, input_shape)
    plans: list[TensorPlan] = []
    uses = _uses(model)
    for use in uses:
        name, shape = use.name, tuple(use.parameter.shape)
        same = [other for other in uses if other.parameter is use.parameter] if use.is_tied else [use]
        if same[0].name != name:
            plans.append(TensorPlan(name, shape, False, f"{SAME_AS} {same[0].name}"))
            continue
        chosen, reason = _choose(same, settings.layers)
        if not prod(shape):
            chosen, reason = None, "has no numbers"
        if chosen is None:
            plans.append(TensorPlan(name, shape, False, reason))
            continue
        grid = tuple(input_shape) if any(other.module is grid_layer for other in same) else ()
        override = _override([other.name for other in same], settings.layers.overrides)
        plan = _plan_signal(name, shape, reason, grid, settings, override)
        plans.append(replace(plan, unit_axis=1) if isinstance(chosen.module, _TRANSPOSED) else plan)
    return plans


@dataclass(frozen=True)
class _Use:
    """A name of a parameter: the module that has it, and what it is called there. A tied one has several."""

    name: str
    module: nn.Module
    attribute: str
    parameter: nn.Parameter
    is_tied: bool = False

    @property
    def kind(self) -> str | None:
        """Of `layers.types`; None where it is no weight of such a layer."""
        kind = next((kind for kind, types in _LAYER_TYPES.items() if isinstance(self.module, types)), None)
        weights = _ATTENTION_WEIGHTS if isinstance(self.module, nn.MultiheadAttention) else ("weight",)
        return kind if self.attribute in weights else None


def _uses(model: nn.Module) -> list[_Use]:
    """All names of all parameters, in the order of the state dict."""
    found = [
        _Use(f"{module_name}.{attribute}" if module_name else attribute, module, attribute, parameter)
        for module_name, module in model.named_modules(remove_duplicate=False)
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
    ]
    counts = Counter(id(use.parameter) for use in found)
    return [replace(use, is_tied=counts[id(use.parameter)] > 1) for use in found]


def level_limit(method: str) -> Callable[[Sequence[int], Sequence[int], int], int]:
    """What gives the length that limits the level of an axis, from a tensor's shape, its view and the axis."""
    target = registry.row(Method, method).level_limit
    limit: Callable[[Sequence[int], Sequence[int], int], int] = registry.loaded(target) if target else _own_length
    return limit


def _own_length(shape: Sequence[int], view: Sequence[int], axis: int) -> int:
    return view[axis]


def transforms_nothing(plans: Sequence[TensorPlan]) -> bool:
    """Whether no axis of any pruned tensor gets a level: the wavelet method is then plain magnitude pruning."""
    return not any(any(plan.levels) for plan in plans if plan.pruned)


def _choose(uses: Sequence[_Use], layers: LayersSettings) -> tuple[_Use | None, str]:
    """By which of its names a tensor is pruned, and why; None, and why not.

    A tied tensor is pruned if any of its layers is of a type and any of its names is included, and none is excluded.
    """
    typed = [use for use in uses if use.kind in layers.types]
    if not typed:
        kind = next((use.kind for use in uses if use.kind is not None), None)
        if kind is not None:
            return None, f"{kind} {NOT_A_TYPE}"
        owner = f"{type(uses[0].module).__name__} {uses[0].attribute}"
        return None, f"{owner}: only weights of {', '.join(layers.types)} layers"
    for pattern in layers.exclude:
        if any(fnmatchcase(use.name, pattern) for use in uses):
            return None, f"{EXCLUDED} {pattern!r}"
    for pattern in layers.include:
        if any(fnmatchcase(use.name, pattern) for use in uses):
            reason = f"{typed[0].kind} weight"
            return typed[0], reason if pattern == "*" else f"{reason}, matches layers.include {pattern!r}"
    return None, NOT_INCLUDED


def _plan_signal(
    name: str,
    shape: tuple[int, ...],
    reason: str,
    grid: tuple[int, ...],
    settings: Settings,
    override: LayerOverride,
) -> TensorPlan:
    view = (shape[0], *grid) if grid else shape
    layout, view, axes = registry.row(registry.Layout, override.layout or settings.layout).load()(shape, view)
    wavelet = override.wavelet or settings.wavelet
    level = override.level if override.level is not None else settings.level
    taps = pywt.Wavelet(wavelet).dec_len
    limit = level_limit(settings.method.name)
    levels = []
    for axis in axes:
        length = limit(shape, view, axis)
        most = pywt.dwt_max_level(length, taps)
        levels.append(most if level == "max" else min(level, most))
    plan = TensorPlan(name, shape, True, reason, layout, view, axes, wavelet, level, tuple(levels))
    return replace(plan, percentile=override.percentile, bits=override.bits)


def _override(names: Sequence[str], overrides: Sequence[LayerOverride]) -> LayerOverride:
    """The first override whose pattern matches one of a tensor's names, or one that changes nothing."""
    matching = (entry for entry in overrides if any(fnmatchcase(name, entry.match) for name in names))
    return next(matching, LayerOverride())


def _input_grid_layer(model: nn.Module, input_shape: Sequence[int]) -> nn.Module | None:
    """The linear layer that reads the image itself, if the network begins with one."""
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        reads_image = isinstance(module, nn.Linear) and module.in_features == prod(input_shape)
        return module if reads_image and len(input_shape) == 3 else None
    return None
