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
        """Its name, with its share of the file, and why where the settings or the network say so plainly."""
        is_plain = self.reason == _BUFFER or self.reason.startswith((EXCLUDED, NOT_INCLUDED))
        return f"{self.name} ({_percent(self.share)}{f', {self.reason}' if is_plain else ''})"


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


def uncoded_notes(tensors: Sequence[Uncoded]) -> list[str]:
    """A note if more than a tenth of a file are tensors of several axes that are not coded; biases and the like, which
    `quantize.other` stores, do not count.

    Args:
        tensors: those of the file.
    """
    told = [one for one in tensors if one.is_matrix]
    share = sum(one.share for one in told)
    if share <= _SHARE:
        return []
    by_types = any(NOT_A_TYPE in one.reason for one in told)
    return [
        f"{_percent(share)} of the file are tensors that {NOT_CODED}: {some([one.described for one in told])}"
        + ("; with layers.types=[all] all parameters of several axes are" if by_types else "")
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    """Why it is not pruned: of a second name, that of the first."""
    reason = reasons.get(name, _BUFFER)
    return reasons.get(reason.removeprefix(SAME_AS).strip(), "") if reason.startswith(SAME_AS) else reason
