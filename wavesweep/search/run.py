"""One process's part in a search: ask Optuna for points, run those that have no record yet, tell, show the front.

Any launcher runs the trials; only this process talks to the study, so a worker may die at any time. Several such
processes can share a study.
"""

import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from hydra.plugins.launcher import Launcher
from optuna.trial import Trial, TrialState

from wavesweep.baseline import load_subject
from wavesweep.checks import check
from wavesweep.config import VOLATILE, Settings, allowed_text
from wavesweep.early import FRONT_FILE
from wavesweep.errors import BusyError, GivenUpError, SettingsError, StoreError, TrialError, WavesweepError
from wavesweep.interrupt import interrupted
from wavesweep.objectives import Objective, objectives_of, violations
from wavesweep.search.files import best_yaml
from wavesweep.search.points import Points
from wavesweep.search.samplers import make_sampler, points_of
from wavesweep.search.space import text_of
from wavesweep.search.storage import open_storage, storage_url
from wavesweep.search.study import Counts, Description, SharedStudy, joined
from wavesweep.search.summary import Summary, best_trials, front_json, history_csv, measures_of, print_summary
from wavesweep.search.warm_start import earlier_trials
from wavesweep.store.keys import differences, trial_key, without_paths
from wavesweep.store.records import check_writable, write_atomically, write_json
from wavesweep.sweep import Outcome, Point, jobs_of, run_points
from wavesweep.trial import choose_device, input_digests, study_directory

# Points that the study has are asked anew; after so many in a row the next is taken as it is.
_DUPLICATES = 50
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Job:
    """A trial of the study and the point it stands for; `was_there`: its record is older than the trial."""

    trial: Trial
    point: Point
    was_there: bool


