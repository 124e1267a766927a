"""The loop of a search, with workers that die."""

import csv

import optuna
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from wavesweep.analysis.progress.searches import searches, trial_states
from wavesweep.cli.composition import Composer, register_configuration
from wavesweep.cli.hydra_internals import configuration_loader
from wavesweep.cli.search_space import parse_space
from wavesweep.cli.tables import show_search
from wavesweep.errors import StoppedEarlyError, StoreError, TrialError
from wavesweep.experiment.baseline import load_workload
from wavesweep.settings.schema import config_directory
from wavesweep.sweep import point as sweep_point
from wavesweep.sweep.launch import LostError
from wavesweep.sweep.monitor import SweepMonitor
from wavesweep.sweep.point import Point, run_here
from wavesweep.sweep.search import run
from wavesweep.sweep.search.run import search
from wavesweep.sweep.search.space import Points

pytestmark = pytest.mark.integration

LINES = (
    "search=pareto",
    "model.recipe.epochs=1",
    "threshold.percentile=interval(50,90)",
    "retrain=none",
    "layout=auto",
    "method=wavelet",
    "quantize=uniform",
    "quantize.step=null",
    "search.n_jobs=2",
)


@pytest.fixture
def points(tmp_path):
    """Makes the points of a search in `tmp_path` of so many trials."""
    register_configuration()
    loader = configuration_loader(config_directory())

    def of(n_trials, *more):
        lines = [*LINES, f"search.n_trials={n_trials}", f"paths.outputs={tmp_path / 'outputs'}", *more]
        master = loader.load_configuration("config", [lines[0]], run_mode=RunMode.MULTIRUN)
        space = [f"{key}={value}" for key, value in master.hydra.sweeper.params.items()]
        parsed = OverridesParser.create().parse_overrides([*space, *lines])
        of.compose = Composer(loader, master).settings
        return Points.checked(parse_space(parsed), of.compose)

    yield of
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class Workers:
    """A launcher; `dying` of its first `batches` end as they do when a worker is killed."""

    is_on_this_machine, jobs_at_once = True, 2

    def __init__(self, dying, compose):
        self.dying, self.compose, self.batches = dying, compose, []

    def launch(self, jobs):
        self.batches.append([tuple(job) for job in jobs])
        if len(self.batches) <= self.dying:
            return [LostError("its process ended without a record") for _ in jobs]
        return [run_here(Point((), self.compose(job), ""), "wait") for job in jobs]


def history(tmp_path):
    (path,) = tmp_path.glob("outputs/studies/*/history.csv")
    with path.open() as file:
        return list(csv.DictReader(file))


def counted(tmp_path):
    """What `analysis.status` counts, from the database and from the history alone."""
    (study,) = searches(tmp_path / "outputs" / "studies")
    directory = tmp_path / "outputs" / "studies" / study.name
    return dict(study.states), trial_states("postgresql://elsewhere", study.name, directory)


def here(points):
    search(points, None, show_search)


def test_trials_whose_worker_died_are_run_again(points, tmp_path, capsys):
    four = points(4)
    workers = Workers(1, points.compose)
    search(four, workers, show_search)
    launched = workers.batches
    captured = capsys.readouterr()
    assert "4 of 4 trials: 4 complete" in captured.out
    assert [len(batch) for batch in launched] == [2, 2, 2]
    assert launched[1] == launched[0]
    rows = history(tmp_path)
    assert [row["state"] for row in rows] == ["fail", "fail", *["complete"] * 4]
    assert [row["reason"] for row in rows] == [*["its process ended"] * 2, *[""] * 4]
    assert len({row["key"] for row in rows if row["state"] == "complete"}) == 4
    assert counted(tmp_path) == ({"complete": 4, "interrupted": 2},) * 2


def test_a_search_whose_workers_always_die_ends_and_can_be_continued(points, tmp_path, capsys):
    four = points(4)
    workers = Workers(5, points.compose)
    with pytest.raises(TrialError, match=r"^the workers of 5 batches of trials in a row died \(out of memory\?\); "):
        search(four, workers, show_search)
    assert len(workers.batches) == 5
    assert {row["state"] for row in history(tmp_path)} <= {"fail", "waiting"}
    here(points(4))
    assert "4 of 4 trials: 4 complete" in capsys.readouterr().out
    assert [row["state"] for row in history(tmp_path)].count("complete") == 4


def watched(shown):
    """A monitor that is also put into the list `shown`."""
    return lambda *given, **named: shown.append(SweepMonitor(*given, **named)) or shown[-1]


@pytest.mark.slow
def test_what_has_a_record_is_shown_as_cached(points, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(run, "SweepMonitor", watched(shown))
    here(points(2))
    here(points(4))
    here(points(2, "search.study=same_points_once_more"))
    counts = [(monitor.status.cached, monitor.status.done) for monitor in shown]
    assert counts == [(0, 2), (2, 2), (2, 0)]


def test_what_ended_without_a_record_is_shown_as_settled(points, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(run, "SweepMonitor", watched(shown))
    with monkeypatch.context() as patch:
        patch.setattr(sweep_point, "run_here", lambda *_: StoppedEarlyError("far from the front"))
        here(points(2))
    here(points(3))
    assert (shown[-1].status.cached, shown[-1].status.done) == (2, 1)


def test_a_full_disk_ends_the_search_and_leaves_no_trial_running(points, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sweep_point, "run_here", lambda *_: StoreError("no space left"))
        with pytest.raises(StoreError, match="no space left"):
            here(points(2))
    here(points(2))
    states = [row["state"] for row in history(tmp_path)]
    assert sorted(states) == ["complete", "complete", "fail", "fail"]
    assert counted(tmp_path) == ({"complete": 2, "interrupted": 2},) * 2


def test_the_files_of_a_point_are_in_its_key(points, tmp_path):
    state = load_workload(points(2).base).model.state_dict()
    for name in ("a", "b"):
        next(iter(state.values())).add_(1.0)
        torch.save(state, tmp_path / f"{name}.pt")
    (tmp_path / "c.pt").write_bytes((tmp_path / "b.pt").read_bytes())
    names = [str(tmp_path / f"{name}.pt") for name in ("a", "b", "c")]
    found = points(2, f"model.checkpoint=choice({','.join(names)})")
    params = found.probes[0]
    keys = [found.key(found.settings({**params, "model.checkpoint": name})) for name in names]
    assert keys[0] != keys[1] == keys[2]
