"""What a search finds: its front, hypervolume and best trials; and the files that it leaves beside its study."""

import csv
import io
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from optuna.trial import FrozenTrial, TrialState

from wavesweep.experiment.early import FRONT_FILE
from wavesweep.measure.fronts import hypervolume, non_dominated
from wavesweep.runtime.metrics import primary_of, task_entry
from wavesweep.runtime.records import write_atomically, write_json
from wavesweep.runtime.shapes import StudyTrial, has_shape
from wavesweep.runtime.study_storage import without_password
from wavesweep.settings.effective import ABOUT_INPUTS
from wavesweep.settings.schema import VOLATILE, PathsSettings, SearchSettings, Settings
from wavesweep.sweep.objectives import Objective, Record, accuracy_drop, drop_interval, percent_lost, single_ms
from wavesweep.sweep.search.limits import Best, best_trials
from wavesweep.sweep.search.space import Points
from wavesweep.sweep.search.study import SharedStudy

HISTORY_FILE, BEST_FILE = "history.csv", "best.yaml"


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
    main, metric = record["arms"][0], primary_of(record)
    return {
        **task_entry(metric),
        metric.name: main["validation"][metric.name],
        f"test_{metric.name}": main["test"][metric.name],
        "drop": accuracy_drop(record),
        "percent_lost": percent_lost(record),
        "drop_interval": drop_interval(record),
        "test_drop": accuracy_drop(record, "test"),
        "test_drop_interval": drop_interval(record, "test"),
        "stored_bytes": main["stored_bytes"],
        "sparsity": main["coefficient_sparsity"],
        "inference_ms": single_ms(record),
        "seconds": record["seconds"]["total"],
        "reference": [one.worst(record) for one in objectives],
        "notes": [note for note in record.get("notes", ()) if note.startswith(ABOUT_INPUTS)],
    }


def front_json(summary: Summary, best: Sequence[Best]) -> dict[str, Any]:
    """The content of `front.json`."""
    task = {"task": summary.trials[0].user_attrs["measures"].get("task")} if summary.trials else {}
    return {
        "study": summary.study,
        **{name: value for name, value in task.items() if value is not None},
        "objectives": [
            {"name": name, "direction": one.direction}
            for name, one in zip(summary.names, summary.objectives, strict=True)
        ],
        "complete_trials": len(summary.trials),
        "reference": summary.reference,
        "hypervolume": summary.hypervolume,
        "front": [_plain(trial) for trial in summary.front],
        "best": [
            {
                "constraint": one.constraint,
                "wanted": one.wanted,
                "trial": one.trial and _plain(one.trial),
                "nearest": one.nearest and _plain(one.nearest),
            }
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
            (
                known[name]
                for name in ("error", "crash", "duplicate_of", "transforms_nothing", "stopped_early")
                if name in known
            ),
            "",
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
    metric = primary_of(known["measures"])
    names = (metric.name, f"test_{metric.name}", "drop", "stored_bytes", "sparsity")
    later = ("drop_interval", "test_drop", "test_drop_interval")  # not in studies from before there were intervals
    return {
        "number": trial.number,
        "key": known["key"],
        "params": trial.params,
        "values": trial.values,
        **{name: known["measures"][name] for name in names},
        **{name: known["measures"].get(name) for name in later},
    }


def write_study_json(directory: Path, url: str, base: Settings) -> None:
    """What other programs need to find the study and to name it."""
    search = base.search
    content = {
        "name": directory.name,
        "storage": without_password(url),
        "objectives": list(search.objectives),
        "sampler": search.sampler,
        "n_trials": search.n_trials,
        "model": base.model.name,
        "dataset": base.dataset.name,
    }
    write_json(directory / "study.json", content)


def write_results(study: SharedStudy, points: Points, objectives: Sequence[Objective]) -> Summary:
    """Write the front, the trials and the best one as they are now; returns what the front is made of."""
    directory, options = study.directory, points.base.search
    trials = study.study.get_trials(deepcopy=False)
    complete = tuple(trial for trial in trials if _is_complete(trial, len(objectives)))
    summary = Summary(directory.name, tuple(options.objectives), tuple(objectives), complete)
    best = best_trials(complete, options.constraints)
    write_json(directory / FRONT_FILE, front_json(summary, best))
    write_atomically(directory / HISTORY_FILE, history_csv(trials, options.objectives))
    chosen = best[-1].trial or (summary.front[0] if summary.front else None)
    if chosen is not None:
        write_atomically(directory / BEST_FILE, best_yaml(points.settings(chosen.params), chosen, directory))
    return summary


def _is_complete(trial: FrozenTrial, objectives: int) -> bool:
    """Whether a trial is complete, and what the study keeps of it is whole."""
    is_whole = has_shape(trial.user_attrs, StudyTrial) and len(trial.values or ()) == objectives
    return trial.state == TrialState.COMPLETE and is_whole


def best_yaml(settings: Settings, trial: FrozenTrial, directory: Path) -> bytes:
    """All settings of the trial, on top of the usual configuration; the head says how to run it."""
    plain = asdict(replace(settings, search=SearchSettings(), paths=PathsSettings()))
    # Where things are, and how they are shown, is the business of whoever runs it.
    content = {key: value for key, value in plain.items() if key not in VOLATILE}
    measures = trial.user_attrs["measures"]
    metric = primary_of(measures)
    name, worse = ("", "below") if metric.is_accuracy else (f"{metric.name} ", "worse than")
    lost = f"{metric.shown_drop(measures['drop'])} {metric.lost_unit}".rstrip()
    head = (
        f"# Trial {trial.number} of the study {directory.name}: {measures['stored_bytes']:,} bytes, "
        f"validation {name}{metric.with_unit(metric.value(measures))}\n"
        f"# ({lost} {worse} the baseline). Run it with\n"
        f"#   {rerun_command(directory)}\n"
    )
    text: str = head + yaml.safe_dump({"defaults": ["config", "_self_"], **content}, sort_keys=False)
    return text.encode()


def rerun_command(directory: Path) -> str:
    """The command that runs `best.yaml` of a study."""
    return f"python -m wavesweep --config-dir {shlex.quote(str(directory))} --config-name best"
