"""What is settled before anything is compressed: the tensors that are pruned, and what a reader must know of that."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from pywt import Wavelet, dwt_max_level
from torch import nn

from wavesweep.errors import TrialError
from wavesweep.pruning.kinds import CONVOLUTIONS, EMBEDDINGS, TRANSPOSED
from wavesweep.pruning.plan import TensorPlan, plan_tensors, transforms_nothing
from wavesweep.pruning.prune import ArmSpec
from wavesweep.pruning.sensitivity import curves_for, read_table
from wavesweep.settings import registry
from wavesweep.settings.effective import MATCHES_NO_TENSOR, uses_basis_with_levels
from wavesweep.settings.schema import LayersSettings, Settings


def plan_pruned(
    model: nn.Module, settings: Settings, input_shape: Sequence[int]
) -> tuple[list[TensorPlan], list[TensorPlan]]:
    """The tensors that are pruned, and all others with the reason why not.

    Raises:
        TrialError: nothing would be pruned, or nothing transformed where the level is limited by PyWavelets alone;
            the message says what to change.
    """
    plans = plan_tensors(model, settings, input_shape)
    pruned = [plan for plan in plans if plan.pruned]
    if not pruned:
        reason = "no tensor is selected for pruning; change layers.types, layers.include or layers.exclude"
        raise TrialError("; ".join([reason, *computed_notes(model)]))
    method = registry.row(registry.Method, settings.method.name)
    if uses_basis_with_levels(method.name) and not method.level_limit and transforms_nothing(pruned):
        longest = max((plan.view[axis] for plan in pruned for axis in plan.axes), default=0)
        raise TrialError(
            f"wavelet {settings.wavelet} at level {settings.level} with layout {settings.layout} transforms nothing: "
            f"its longest axis has {longest} values, too short for one level; use {_what_transforms(pruned, settings)}"
        )
    return pruned, [plan for plan in plans if not plan.pruned]


def _what_transforms(plans: Sequence[TensorPlan], settings: Settings) -> str:
    """What would transform something, or do without: only what helps these tensors."""
    longest = max((plan.view[axis] for plan in plans for axis in plan.axes), default=0)
    remedies = []
    if dwt_max_level(longest, Wavelet("haar").dec_len):
        remedies.append("a shorter wavelet (wavelet=haar)")
    taps = Wavelet(settings.wavelet).dec_len
    channel = max((length for plan in plans for length in plan.shape[:2]), default=0)
    flat = max(plan.weights for plan in plans)
    layouts = (("channel", channel), ("flat", flat))
    others = [f"layout={name}" for name, length in layouts if name != settings.layout and dwt_max_level(length, taps)]
    if others:
        remedies.append(f"another layout ({' or '.join(others)})")
    if not remedies and flat > 1:
        remedies.append("wavelet=haar with layout=flat")
    return ", ".join([*remedies, "or method=magnitude" if remedies else "method=magnitude"])


def arm_spec(settings: Settings, plans: Sequence[TensorPlan]) -> ArmSpec:
    """The main arm: `settings.method` applied to the tensors of `plans`.

    Raises:
        SettingsError: the sensitivity table cannot be read, or is of another network.
    """
    threshold = settings.threshold
    spec = ArmSpec(settings.method.name, tuple(plans), settings.boundary, threshold, settings.seed)
    if threshold.allocation != "sensitivity":
        return spec
    return replace(spec, curves=curves_for(read_table(threshold.sensitivity or ""), plans))


def selection_notes(names: Sequence[str], layers: LayersSettings) -> list[str]:
    """Patterns that match none of the tensors `names`, which most likely are misspelt."""
    patterns = [("layers.include", pattern) for pattern in layers.include]
    patterns += [("layers.exclude", pattern) for pattern in layers.exclude]
    patterns += [("layers.overrides", override.match) for override in layers.overrides]
    unused = [(key, one) for key, one in patterns if not any(fnmatchcase(name, one) for name in names)]
    return [f"{key}: {pattern!r} {MATCHES_NO_TENSOR} of the network" for key, pattern in unused]


def computed_notes(model: nn.Module) -> list[str]:
    """Layers whose weight is neither a parameter nor one of those that `fold_computed` knows how to replace."""
    return [
        f"{name}: its weight is computed, so it is not pruned; make it a torch.nn.Parameter"
        for name, module in model.named_modules()
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED, *EMBEDDINGS, nn.Linear))
        and module._parameters.get("weight") is None
    ]


def transform_notes(plans: Sequence[TensorPlan], settings: Settings) -> list[str]:
    """What a reader must know about the transform: levels that were clamped, tensors left alone."""
    method = settings.method.name
    if not uses_basis_with_levels(method):
        return []
    clamped = bool(registry.row(registry.Method, method).level_limit)
    if clamped and transforms_nothing(plans):
        return [f"nothing was transformed: method={method} left no tensor a level, which is magnitude pruning"]
    notes = []
    for plan in plans:
        wanted = plan.requested_level
        if not any(plan.levels):
            which = "its shortest axis allows no" if clamped else f"no axis of layout {plan.layout} allows a"
            notes.append(f"{plan.name}: not transformed, {which} level of {plan.wavelet}")
        elif wanted != "max" and min(plan.levels) < int(wanted):
            notes.append(f"{plan.name}: level {wanted} was asked for, its axes allow {list(plan.levels)}")
    return notes
