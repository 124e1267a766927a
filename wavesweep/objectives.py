"""What a search can maximise or minimise, read from the record of a trial: always the validation split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wavesweep.config import ConstraintSettings

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Objective:
    """A number of a trial's main arm; `worst` is that of the reference point of the hypervolume."""

    maximize: bool
    value: Callable[[Record], float]
    worst: Callable[[Record], float]
    shown: Callable[[float], str]
    title: str

    @property
    def direction(self) -> str:
        """Optuna's name of the direction."""
        return "maximize" if self.maximize else "minimize"


def _main(record: Record) -> Any:
    return record["arms"][0]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


# The names are OBJECTIVES of `wavesweep.config`.
_ALL = {
    "accuracy": Objective(
        True, lambda r: float(_main(r)["validation"]["accuracy"]), lambda r: 0.0, _percent, "validation %"
    ),
    "f1": Objective(True, lambda r: float(_main(r)["validation"]["f1"]), lambda r: 0.0, _percent, "validation F1 %"),
    "stored_bytes": Objective(
        False, lambda r: float(_main(r)["stored_bytes"]), lambda r: float(_main(r)["dense_bytes"]), _count, "bytes"
    ),
    "sparsity": Objective(
        True, lambda r: float(_main(r)["coefficient_sparsity"]), lambda r: 0.0, _percent, "sparsity %"
    ),
    "macs": Objective(False, lambda r: float(_main(r)["macs"]), lambda r: float(r["baseline"]["macs"]), _count, "MACs"),
}


def objectives_of(names: Sequence[str]) -> tuple[Objective, ...]:
    """The objectives of these names."""
    return tuple(_ALL[name] for name in names)


def accuracy_drop(record: Record) -> float:
    """Points of validation accuracy that the main arm lost against the baseline."""
    return 100 * float(record["baseline"]["validation"]["accuracy"] - _main(record)["validation"]["accuracy"])


def violations(record: Record, limits: ConstraintSettings) -> dict[str, float]:
    """By how much the main arm exceeds each constraint that is set; what satisfies it is not above zero."""
    found = {}
    if limits.max_drop is not None:
        found["max_drop"] = accuracy_drop(record) - limits.max_drop
    if limits.max_bytes is not None:
        found["max_bytes"] = float(_main(record)["stored_bytes"] - limits.max_bytes)
    if limits.min_sparsity is not None:
        found["min_sparsity"] = limits.min_sparsity - 100 * float(_main(record)["coefficient_sparsity"])
    return found
