"""One process's part in a search: ask Optuna for points, run those that have no record yet, tell, show the front.

Any launcher runs the trials; only this process talks to the study, so a worker may die at any time. Several such
processes can share a study.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial

from wavesweep.errors import SettingsError, ShortMemoryError, StoppedEarlyError, TrialError, WavesweepError
from wavesweep.experiment.export.files import export_problems
from wavesweep.runtime.records import check_writable, read_trial
from wavesweep.runtime.signals import held_back, interrupted
from wavesweep.runtime.study_storage import open_storage, reporting_storage_errors, storage_url
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings import registry
from wavesweep.settings.keys import study_directory, trial_directory
from wavesweep.settings.rules import check
from wavesweep.settings.schema import Settings
from wavesweep.sweep.launch import Jobs, Launcher, LostError, Outcome, pace, unrecorded
from wavesweep.sweep.monitor import SweepMonitor
from wavesweep.sweep.objectives import Objective, limits_of, metric_of, objectives_of, violations
from wavesweep.sweep.point import Point, check_ready, run_points, transforms_nothing
from wavesweep.sweep.search.limits import Best, best_trials, remedies
from wavesweep.sweep.search.lost import compute_lost, lost_trials
from wavesweep.sweep.search.samplers import make_sampler, unvisited
from wavesweep.sweep.search.space import Points
from wavesweep.sweep.search.stages import Given, Stages, nothing_given
from wavesweep.sweep.search.study import Counts, Description, SharedStudy, joined
from wavesweep.sweep.search.summary import (
    HISTORY_FILE,
    Summary,
    measures_of,
    write_results,
    write_study_json,
)
from wavesweep.sweep.search.values import text_of
from wavesweep.sweep.search.warm_start import add_earlier_trials

# Points that the study has are asked anew; after so many in a row the next is one that it has not, in a finite space,
# and is taken as it is in others.
_DUPLICATES = 50
# After so many batches in a row whose workers died the search ends, as it would never end otherwise.
_DEATHS = 5
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Job:
    """A trial of the study and the point it stands for; `was_there`: its record is older than the trial."""

    trial: Trial
    point: Point
    was_there: bool


@dataclass(frozen=True)
class SearchResult:
    """A search at one moment: its front, its best trials, and what became of the `wanted` ones; `keys` vary.

    `remedies` are what to try where no trial satisfies the constraints.
    """

    summary: Summary
    best: tuple[Best, ...]
    keys: tuple[str, ...]
    counts: Counts
    wanted: int
    directory: Path
    remedies: tuple[str, ...]


def search(
    points: Points, launcher: Launcher | None, show: Callable[[SearchResult], None], jobs: Jobs | None = None
) -> None:
    """Run the study that the settings of the points describe up to its number of trials, and show it.

    Args:
        points: of the space.
        launcher: of the trials; None for this process.
        show: shows the result, at the end and when the search is interrupted.
        jobs: what surrounds those of this process.

    Raises:
        SettingsError: a setting is wrong, or the study exists with others; nothing was trained.
        TrialError: some trials failed; all others are kept and shown.
        StoreError: records or the study cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    base, options = points.base, points.base.search
    check_writable(Path(base.paths.outputs))
    directory = study_directory(base)
    url = storage_url(options.storage, directory)
    # Are all files there, whatever is chosen?
    check_ready([points.settings(params) for params in points.probes], launcher)
    tree = points.tree
    make_sampler(options.sampler, options.seed, (), tree)  # an error before anything is made
    # A finite space has no more trials than points.
    wanted = sum(1 for _ in islice(tree.leaves(), options.n_trials)) if tree.is_finite else options.n_trials
    # A search that takes every point has its own order.
    exhaustive = registry.row(registry.Sampler, options.sampler).is_exhaustive
    given = nothing_given if exhaustive else Stages.of(tree, options, wanted).given
    objectives = objectives_of(options.objectives, metric_of(base))
    description = Description(
        tuple(one.direction for one in objectives),
        tuple(options.objectives),
        {key: text_of(one) for key, one in tree.distributions.items()},
        points.fixed_settings(),
    )

    def sampler_of(begun: Sequence[int]) -> optuna.samplers.BaseSampler:
        return make_sampler(options.sampler, options.seed, begun, tree)

    with (
        reporting_storage_errors(url),
        joined(directory.name, directory, partial(open_storage, url), sampler_of, description) as study,
    ):
        write_study_json(directory, url, base)
        process = _Process(points, launcher, study, objectives, wanted, given, jobs)
        if options.warm_start:
            added = add_earlier_trials(study, points, objectives)
            say_aside(f"warm start: {added} trials of earlier sweeps lie in the space")
        if base.retry_failed:
            with held_back(), study.locked():
                study.requeue_failed()
        try:
            problems = process.compute_lost()
            process.run()
        except BaseException:
            with suppress(Exception), held_back():  # a full disk, say: what is reported is the first error
                # A second Ctrl-C may have fallen into an update of Optuna's cache of trials, so they are read anew.
                study.reopen(open_storage(url))
                study.leave()
            if interrupted():
                show(process.result())
            raise
        show(process.result())
        problems += process.export_front()
        if failed := study.counts().failed:
            problems.append(f"{failed} of {wanted} trials failed, see {directory / HISTORY_FILE}; the others are kept")
    if problems:
        raise TrialError("; ".join(problems))


