"""Which units of a group are superfluous, and of the zero ones that are not, why."""

from collections.abc import Mapping

import numpy as np
from torch import nn

from wavesweep.shrink.graph import Group, Indices, Part
from wavesweep.shrink.observe import Inputs


class Reasons:
    """Why superfluous units are kept: per layer and reason how many, and the largest constant that they emit."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, float]] = {}

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()

    def add(self, layer: str, reason: str, units: int = 1, emitted: float = 0.0) -> None:
        """Note units of a layer."""
        count, largest = self._found.get((layer, reason), (0, 0.0))
        if units:
            self._found[layer, reason] = count + units, max(largest, abs(emitted))

    def rows(self) -> list[dict[str, object]]:
        """One row per layer and reason."""
        return [
            {"layer": layer, "units": units, "reason": reason.replace("{}", f"{emitted:.3g}")}
            for (layer, reason), (units, emitted) in self._found.items()
        ]


def removable(group: Group, inputs: Mapping[str, Inputs], obstacle: str | None, reasons: Reasons) -> Indices:
    """The units of a group that can go without a change of the network's outputs."""
    live, readers = _by_unit(group.producers), _by_unit(group.consumers)
    going = []
    for unit in group.units.tolist():
        why = _why_not(unit, group, live.get(unit, []), readers.get(unit, []), inputs)
        if obstacle is not None and (why is None or group.obstacle):
            why = obstacle, 0.0
        if why is None:
            going.append(unit)
        else:
            # A unit that is read, or put out, is superfluous only in the layers where it is zero.
            _note(group, unit, live.get(unit, []) if readers.get(unit) or not group.consumers else [], why, reasons)
    for part in group.parts:
        gone = part.of(np.array(going, np.int64))
        if len(gone) and len(gone) == part.length:
            spared = int(part.units[np.isin(part.units, going)][0])
            going.remove(spared)
            _note(group, spared, [], ("is the last unit of its layer", 0.0), reasons)
    return np.array(going, np.int64)


def _by_unit(parts: list[Part]) -> dict[int, list[Part]]:
    """The parts in which a unit's weights are not all zero."""
    found: dict[int, list[Part]] = {}
    for part in parts:
        weight = part.weight.detach().transpose(0, int(part.inputs))
        is_live = weight.flatten(1).ne(0).any(1).numpy()
        for unit in np.unique(part.units[is_live[part.indices]]).tolist():
            found.setdefault(unit, []).append(part)
    return found


def _why_not(
    unit: int, group: Group, live: list[Part], readers: list[Part], inputs: Mapping[str, Inputs]
) -> tuple[str, float] | None:
    """Why a unit must stay, with the constant that it emits; None where it may go."""
    if not group.consumers:
        return "is an output of the network", 0.0
    if live and readers:
        return f"is added to a unit of {live[0].name} that is not zero", 0.0
    for part in readers:
        seen = inputs.get(part.name)
        if seen is None or seen.calls != 1:
            return f"is read by {part.name}, which is not called exactly once", 0.0
        columns = part.of(np.array([unit]))
        if not seen.constant[columns].all():
            return f"is not a constant where {part.name} reads it", 0.0
        emitted = seen.value[columns]
        largest = float(np.abs(emitted).max(initial=0))
        if largest == 0:
            continue
        if not _same_everywhere(part.module):
            return f"emits a constant ({{}} at most) that the zero padding of {part.name} does not continue", largest
        if part.module.bias is None:
            return f"emits a constant ({{}} at most) that {part.name}, without a bias, cannot take up", largest
    return None


def _same_everywhere(layer: nn.Module) -> bool:
    """Whether a constant input adds the same number at all positions, borders included."""
    padding = getattr(layer, "padding", 0)
    none = padding == "valid" or padding == 0 or (isinstance(padding, tuple) and not any(padding))
    return isinstance(layer, nn.Linear) or none or getattr(layer, "padding_mode", "zeros") != "zeros"


def _note(group: Group, unit: int, needed: list[Part], why: tuple[str, float], reasons: Reasons) -> None:
    """Note why a unit stays in the layers that compute it, apart from those where it is `needed`."""
    alive = {part.name for part in needed}
    for part in group.producers:
        if part.name not in alive and len(part.of(np.array([unit]))):
            reasons.add(part.name, why[0], 1, why[1])
