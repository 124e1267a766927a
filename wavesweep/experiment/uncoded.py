"""What of a file is not coded: tensors that are neither pruned nor quantised, though the user did not say so."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from wavesweep.codec.container import read_container
from wavesweep.pruning.plan import EXCLUDED, NOT_A_TYPE, NOT_INCLUDED, SAME_AS, TensorPlan
from wavesweep.runtime.terminal import some
from wavesweep.settings.effective import NOT_CODED
from wavesweep.settings.schema import LayersSettings

# Below this share of the file nothing is said.
_SHARE = 0.1


def uncoded_notes(content: bytes, others: Sequence[TensorPlan], layers: LayersSettings) -> list[str]:
    """A note if more than a tenth of a file are tensors of several axes that are stored number by number.

    Vectors such as biases do not count, nor what the settings leave out.

    Args:
        content: of the file.
        others: the parameters that are not pruned, with the reason.
        layers: which tensors may be pruned.
    """
    reasons = {plan.name: plan.reason for plan in others}
    sizes = {
        entry["name"]: _bytes(entry)
        for entry in read_container(content).header["tensors"]
        if entry["kind"] == "raw" and len(entry["shape"]) > 1 and not _is_left_out(entry["name"], reasons, layers)
    }
    share = sum(sizes.values()) / len(content)
    if share <= _SHARE:
        return []
    largest = sorted(sizes, key=lambda name: -sizes[name])
    kinds = {_reason(name, reasons).partition(" ")[0] for name in sizes if NOT_A_TYPE in _reason(name, reasons)}
    remedy = f"; with layers.types=[{','.join([*layers.types, *sorted(kinds)])}] more are" if kinds else ""
    why = f"being no weights of {', '.join(layers.types)} layers"
    return [f"{100 * share:.0f} % of the file are tensors that {NOT_CODED}, {why}: {some(largest)}{remedy}"]


def _is_left_out(name: str, reasons: Mapping[str, str], layers: LayersSettings) -> bool:
    """Whether the user's own settings say that it is not pruned."""
    reason = _reason(name, reasons)
    by_type = NOT_A_TYPE in reason and layers.types != LayersSettings().types
    return by_type or reason.startswith((EXCLUDED, NOT_INCLUDED))


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    """Why it is not pruned: of a second name, that of the first."""
    reason = reasons.get(name, "")
    return reasons.get(reason.removeprefix(SAME_AS).strip(), "") if reason.startswith(SAME_AS) else reason


def _bytes(entry: Mapping[str, Any]) -> int:
    itemsize: int = np.dtype(entry["stored"]).itemsize
    return int(prod(entry["shape"])) * itemsize
