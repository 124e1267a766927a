"""The files that a search leaves beside its study: where it is, its front, its trials, its best one to run again."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml
from optuna.trial import FrozenTrial, TrialState

from wavesweep.experiment.early import FRONT_FILE
from wavesweep.runtime.records import write_atomically, write_json
from wavesweep.settings.schema import VOLATILE, PathsSettings, SearchSettings, Settings
from wavesweep.sweep.objectives import Objective
from wavesweep.sweep.search.points import Points
from wavesweep.sweep.search.storage import shown
from wavesweep.sweep.search.study import SharedStudy
from wavesweep.sweep.search.summary import Summary, best_trials, front_json, history_csv

HISTORY_FILE, BEST_FILE = "history.csv", "best.yaml"


def write_study_json(directory: Path, url: str, base: Settings) -> None:
    """What other programs need to find the study and to name it."""
    search = base.search
    content = {
        "name": directory.name,
        "storage": shown(url),
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
    complete = tuple(trial for trial in trials if trial.state == TrialState.COMPLETE)
    summary = Summary(directory.name, tuple(options.objectives), tuple(objectives), complete)
    best = best_trials(complete, options.constraints)
    write_json(directory / FRONT_FILE, front_json(summary, best))
    write_atomically(directory / HISTORY_FILE, history_csv(trials, options.objectives))
    chosen = best[-1].trial or (summary.front[0] if summary.front else None)
    if chosen is not None:
        write_atomically(directory / BEST_FILE, best_yaml(points.settings(chosen.params), chosen, directory))
    return summary


def best_yaml(settings: Settings, trial: FrozenTrial, directory: Path) -> bytes:
    """All settings of the trial, on top of the usual configuration; the head says how to run it."""
    plain = asdict(replace(settings, search=SearchSettings(), paths=PathsSettings()))
    # Where things are, and how they are shown, is the business of whoever runs it.
    content = {key: value for key, value in plain.items() if key not in VOLATILE}
    measures = trial.user_attrs["measures"]
    head = (
        f"# Trial {trial.number} of the study {directory.name}: {measures['stored_bytes']:,} bytes, "
        f"validation {100 * measures['accuracy']:.2f} %\n"
        f"# ({measures['drop']:.2f} points below the baseline). Run it with\n"
        f"#   {rerun_command(directory)}\n"
    )
    text: str = head + yaml.safe_dump({"defaults": ["config", "_self_"], **content}, sort_keys=False)
    return text.encode()


def rerun_command(directory: Path) -> str:
    """The command that runs `best.yaml` of a study."""
    return f"python -m wavesweep --config-dir {shlex.quote(str(directory))} --config-name best"
