"""What of a file is not coded: tensors that are neither pruned nor quantised, and what is said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wavesweep.codec.container import read_container
from wavesweep.codec.limits import UNLIMITED
from wavesweep.codec.read import raw_bytes
from wavesweep.pruning.plan import EXCLUDED, NOT_A_TYPE, NOT_INCLUDED, SAME_AS, TensorPlan
from wavesweep.runtime.terminal import some
from wavesweep.settings.effective import NOT_CODED
from wavesweep.settings.schema import LayersSettings

# Below this share of the file nothing is said.
_SHARE = 0.1
_BUFFER = "a buffer"


@dataclass(frozen=True)
class Uncoded:
    """A tensor that a file holds number by number: how many bytes of it, which share of the file, and why."""

    name: str
    shape: tuple[int, ...]
    bytes: int
    share: float
    reason: str

    @property
    def is_matrix(self) -> bool:
        """Whether it has several axes; vectors such as biases have one."""
        return len(self.shape) > 1

    @property
    def described(self) -> str:
        """Its name, with its share of the file."""
        return f"{self.name} ({_percent(self.share)}{', a buffer' if self.reason == _BUFFER else ''})"


def uncoded_tensors(content: bytes, others: Sequence[TensorPlan]) -> tuple[Uncoded, ...]:
    """The tensors of a file that are not coded, the largest first.

    Args:
        content: of the file, which is one of ours.
        others: the parameters that are not pruned, with the reason.
    """
    reasons = {plan.name: plan.reason for plan in others}
    header = read_container(content, UNLIMITED.header_bytes).header
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in header["tensors"] if entry["kind"] == "raw"}
    found = [
        Uncoded(name, shapes[name], size, size / len(content), _reason(name, reasons))
        for name, size in raw_bytes(header).items()
    ]
    return tuple(sorted(found, key=lambda one: -one.bytes))


def uncoded_record(tensors: Sequence[Uncoded]) -> dict[str, Any]:
    """What a trial's record says of them."""
    rows = [asdict(one) for one in tensors]
    return {"bytes": sum(one.bytes for one in tensors), "share": sum(one.share for one in tensors), "tensors": rows}


def uncoded_notes(tensors: Sequence[Uncoded], layers: LayersSettings) -> list[str]:
    """A note if more than a tenth of a file are tensors of several axes that are not coded.

    Vectors such as biases do not count, nor what the settings leave out.

    Args:
        tensors: those of the file.
        layers: which tensors may be pruned.
    """
    told = [one for one in tensors if one.is_matrix and not _is_left_out(one.reason, layers)]
    share = sum(one.share for one in told)
    if share <= _SHARE:
        return []
    names = some([one.described for one in told])
    by_types = any(NOT_A_TYPE in one.reason for one in told)
    return [
        f"{_percent(share)} of the file are tensors that {NOT_CODED}: {names}"
        + ("; with layers.types=[all] all parameters of several axes are" if by_types else "")
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _is_left_out(reason: str, layers: LayersSettings) -> bool:
    """Whether the user's own settings say that a tensor is not pruned."""
    by_type = NOT_A_TYPE in reason and layers.types != LayersSettings().types
    return by_type or reason.startswith((EXCLUDED, NOT_INCLUDED))


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    """Why it is not pruned: of a second name, that of the first."""
    reason = reasons.get(name, _BUFFER)
    return reasons.get(reason.removeprefix(SAME_AS).strip(), "") if reason.startswith(SAME_AS) else reason