@dataclass(frozen=True)
class _Process:
    points: Points
    launcher: Launcher | None
    study: SharedStudy
    objectives: tuple[Objective, ...]
    wanted: int
    given: Callable[[Sequence[FrozenTrial], int], Given]
    jobs: Jobs | None = None

    @property
    def base(self) -> Settings:
        return self.points.base

    def run(self) -> None:
        """Run batches until the study has as many trials as are wanted."""
        here = self.launcher is None
        # A log gets a line per trial of this process anyway.
        total = max(self.wanted, self.study.counts().ended)  # more, where an earlier command wanted more
        limits = limits_of(self.base.search.constraints, metric_of(self.base))
        with SweepMonitor(total, self.base.progress, "search", lines=not here, limits=limits) as monitor:
            self._count_earlier(monitor)
            self._run_batches(monitor, self.base.progress and here and not monitor.has_bar)

    def compute_lost(self) -> list[str]:
        """Compute the records of finished trials that have gone; returns what to say where it did not succeed."""
        lost = lost_trials(self.study.study.get_trials(deepcopy=False), self.points)
        return compute_lost(lost, self.launcher, self.base.progress, self.study.directory, self.jobs)

    def _count_earlier(self, monitor: SweepMonitor) -> None:
        for trial in self.study.ended_trials():
            record = None
            if "key" in trial.user_attrs:
                record = read_trial(trial_directory(self.base, trial.user_attrs["key"]))
            monitor.cached(record, f"trial {trial.number}")

    def _run_batches(self, monitor: SweepMonitor, with_lines: bool) -> None:
        study = self.study
        together = self.base.search.n_jobs or (self.launcher.jobs_at_once if self.launcher else 1)
        started, first = time.perf_counter(), study.counts().ended
        waited, deaths = False, 0
        while True:
            jobs, others = self._ask(together)
            if not jobs and not others:
                return
            if not jobs:
                if not waited:
                    say_aside(f"waiting for {others} trials of other processes")
                waited = True
                time.sleep(_POLL_SECONDS)
                continue
            for job in jobs:
                name = f"trial {job.trial.number}"
                if job.was_there:
                    monitor.cached(job.point.record(), name)
                else:
                    monitor.watch(job.point.directory, name)
            missing = [job.point for job in jobs if not job.was_there]
            try:
                ended = run_points(missing, self.launcher, "wait", ["export=none"], self.jobs)
                outcomes = dict(zip((point.key for point in missing), ended, strict=True))
            except KeyboardInterrupt:
                with held_back(), study.locked():  # the finished ones need not wait for the next run
                    for job in (job for job in jobs if "arms" in (job.point.record() or {})):
                        self._tell(job, None, monitor)
                raise
            with held_back():
                monitor.look()
                with study.locked():
                    for job in jobs:
                        self._tell(job, outcomes.get(job.point.key), monitor)
                    counts = study.counts()
                summary = self._write()
            died = outcomes and all(isinstance(outcome, LostError) for outcome in outcomes.values())
            deaths = deaths + 1 if died and not any(point.record() for point in missing) else 0
            if deaths == _DEATHS:
                raise TrialError(
                    f"the workers of {deaths} batches of trials in a row died (out of memory?); the same command "
                    "continues from here, with fewer trials at once if hydra.launcher.n_jobs or search.n_jobs says so"
                )
            if with_lines:
                done, seconds = counts.ended - first, time.perf_counter() - started
                _print_progress(counts, self.wanted, done, seconds, summary)

    def _ask(self, together: int) -> tuple[list[Job], int]:
        """The next trials of this process, and how many others are being computed."""
        study, tree = self.study, self.points.tree
        with held_back(), study.locked():
            study.requeue_lost()
            counts = study.counts()
            left = self.wanted - counts.ended - counts.running
            taken = study.keys_taken()
            jobs: list[Job] = []
            duplicates = 0
            while len(jobs) < min(left, together):
                if tree.is_finite:
                    params = unvisited(tree, study.study.get_trials(deepcopy=False), self.base.search.seed)
                    if params is None:
                        break
                    if duplicates >= _DUPLICATES:
                        study.enqueue(params)
                trial = study.ask(tree, self.given)
                try:
                    settings = replace(self.points.settings(trial.params), export="none")  # the front is, at the end
                    check(settings)
                    key = self.points.key(settings)
                except SettingsError as error:
                    study.tell_failed(trial.number, error=str(error))
                    left -= 1
                    continue
                # A wavelet that no axis is long enough for is no mistake in a space of many wavelets and layouts.
                if not tree.is_finite and duplicates < _DUPLICATES and (reason := transforms_nothing(settings)):
                    study.tell_failed(trial.number, transforms_nothing=reason)
                    duplicates += 1
                    continue
                if key in taken and (tree.is_finite or duplicates < _DUPLICATES):
                    study.tell_failed(trial.number, duplicate_of=str(taken[key]))
                    duplicates += 1
                    continue
                duplicates = 0
                taken.setdefault(key, trial.number)
                trial.set_user_attr("key", key)
                point = Point(self.points.space.lines(trial.params), settings, key)
                record = point.record()
                is_there = record is not None and not ("failed" in record and settings.retry_failed)
                jobs.append(Job(trial, point, is_there))
        return jobs, counts.running

    def _tell(self, job: Job, outcome: Outcome | None, monitor: SweepMonitor) -> None:
        """Tell Optuna what became of a trial."""
        study, number, record = self.study, job.trial.number, job.point.record()
        if record is not None and "arms" in record:
            study.attribute(number, "measures", measures_of(record, self.objectives))
            if job.was_there:
                study.attribute(number, "cached", True)
            for name, excess in violations(record, self.base.search.constraints).items():
                job.trial.set_constraint(name, excess)
            study.tell(number, [one.value(record) for one in self.objectives])
        elif record is not None:
            study.tell_failed(number, error=str(record["failed"]))
        elif isinstance(outcome, WavesweepError) and not isinstance(outcome, LostError):
            monitor.forget(job.point.directory, done=True)
            if isinstance(outcome, StoppedEarlyError):
                study.tell_stopped_early(number, str(outcome))
            elif isinstance(outcome, ShortMemoryError):  # once more, as one whose process died
                study.requeue(number, crashed=True, error=str(outcome))
            else:
                study.tell_failed(number, error=str(outcome))
        else:  # its process died
            monitor.forget(job.point.directory, done=False)
            study.requeue(number, crashed=True)

    def _write(self) -> Summary:
        return write_results(self.study, self.points, self.objectives)

    def export_front(self) -> list[str]:
        """Export the trials of the front, if that is asked for; returns what to say where it did not succeed."""
        if self.base.export == "none":
            return []
        points = [
            Point((), self.points.settings(trial.params), trial.user_attrs["key"]) for trial in self._write().front
        ]
        outcomes = dict(zip((point.key for point in points), run_points(points, None, "wait"), strict=True))
        return export_problems(self.base, list(outcomes), unrecorded(outcomes))

    def result(self) -> SearchResult:
        """The search as it is now; its files are written."""
        summary = self._write()
        best = best_trials(summary.trials, self.base.search.constraints)
        keys = tuple(self.points.space.distributions)
        return SearchResult(
            summary,
            tuple(best),
            keys,
            self.study.counts(),
            self.wanted,
            self.study.directory,
            remedies(self.base, keys),
        )


def _print_progress(counts: Counts, wanted: int, done: int, seconds: float, summary: Summary) -> None:
    say_aside(
        f"[{counts.ended}/{wanted}] {counts.failed} failed, front of {len(summary.front)}, hypervolume "
        f"{summary.hypervolume:.4f} ({pace(done, wanted - counts.ended, seconds)})"
    )