def search(points: Points, launcher: Launcher | None) -> None:
    """Run the study that the settings of the points describe up to its number of trials, and show it.

    Raises:
        SettingsError: a setting is wrong, or the study exists with others; nothing was trained.
        TrialError: some trials failed; all others are kept and shown.
        StoreError: records or the study cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    base, options = points.base, points.base.search
    check_writable(Path(base.paths.outputs))
    choose_device(base.device)
    directory = study_directory(base)
    url = storage_url(options.storage, directory)
    digests = input_digests(base, load_subject(base))
    space = points.space.distributions
    make_sampler(options.sampler, options.seed, space)  # an error before anything is made
    count = points_of(space)
    wanted = options.n_trials if count is None else min(options.n_trials, count)
    objectives = objectives_of(options.objectives)
    description = Description(
        tuple(one.direction for one in objectives),
        tuple(options.objectives),
        {key: text_of(one) for key, one in space.items()},
        _fixed_settings(base, set(space), digests),
    )

    def sampler_of(seed: int) -> optuna.samplers.BaseSampler:
        return make_sampler(options.sampler, seed, space)

    with joined(directory.name, directory, open_storage(url), sampler_of, description, options.seed) as study:
        write_json(directory / "study.json", _study_json(directory.name, url, base))
        process = _Process(points, launcher, study, objectives, digests, wanted)
        if options.warm_start:
            process.warm_start()
        try:
            process.run()
        except BaseException:
            if interrupted():
                study.leave()
                process.show()
            raise
        process.show()
        failed = study.counts().failed
    if failed:
        raise TrialError(f"{failed} of {wanted} trials failed, see {directory / 'history.csv'}; the others are kept")


@dataclass(frozen=True)
class _Process:
    points: Points
    launcher: Launcher | None
    study: SharedStudy
    objectives: tuple[Objective, ...]
    digests: dict[str, str]
    wanted: int

    @property
    def base(self) -> Settings:
        return self.points.base

    def run(self) -> None:
        """Run batches until the study has as many trials as are wanted."""
        study, base, wanted = self.study, self.base, self.wanted
        together = base.search.n_jobs or jobs_of(self.launcher)
        started, first = time.perf_counter(), study.counts().ended
        waited = False
        while True:
            jobs, counts = self._ask(together)
            if not jobs and counts.ended >= wanted:
                return
            if not jobs:
                if not waited:
                    print(f"waiting for {counts.running} trials of other processes", file=sys.stderr, flush=True)
                waited = True
                time.sleep(_POLL_SECONDS)
                continue
            missing = [job.point for job in jobs if not job.was_there]
            outcomes = dict(zip([point.key for point in missing], self._outcomes(missing), strict=True))
            with study.locked():
                for job in jobs:
                    self._tell(job, outcomes.get(job.point.key))
                counts = study.counts()
            summary = self._write()
            if base.progress:
                done, seconds = counts.ended - first, time.perf_counter() - started
                _print_progress(counts, wanted, done, seconds, summary)

    def _ask(self, together: int) -> tuple[list[Job], Counts]:
        """The next trials of this process: none where the study is done, or all others are being computed."""
        study, space = self.study, self.points.space.distributions
        with study.locked():
            study.settle_lost_trials()
            counts = study.counts()
            left = self.wanted - counts.ended - counts.running
            taken = study.keys_taken()
            jobs: list[Job] = []
            duplicates = 0
            while len(jobs) < min(left, together):
                trial = study.ask(space)
                try:
                    settings = self.points.settings(trial.params)
                    check(settings)
                except SettingsError as error:
                    study.tell_failed(trial.number, error=str(error))
                    left -= 1
                    continue
                key = trial_key(settings, self.digests)
                if key in taken and duplicates < _DUPLICATES:
                    study.tell_failed(trial.number, duplicate_of=str(taken[key]))
                    duplicates += 1
                    continue
                duplicates = 0
                taken.setdefault(key, trial.number)
                trial.set_user_attr("key", key)
                point = Point(self.points.overrides(trial.params), settings, key)
                record = point.record()
                is_there = record is not None and not ("failed" in record and settings.retry_failed)
                jobs.append(Job(trial, point, is_there))
        return jobs, counts

    def _outcomes(self, points: list[Point]) -> list[Outcome | None]:
        """Run the points; where a worker died, what the others did is kept and theirs is None."""
        if not points:
            return []
        assert self.launcher is not None
        try:
            return [*run_points(points, "wait", self.launcher)]
        except WavesweepError:
            raise
        except Exception as error:
            if interrupted():
                raise KeyboardInterrupt from None
            print(f"a worker ended: {type(error).__name__}", file=sys.stderr, flush=True)
            return [None] * len(points)

    def _tell(self, job: Job, outcome: Outcome | None) -> None:
        """Tell Optuna what became of a trial."""
        study, number, record = self.study, job.trial.number, job.point.record()
        if record is not None and "arms" in record:
            job.trial.set_user_attr("measures", measures_of(record, self.objectives))
            if job.was_there:
                job.trial.set_user_attr("cached", True)
            for name, excess in violations(record, self.base.search.constraints).items():
                job.trial.set_constraint(name, excess)
            study.tell(number, [one.value(record) for one in self.objectives])
        elif record is not None:
            study.tell_failed(number, error=str(record["failed"]))
        elif isinstance(outcome, GivenUpError):
            study.tell_given_up(number, str(outcome))
        elif isinstance(outcome, WavesweepError) and not isinstance(outcome, BusyError | StoreError):
            study.tell_failed(number, error=str(outcome))
        elif isinstance(outcome, StoreError):
            raise outcome
        else:  # its worker died
            study.put_back(number, crashed=True)

    def warm_start(self) -> None:
        """Add the trials of earlier sweeps that the study does not have."""
        study, base, space = self.study, self.base, self.points.space
        groups = {key: _option_key(key) for key in space.distributions if _is_group(key)}

        def key_of(params: dict[str, Any], compared: list[str]) -> str:
            return trial_key(replace(self.points.settings(params), compare=compared), self.digests)

        found = earlier_trials(Path(base.paths.outputs) / "runs", space, groups, key_of)
        with study.locked():
            taken = study.keys_taken()
            added = 0
            for params, record in found:
                key = trial_key(self.points.settings(params), self.digests)
                if key in taken:
                    continue
                taken[key] = -1
                added += 1
                study.study.add_trial(
                    optuna.create_trial(
                        params=params,
                        distributions=space.distributions,
                        values=[one.value(record) for one in self.objectives],
                        user_attrs={"warm_start": True, "key": key, "measures": measures_of(record, self.objectives)},
                        constraints=violations(record, base.search.constraints),
                    )
                )
        print(f"warm start: {added} trials of earlier sweeps lie in the space", file=sys.stderr, flush=True)

    def _write(self) -> Summary:
        """Write the files of the study as it is now."""
        study, base, directory = self.study, self.base, self.study.directory
        trials = study.study.get_trials(deepcopy=False)
        complete = tuple(trial for trial in trials if trial.state == TrialState.COMPLETE)
        summary = Summary(directory.name, tuple(base.search.objectives), self.objectives, complete)
        best = best_trials(complete, base.search.constraints)
        write_json(directory / FRONT_FILE, front_json(summary, best))
        write_atomically(directory / "history.csv", history_csv(trials, base.search.objectives))
        chosen = best[-1].trial or (summary.front[0] if summary.front else None)
        if chosen is not None:
            content = best_yaml(self.points.settings(chosen.params), chosen, directory)
            write_atomically(directory / "best.yaml", content)
        return summary

    def show(self) -> None:
        """Print the front and what became of the trials."""
        study, base, wanted = self.study, self.base, self.wanted
        summary = self._write()
        counts = study.counts()
        print_summary(
            summary, best_trials(summary.trials, base.search.constraints), list(self.points.space.distributions)
        )
        parts = [f"{counts.complete} complete"]
        cached = sum(bool(trial.user_attrs.get("cached")) for trial in summary.trials)
        parts += [f"{cached} of them from records"] if cached else []
        for number, text in (
            (counts.pruned, "given up early"),
            (counts.failed, "failed"),
            (counts.warm, "from earlier sweeps besides"),
        ):
            parts += [f"{number} {text}"] if number else []
        print(f"{counts.ended} of {wanted} trials: {', '.join(parts)}")
        print(f"study: {study.directory}   rerun the best: python -m wavesweep {_rerun(study.directory)}")


def _fixed_settings(base: Settings, varying: set[str], digests: dict[str, str]) -> dict[str, str]:
    """All settings that the space leaves alone and that are not the defaults, by key; files by their content."""
    content = without_paths({key: value for key, value in differences(base).items() if key not in VOLATILE})
    flat = {f"digest of {name}": digest for name, digest in digests.items()}
    for key, value in content.items():
        if not isinstance(value, dict):
            flat[key] = str(value)
            continue
        flat |= {f"{key}.{name}": str(each) for name, each in value.items()}
    flat |= {
        f"search.constraints.{name}": str(limit)
        for name, limit in asdict(base.search.constraints).items()
        if limit is not None
    }
    return {key: text for key, text in flat.items() if not any(f"{key}.".startswith(f"{one}.") for one in varying)}


def _study_json(name: str, url: str, base: Settings) -> dict[str, Any]:
    search = base.search
    return {
        "name": name,
        "storage": url,
        "objectives": list(search.objectives),
        "sampler": search.sampler,
        "n_trials": search.n_trials,
        "model": base.model.name,
        "dataset": base.dataset.name,
    }


def _is_group(key: str) -> bool:
    return allowed_text(key) == allowed_text("threshold")


def _option_key(group: str) -> str:
    """The setting that names the option of a group."""
    return "threshold.rule" if group == "threshold" else f"{group}.name"


def _rerun(directory: Path) -> str:
    return f"--config-dir {directory} --config-name best"


def _print_progress(counts: Counts, wanted: int, done: int, seconds: float, summary: Summary) -> None:
    each = seconds / max(done, 1)
    print(
        f"[{counts.ended}/{wanted}] {counts.failed} failed, front of {len(summary.front)}, hypervolume "
        f"{summary.hypervolume:.4f} ({each:.2f} s per trial, {each * (wanted - counts.ended):.0f} s left)",
        file=sys.stderr,
        flush=True,
    )
