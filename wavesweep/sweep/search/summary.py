"""What a search shows and leaves behind: its front, hypervolume and best trials; files beside the study."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from wavesweep.measure.fronts import hypervolume, non_dominated
from wavesweep.settings.schema import ConstraintSettings
from wavesweep.sweep.objectives import Objective, Record, accuracy_drop, excesses, limits_of, prefers_small


@dataclass(frozen=True)
class Best:
    """The best trial under a constraint, in words; None where no trial satisfies it."""

    constraint: str
    wanted: str
    trial: FrozenTrial | None


@dataclass(frozen=True)
class Summary:
    """A search at one moment; its trials are Optuna's, complete ones only."""

    study: str
    names: tuple[str, ...]
    objectives: tuple[Objective, ...]
    trials: tuple[FrozenTrial, ...]

    @property
    def front(self) -> list[FrozenTrial]:
        """The non-dominated trials, the most accurate (best in the first objective) first; of equal ones the first."""
        if not self.trials:
            return []
        values = np.array([trial.values for trial in self.trials])
        mask = non_dominated(values, [one.maximize for one in self.objectives])
        found: dict[tuple[float, ...], FrozenTrial] = {}
        for trial, is_on_front in zip(self.trials, mask, strict=True):
            if is_on_front:
                found.setdefault(tuple(trial.values), trial)
        sign = -1 if self.objectives[0].maximize else 1
        return sorted(found.values(), key=lambda trial: sign * trial.values[0])

    @property
    def reference(self) -> list[float]:
        """The reference point of the hypervolume: accuracy and sparsity 0, bytes and MACs of the dense network."""
        return list(self.trials[0].user_attrs["measures"]["reference"]) if self.trials else []

    @property
    def hypervolume(self) -> float:
        """That of the front, each objective as a share of its range from the reference to its ideal; from 0 to 1."""
        if not self.trials:
            return 0.0
        scales = np.array([r or 1.0 for r in self.reference])
        values = np.array([trial.values for trial in self.trials]) / scales
        corner = [0.0 if one.maximize else 1.0 for one in self.objectives]
        return hypervolume(values, [one.maximize for one in self.objectives], corner)


def measures_of(record: Record, objectives: Sequence[Objective]) -> dict[str, Any]:
    """What the study keeps of a trial's record, so that a summary needs no other file."""
    main = record["arms"][0]
    return {
        "accuracy": main["validation"]["accuracy"],
        "test_accuracy": main["test"]["accuracy"],
        "drop": accuracy_drop(record),
        "stored_bytes": main["stored_bytes"],
        "sparsity": main["coefficient_sparsity"],
        "seconds": record["seconds"]["total"],
        "reference": [one.worst(record) for one in objectives],
    }


def best_trials(trials: Sequence[FrozenTrial], limits: ConstraintSettings) -> list[Best]:
    """The best trial under each constraint that is set, then under all of them; the last one is the best of all.

    Under a limit of accuracy the smallest file is best, else the highest validation accuracy.
    """
    limits = limits_of(limits)
    each = [
        ConstraintSettings(**{name: getattr(limits, name)})
        for name in ("max_drop", "max_bytes", "min_sparsity")
        if getattr(limits, name) is not None
    ]
    found = [_best(trials, limit) for limit in each]
    return found if len(found) == 1 else [*found, _best(trials, limits)]


def print_summary(summary: Summary, best: Sequence[Best], space: Sequence[str]) -> None:
    """The front as a table, its hypervolume, and the best trials."""
    console = Console(markup=False, emoji=False, width=10_000, no_color=True, highlight=False)
    front = summary.front
    if not front:
        console.print("no trial is complete yet")
        return
    table = Table(box=None, pad_edge=False)
    titles = [one.title for one in summary.objectives]
    extra = [title for title in ("bytes",) if title not in titles]
    for number, column in enumerate(("trial", *space, *titles, "test %", *extra)):
        table.add_column(column, justify="left" if 0 < number <= len(space) else "right")
    for trial in front:
        measures = trial.user_attrs["measures"]
        shown = [one.shown(value) for one, value in zip(summary.objectives, trial.values, strict=True)]
        values = [_short(trial.params[key]) for key in space]
        sizes = [f"{measures['stored_bytes']:,}" for _ in extra]
        table.add_row(str(trial.number), *values, *shown, f"{100 * measures['test_accuracy']:.2f}", *sizes)
    console.print(f"Pareto front of {summary.study}: {len(front)} of {len(summary.trials)} complete trials")
    console.print(table)
    corner = ", ".join(
        f"{name} {one.shown(worst)}"
        for name, one, worst in zip(summary.names, summary.objectives, summary.reference, strict=True)
    )
    console.print(f"hypervolume {summary.hypervolume:.4f} (reference point: {corner})")
    for one in best:
        console.print(_in_words(one))


