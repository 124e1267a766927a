"""What sweeps look for, read from the record of a trial by its validation split: objectives, limits, the best."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wavesweep.runtime.metrics import ACCURACY, SHARE, PrimaryMetric, primary_of
from wavesweep.settings import registry
from wavesweep.settings.schema import ConstraintSettings, Settings, TaskSettings

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


def metric_of(settings: Settings) -> PrimaryMetric:
    """The primary metric of the task that settings name; that of classification does without PyTorch."""
    if settings.task == TaskSettings():
        return ACCURACY
    from wavesweep.tasks.load import load_task

    return load_task(settings.task).primary_metric


def _main(record: Record) -> Any:
    return record["arms"][0]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def accuracy(record: Record) -> float:
    """The primary metric on the validation split: accuracy, where the task has one."""
    return primary_of(record).value(_main(record)["validation"])


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


def twice_the_baseline(record: Record) -> float:
    """The worst value of a metric that is to be small."""
    return 2 * abs(primary_of(record).value(record["baseline"]["validation"]))


def dense_bytes(record: Record) -> float:
    """The worst size: that of the network in float32."""
    return float(_main(record)["dense_bytes"])


def dense_macs(record: Record) -> float:
    """The worst number of multiply-accumulates: that of the baseline."""
    return float(record["baseline"]["macs"])


def objectives_of(names: Sequence[str], metric: PrimaryMetric = ACCURACY) -> tuple[Objective, ...]:
    """The objectives of these names; `accuracy` stands for the primary metric of the task."""

    def of(row: registry.Objective) -> Objective:
        if row.name == ACCURACY.name and not metric.is_accuracy:
            worst = zero if metric.maximize else twice_the_baseline
            return Objective(metric.maximize, accuracy, worst, metric.shown, f"validation {metric.label}")
        shown = _percent if row.is_percent else _count
        return Objective(row.maximize, row.load(), registry.loaded(row.worst), shown, row.title)

    return tuple(of(registry.row(registry.Objective, name)) for name in names)


def accuracy_drop(record: Record, split: str = "validation") -> float:
    """What the main arm lost of the primary metric against the baseline: points of accuracy."""
    return primary_of(record).drop(record["baseline"][split], _main(record)[split])


def percent_lost(record: Record) -> float:
    """What the main arm lost of the primary metric on validation, in percent of the baseline's."""
    return primary_of(record).percent_lost(record["baseline"]["validation"], _main(record)["validation"])


def drop_interval(record: Record, split: str = "validation") -> list[float] | None:
    """The 95 % interval of these points; None in records from before there was one."""
    known = _main(record).get("drop", {}).get(split)
    return None if known is None else [known["low"], known["high"]]


def violations(record: Record, limits: ConstraintSettings) -> dict[str, float]:
    """By how much the main arm exceeds each constraint that is set; what satisfies it is not above zero."""
    main = _main(record)
    drop = percent_lost(record) if limits.max_drop_in == "percent" else accuracy_drop(record)
    return excesses(drop, main["stored_bytes"], main["coefficient_sparsity"], single_ms(record), limits)


def single_ms(record: Record) -> float:
    """Milliseconds that the main arm's network takes for one input."""
    return float(_main(record)["inference_ms"]["single"]["median"])


def excesses(
    drop: float, stored_bytes: int, sparsity: float, inference_ms: float, limits: ConstraintSettings
) -> dict[str, float]:
    """By how much a trial exceeds each constraint that is set: points of accuracy, bytes, percent, milliseconds.

    `drop` is in percent of the baseline's value where `limits.max_drop_in` says so.
    """
    found = {}
    if limits.max_drop is not None:
        found["max_drop"] = drop - limits.max_drop
    if limits.max_bytes is not None:
        found["max_bytes"] = float(stored_bytes - limits.max_bytes)
    if limits.max_ms is not None:
        found["max_ms"] = inference_ms - limits.max_ms
    if limits.min_sparsity is not None:
        found["min_sparsity"] = limits.min_sparsity - 100 * sparsity
    return {name: round(excess, 9) for name, excess in found.items()}  # 95 - 90 % is not more than 5 points


def limits_of(chosen: ConstraintSettings, metric: PrimaryMetric = ACCURACY) -> ConstraintSettings:
    """The constraints that are set, or the usual one where none is."""
    is_open = replace(chosen, max_drop_in="units", prefer=None) == ConstraintSettings()
    return replace(usual_limits(metric), prefer=chosen.prefer) if is_open else chosen


def usual_limits(metric: PrimaryMetric) -> ConstraintSettings:
    """What is asked of the best trial where no constraint is set: a point, or a percent of a metric without points."""
    return USUAL_LIMITS if metric.unit == SHARE else replace(USUAL_LIMITS, max_drop_in="percent")


def prefers_small(limits: ConstraintSettings) -> bool:
    """Whether the smallest file is the best of those within the limits, or the most accurate one."""
    return limits.max_drop is not None if limits.prefer is None else limits.prefer == "small"


@dataclass(frozen=True)
class Candidate:
    """The best trial so far; its accuracy, or other primary metric, is that of validation. Greater `rank` is better."""

    name: str
    accuracy: float
    drop: float
    stored_bytes: int
    rank: tuple[bool, float]
    metric: PrimaryMetric = ACCURACY

    def __str__(self) -> str:
        text = f"{self.stored_bytes:,} bytes, validation {self._quality}"
        return f"{text}, {self.name}"

    @property
    def _quality(self) -> str:
        if self.metric.is_accuracy:
            return f"{100 * self.accuracy:.2f} % ({0.0 - self.drop:+.2f})"
        return f"{self.metric.name} {self.metric.with_unit(self.accuracy)} ({0.0 - self.metric.sign * self.drop:+.4g})"


def candidate(record: Mapping[str, Any], name: str, limits: ConstraintSettings) -> Candidate:
    """The trial of `record`: what is within the limits comes before what is not.

    Of those within, the smaller file is better where accuracy is limited, else the more accurate one; of the others
    always the more accurate one.
    """
    main, metric = record["arms"][0], primary_of(record)
    size = main["stored_bytes"]
    limits = usual_limits(metric) if limits == USUAL_LIMITS else limits
    fits = max(violations(record, limits).values(), default=0.0) <= 0
    rank = (fits, -size if fits and prefers_small(limits) else metric.score(main["validation"]))
    return Candidate(name, metric.value(main["validation"]), accuracy_drop(record), size, rank, metric)
