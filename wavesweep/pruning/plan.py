"""Which tensors of a network are pruned, and how each is seen as a signal.

A weight tensor is viewed as a signal of some shape, and some of the signal's axes are transformed; the layout
chooses. The wavelet level that an axis allows is limited by its length, so the plan holds the level that each
axis really gets beside the level that was asked for.
"""

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
    first_names: dict[int, str] = {}
    for module_name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            name = f"{module_name}.{parameter_name}" if module_name else parameter_name
            shape = tuple(parameter.shape)
            first_name = first_names.setdefault(id(parameter), name)
            if first_name != name:
                plans.append(TensorPlan(name, shape, False, f"is the same tensor as {first_name}"))
                continue
            pruned, reason = _choose(module, parameter_name, name, settings.layers)
            if not prod(shape):
                pruned, reason = False, "has no numbers"
            if not pruned:
                plans.append(TensorPlan(name, shape, pruned, reason))
                continue
            grid = tuple(input_shape) if module is grid_layer else ()
            plan = _plan_signal(name, shape, reason, grid, settings)
            plans.append(replace(plan, unit_axis=1) if isinstance(module, _TRANSPOSED) else plan)
    return plans


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


def _choose(module: nn.Module, parameter_name: str, name: str, layers: LayersSettings) -> tuple[bool, str]:
    kind = next((kind for kind, types in _LAYER_TYPES.items() if isinstance(module, types)), None)
    weights = _ATTENTION_WEIGHTS if isinstance(module, nn.MultiheadAttention) else ("weight",)
    if parameter_name not in weights or kind is None:
        return (
            False,
            f"{type(module).__name__} {parameter_name}: only weights of {', '.join(layers.types)} layers",
        )
    if kind not in layers.types:
        return False, f"{kind} is not among layers.types"
    for pattern in layers.exclude:
        if fnmatchcase(name, pattern):
            return False, f"matches layers.exclude {pattern!r}"
    for pattern in layers.include:
        if fnmatchcase(name, pattern):
            return (
                True,
                f"{kind} weight" if pattern == "*" else f"{kind} weight, matches layers.include {pattern!r}",
            )
    return False, "matches no pattern of layers.include"


def _plan_signal(
    name: str, shape: tuple[int, ...], reason: str, grid: tuple[int, ...], settings: Settings
) -> TensorPlan:
    override = _override(name, settings.layers.overrides)
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


def _override(name: str, overrides: Sequence[LayerOverride]) -> LayerOverride:
    """The first override whose pattern matches, or one that changes nothing."""
    return next((entry for entry in overrides if fnmatchcase(name, entry.match)), LayerOverride())


def _input_grid_layer(model: nn.Module, input_shape: Sequence[int]) -> nn.Module | None:
    """The linear layer that reads the image itself, if the network begins with one."""
    for module in model.modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        reads_image = isinstance(module, nn.Linear) and module.in_features == prod(input_shape)
        return module if reads_image and len(input_shape) == 3 else None
    return None
