"""The best trial under the constraints of a search; where none satisfies them, what came nearest and what to try."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from wavesweep.runtime.metrics import ACCURACY, SHARE, PrimaryMetric, primary_of
from wavesweep.settings.schema import ConstraintSettings, Settings
from wavesweep.sweep.objectives import excesses, limits_of, prefers_small


@dataclass(frozen=True)
class Best:
    """The best trial under a constraint, in words; None where no trial satisfies it, and then what came nearest.

    `beyond` says by how much that one exceeds each limit.
    """

    constraint: str
    wanted: str
    trial: FrozenTrial | None
    nearest: FrozenTrial | None = None
    beyond: str = ""


def best_trials(trials: Sequence[FrozenTrial], limits: ConstraintSettings) -> list[Best]:
    """The best trial under each constraint that is set, then under all of them; the last one is the best of all.

    What `limits.prefer` says is best: by default the smallest file under a limit of accuracy, else the highest
    validation accuracy; of other tasks likewise by their primary metric.
    """
    metric = _metric(trials[0]) if trials else ACCURACY
    limits = limits_of(limits, metric)
    each = [
        ConstraintSettings(**{name: getattr(limits, name)}, max_drop_in=limits.max_drop_in, prefer=limits.prefer)
        for name in ("max_drop", "max_bytes", "max_ms", "min_sparsity")
        if getattr(limits, name) is not None
    ]
    found = [_best(trials, limit, metric) for limit in each]
    return found if len(found) == 1 else [*found, _best(trials, limits, metric)]


def remedies(settings: Settings, keys: Sequence[str]) -> tuple[str, ...]:
    """What may find a trial that satisfies the constraints, with these settings and keys that vary."""
    found = [f"more trials (search.n_trials={2 * settings.search.n_trials} continues)"]
    if "retrain" not in keys and settings.retrain.name == "none":
        found.append("retraining (retrain=choice(none,rate) search.study=NAME)")
    else:
        found.append("longer retraining (retrain.epochs=50 search.study=NAME)")
    found.append("limits that the front above satisfies (search.constraints... search.study=NAME)")
    return tuple(found)


def _metric(trial: FrozenTrial) -> PrimaryMetric:
    return primary_of(trial.user_attrs["measures"])


def _best(trials: Sequence[FrozenTrial], limits: ConstraintSettings, metric: PrimaryMetric) -> Best:
    fitting = [trial for trial in trials if is_within(trial, limits)]
    smallest = prefers_small(limits)
    quality = "highest validation accuracy" if metric.is_accuracy else f"best validation {metric.name}"
    wanted = "smallest file" if smallest else quality

    def rank(trial: FrozenTrial) -> tuple[float, ...]:
        measures = trial.user_attrs["measures"]
        size, accuracy = float(measures["stored_bytes"]), -metric.score(measures)
        return (size, accuracy, trial.number) if smallest else (accuracy, size, trial.number)

    best = min(fitting, key=rank, default=None)
    nearest = min(trials, key=lambda trial: _distance(trial, limits), default=None) if best is None else None
    beyond = _beyond_text(_exceeded(nearest, limits), limits, metric) if nearest else ""
    return Best(_constraint_text(limits, metric), wanted, best, nearest, beyond)


def _exceeded(trial: FrozenTrial, limits: ConstraintSettings) -> dict[str, float]:
    measures = trial.user_attrs["measures"]
    # In studies from before it could be counted in percent, or times were limited, there is none.
    percent = measures.get("percent_lost", math.inf)
    drop = percent if limits.max_drop_in == "percent" else measures["drop"]
    ms = measures.get("inference_ms", math.inf)
    found = excesses(drop, measures["stored_bytes"], measures["sparsity"], ms, limits)
    return {name: excess for name, excess in found.items() if excess > 0}


def _distance(trial: FrozenTrial, limits: ConstraintSettings) -> tuple[float, int]:
    """How far a trial is from satisfying all limits, in points; a tenth of bytes or time counts as one point."""
    far = _exceeded(trial, limits)
    for name, limit in (("max_bytes", limits.max_bytes), ("max_ms", limits.max_ms)):
        if limit:
            far[name] = 10 * far.get(name, 0.0) / limit
    return sum(far.values()), trial.number


def _lost_unit(limits: ConstraintSettings, metric: PrimaryMetric) -> str:
    return "%" if limits.max_drop_in == "percent" else metric.lost_unit


def _beyond_text(exceeded: Mapping[str, float], limits: ConstraintSettings, metric: PrimaryMetric) -> str:
    digits = ".2f" if metric.unit == SHARE or limits.max_drop_in == "percent" else ".4g"
    texts = {
        "max_drop": " ".join(f"{{:{digits}}} {_lost_unit(limits, metric)} lost too many".split()),
        "max_bytes": "{:,.0f} bytes too many",
        "max_ms": "{:.3g} ms too many",
        "min_sparsity": "{:.2f} % of sparsity too few",
    }
    return ", ".join(texts[name].format(excess) for name, excess in exceeded.items())


def is_within(trial: FrozenTrial, limits: ConstraintSettings) -> bool:
    """Whether a complete trial satisfies the constraints that are set, or the usual one where none is."""
    return not _exceeded(trial, limits_of(limits, _metric(trial)))


def _constraint_text(limits: ConstraintSettings, metric: PrimaryMetric) -> str:
    parts = []
    if limits.max_drop is not None:
        unit = _lost_unit(limits, metric)
        parts.append(f"at most {limits.max_drop:g} {unit + ' ' if unit else ''}of validation {metric.name} lost")
    if limits.max_bytes is not None:
        parts.append(f"at most {limits.max_bytes:,} bytes")
    if limits.max_ms is not None:
        parts.append(f"at most {limits.max_ms:g} ms for one input")
    if limits.min_sparsity is not None:
        parts.append(f"sparsity at least {limits.min_sparsity:g} %")
    return ", ".join(parts)
