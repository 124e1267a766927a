"""Which tensors of a network are pruned, and how each is seen as a signal.

A weight tensor is viewed as a signal of some shape, and some of the signal's axes are transformed; the layout
chooses. The wavelet level that an axis allows is limited by its length, so the plan holds the level that each
axis really gets beside the level that was asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import pywt
from torch import nn

from wavesweep.pruning.kinds import is_matrix, kind_of, largest_of, unit_axis
from wavesweep.settings import registry
from wavesweep.settings.registry import LayerType, Method
from wavesweep.settings.schema import LayerOverride, LayersSettings, Settings

# Why a tensor is not pruned: its second name, and what the settings leave out.
SAME_AS, NOT_A_TYPE = "is the same tensor as", "is not among layers.types"
EXCLUDED, NOT_INCLUDED = "matches layers.exclude", "matches no pattern of layers.include"


@dataclass(frozen=True)
class TensorPlan:
    """One parameter of the network: whether it is pruned and why, and how it is transformed.

    `view` is the shape as a signal, `axes` the axes of it that the layout transforms, `levels` the effective
    wavelet level of each of those axes, at most `requested_level`. `unit_axis` counts the output units (filters).
    `kind` is that of `layers.types`, None for vectors.
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
    kind: str | None = None

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
    tensors = _tensors(model)
    types = _Types.of(tensors, settings.layers.types)
    for use in _uses(model):
        name, shape, same = use.name, tuple(use.parameter.shape), tensors[id(use.parameter)]
        kind = same[0].kind
        if same[0].name != name:
            plans.append(TensorPlan(name, shape, False, f"{SAME_AS} {same[0].name}", kind=kind))
            continue
        chosen, reason = _choose(same, settings.layers, types)
        if not prod(shape):
            chosen, reason = None, "has no numbers"
        if chosen is None:
            plans.append(TensorPlan(name, shape, False, reason, kind=kind))
            continue
        grid = tuple(input_shape) if any(other.module is grid_layer for other in same) else ()
        override = _override([other.name for other in same], settings.layers.overrides)
        plan = _plan_signal(chosen, reason, grid, settings, override)
        plans.append(replace(plan, name=name, unit_axis=unit_axis(chosen.module)))
    return plans


@dataclass(frozen=True)
class _Use:
    """A name of a parameter: the module that has it, and what it is called there. A tied one has several."""

    name: str
    module: nn.Module
    attribute: str
    parameter: nn.Parameter

    @property
    def kind(self) -> str | None:
        """Of `layers.types`; None where it is not pruned whatever they are."""
        return kind_of(self.module, self.attribute, self.parameter)


def _uses(model: nn.Module) -> list[_Use]:
    """All names of all parameters, in the order of the state dict."""
    return [
        _Use(f"{module_name}.{attribute}" if module_name else attribute, module, attribute, parameter)
        for module_name, module in model.named_modules(remove_duplicate=False)
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
    ]


def _tensors(model: nn.Module) -> dict[int, list[_Use]]:
    """The names of each parameter, by the parameter's id."""
    found: dict[int, list[_Use]] = {}
    for use in _uses(model):
        found.setdefault(id(use.parameter), []).append(use)
    return found


@dataclass(frozen=True)
class _Types:
    """What `layers.types` takes: kinds whatever their size, and single tensors, by their first names, with the share of
    the network's parameters that each has."""

    given: Sequence[str]
    kinds: frozenset[str]
    shares: Mapping[str, float]
    chosen: frozenset[str]

    @classmethod
    def of(cls, tensors: Mapping[int, Sequence[_Use]], types: Sequence[str]) -> "_Types":
        """Those of a network."""
        rows = registry.rows(LayerType)
        kinds = frozenset(types) - {name for name in types if rows[name].of_any_kind}
        total = sum(uses[0].parameter.numel() for uses in tensors.values())
        sizes = {
            uses[0].name: uses[0].parameter.numel()
            for uses in tensors.values()
            if any(use.kind for use in uses) and not any(use.kind in kinds for use in uses)
        }
        matrices = {uses[0].name for uses in tensors.values() if is_matrix(uses[0].parameter)}
        chosen: set[str] = set()
        for row in (rows[name] for name in types if rows[name].of_any_kind):
            among = {name: size for name, size in sizes.items() if name in matrices or not row.left_out}
            chosen |= largest_of(among, total, row.left_out)
        return cls(types, kinds, {name: size / max(total, 1) for name, size in sizes.items()}, frozenset(chosen))


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


def _choose(uses: Sequence[_Use], layers: LayersSettings, types: _Types) -> tuple[_Use | None, str]:
    """By which of its names a tensor is pruned, and why; None, and why not.

    A tied tensor is pruned if any of its layers is of a type and any of its names is included, and none is excluded.
    """
    first, share = uses[0].name, _percent(types.shares.get(uses[0].name, 0.0))
    typed = [use for use in uses if use.kind is not None and (use.kind in types.kinds or first in types.chosen)]
    if not typed:
        kind = next((use.kind for use in uses if use.kind is not None), None)
        if kind is not None:
            too_small = (
                f", and has {share}" if any(registry.row(LayerType, one).left_out for one in types.given) else ""
            )
            return None, f"{kind} {NOT_A_TYPE}{too_small}"
        owner = f"{type(uses[0].module).__name__} {uses[0].attribute}"
        is_real = uses[0].parameter.is_floating_point()
        return None, f"{owner}: of {'fewer than two dimensions' if is_real else 'no floating-point numbers'}"
    for pattern in layers.exclude:
        if any(fnmatchcase(use.name, pattern) for use in uses):
            return None, f"{EXCLUDED} {pattern!r}"
    for pattern in layers.include:
        if any(fnmatchcase(use.name, pattern) for use in uses):
            reason = f"{typed[0].kind} weight" if typed[0].kind != "parameter" else "parameter"
            reason += f", {share}" if typed[0].kind not in types.kinds else ""
            return typed[0], reason if pattern == "*" else f"{reason}, matches layers.include {pattern!r}"
    return None, NOT_INCLUDED


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.{0 if percent >= 9.95 else 1}f} % of the parameters"


def _plan_signal(
    use: _Use, reason: str, grid: tuple[int, ...], settings: Settings, override: LayerOverride
) -> TensorPlan:
    shape = signal = tuple(use.parameter.shape)
    if use.kind == "parameter":  # such as positions of shape (1, length, width)
        signal = tuple(size for size in shape if size > 1) or (1,)
    view = (shape[0], *grid) if grid else signal
    layout, view, axes = registry.row(registry.Layout, override.layout or settings.layout).load()(signal, view)
    wavelet = override.wavelet or settings.wavelet
    level = override.level if override.level is not None else settings.level
    taps = pywt.Wavelet(wavelet).dec_len
    limit = level_limit(settings.method.name)
    levels = []
    for axis in axes:
        length = limit(signal, view, axis)
        most = pywt.dwt_max_level(length, taps)
        levels.append(most if level == "max" else min(level, most))
    plan = TensorPlan(use.name, shape, True, reason, layout, view, axes, wavelet, level, tuple(levels), kind=use.kind)
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
