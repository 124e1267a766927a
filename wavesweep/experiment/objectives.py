"""What sweeps look for, read from the record of a trial by its validation split: objectives, limits, the best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wavesweep.settings import registry
from wavesweep.settings.schema import ConstraintSettings

Record = Mapping[str, Any]
# What is asked of the best trial where no constraint is set.
USUAL_LIMITS = ConstraintSettings(max_drop=1.0)


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


def accuracy(record: Record) -> float:
    """Accuracy on the validation split."""
    return float(_main(record)["validation"]["accuracy"])


def f1(record: Record) -> float:
    """Macro F1 on the validation split."""
    return float(_main(record)["validation"]["f1"])


def stored_bytes(record: Record) -> float:
    """Size of the file."""
    return float(_main(record)["stored_bytes"])


def sparsity(record: Record) -> float:
    """Share of the coefficients that are zero."""
    return float(_main(record)["coefficient_sparsity"])


def macs(record: Record) -> float:
    """Multiply-accumulates for one input."""
    return float(_main(record)["macs"])


def zero(record: Record) -> float:
    """The worst value of what is to be large."""
    return 0.0


def dense_bytes(record: Record) -> float:
    """The worst size: that of the network in float32."""
    return float(_main(record)["dense_bytes"])


def dense_macs(record: Record) -> float:
    """The worst number of multiply-accumulates: that of the baseline."""
    return float(record["baseline"]["macs"])


def objectives_of(names: Sequence[str]) -> tuple[Objective, ...]:
    """The objectives of these names."""
    found = (registry.row(registry.Objective, name) for name in names)
    return tuple(
        Objective(
            row.maximize, row.load(), registry.loaded(row.worst), _percent if row.is_percent else _count, row.title
        )
        for row in found
    )


def accuracy_drop(record: Record, split: str = "validation") -> float:
    """Points of accuracy that the main arm lost against the baseline."""
    return 100 * float(record["baseline"][split]["accuracy"] - _main(record)[split]["accuracy"])


def drop_interval(record: Record, split: str = "validation") -> list[float] | None:
    """The 95 % interval of these points; None in records from before there was one."""
    known = _main(record).get("drop", {}).get(split)
    return None if known is None else [known["low"], known["high"]]


def violations(record: Record, limits: ConstraintSettings) -> dict[str, float]:
    """By how much the main arm exceeds each constraint that is set; what satisfies it is not above zero."""
    main = _main(record)
    return excesses(accuracy_drop(record), main["stored_bytes"], main["coefficient_sparsity"], limits)


def excesses(drop: float, stored_bytes: int, sparsity: float, limits: ConstraintSettings) -> dict[str, float]:
    """By how much a trial exceeds each constraint that is set: points of accuracy, bytes, percent."""
    found = {}
    if limits.max_drop is not None:
        found["max_drop"] = drop - limits.max_drop
    if limits.max_bytes is not None:
        found["max_bytes"] = float(stored_bytes - limits.max_bytes)
    if limits.min_sparsity is not None:
        found["min_sparsity"] = limits.min_sparsity - 100 * sparsity
    return {name: round(excess, 9) for name, excess in found.items()}  # 95 - 90 % is not more than 5 points


def limits_of(chosen: ConstraintSettings) -> ConstraintSettings:
    """The constraints that are set, or the usual one where none is."""
    return USUAL_LIMITS if chosen == ConstraintSettings() else chosen


def prefers_small(limits: ConstraintSettings) -> bool:
    """Whether the smallest file is the best of those within the limits, or the most accurate one."""
    return limits.max_drop is not None


@dataclass(frozen=True)
class Candidate:
    """The best trial so far; its accuracy is that of the validation split. Greater `rank` is better."""

    name: str
    accuracy: float
    drop: float
    stored_bytes: int
    rank: tuple[bool, float]

    def __str__(self) -> str:
        text = f"{self.stored_bytes:,} bytes, validation {100 * self.accuracy:.2f} % ({0.0 - self.drop:+.2f})"
        return f"{text}, {self.name}"


def candidate(record: Mapping[str, Any], name: str, limits: ConstraintSettings) -> Candidate:
    """The trial of `record`: what is within the limits comes before what is not.

    Of those within, the smaller file is better where accuracy is limited, else the more accurate one; of the others
    always the more accurate one.
    """
    main = record["arms"][0]
    accuracy, size = main["validation"]["accuracy"], main["stored_bytes"]
    fits = max(violations(record, limits).values(), default=0.0) <= 0
    rank = (fits, -size if fits and prefers_small(limits) else accuracy)
    return Candidate(name, accuracy, accuracy_drop(record), size, rank)