def front_json(summary: Summary, best: Sequence[Best]) -> dict[str, Any]:
    """The content of `front.json`."""
    return {
        "study": summary.study,
        "objectives": [
            {"name": name, "direction": one.direction}
            for name, one in zip(summary.names, summary.objectives, strict=True)
        ],
        "complete_trials": len(summary.trials),
        "reference": summary.reference,
        "hypervolume": summary.hypervolume,
        "front": [_plain(trial) for trial in summary.front],
        "best": [
            {"constraint": one.constraint, "wanted": one.wanted, "trial": one.trial and _plain(one.trial)}
            for one in best
        ],
    }


def history_csv(trials: Sequence[FrozenTrial], names: Sequence[str]) -> bytes:
    """A row per trial in the order they were asked for."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "key", "state", *names, "seconds", "cached", "reason", "params"])
    for trial in trials:
        known = trial.user_attrs
        complete = trial.state == TrialState.COMPLETE
        reason = next(
            (known[name] for name in ("error", "crash", "duplicate_of", "stopped_early") if name in known), ""
        )
        seconds = trial.duration.total_seconds() if trial.duration else ""
        values = trial.values if complete else [""] * len(names)
        state = "warm_start" if known.get("warm_start") else trial.state.name.lower()
        params = json.dumps(trial.params, sort_keys=True)
        row = [trial.number, known.get("key", ""), state, *values, seconds, known.get("cached", ""), reason, params]
        writer.writerow(row)
    return buffer.getvalue().encode()


def _plain(trial: FrozenTrial) -> dict[str, Any]:
    known = trial.user_attrs
    return {
        "number": trial.number,
        "key": known["key"],
        "params": trial.params,
        "values": trial.values,
        **{name: known["measures"][name] for name in ("accuracy", "test_accuracy", "drop", "stored_bytes", "sparsity")},
    }


def _best(trials: Sequence[FrozenTrial], limits: ConstraintSettings) -> Best:
    fitting = [trial for trial in trials if _fits(trial.user_attrs["measures"], limits)]
    smallest = prefers_small(limits)
    wanted = "smallest file" if smallest else "highest validation accuracy"

    def rank(trial: FrozenTrial) -> tuple[float, ...]:
        measures = trial.user_attrs["measures"]
        size, accuracy = float(measures["stored_bytes"]), -float(measures["accuracy"])
        return (size, accuracy, trial.number) if smallest else (accuracy, size, trial.number)

    return Best(_constraint_text(limits), wanted, min(fitting, key=rank, default=None))


def _fits(measures: Mapping[str, Any], limits: ConstraintSettings) -> bool:
    exceeded = excesses(measures["drop"], measures["stored_bytes"], measures["sparsity"], limits)
    return max(exceeded.values(), default=0.0) <= 0


def _constraint_text(limits: ConstraintSettings) -> str:
    parts = []
    if limits.max_drop is not None:
        parts.append(f"at most {limits.max_drop:g} points of validation accuracy lost")
    if limits.max_bytes is not None:
        parts.append(f"at most {limits.max_bytes:,} bytes")
    if limits.min_sparsity is not None:
        parts.append(f"sparsity at least {limits.min_sparsity:g} %")
    return ", ".join(parts)


def _in_words(best: Best) -> str:
    if best.trial is None:
        return f"{best.constraint}: no trial satisfies it"
    found = best.trial.user_attrs["measures"]
    return (
        f"{best.constraint}: {best.wanted} is trial {best.trial.number}, {found['stored_bytes']:,} bytes, validation "
        f"{100 * found['accuracy']:.2f} % ({found['drop']:.2f} points lost), test {100 * found['test_accuracy']:.2f} %"
    )


def _short(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
