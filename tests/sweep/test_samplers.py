"""Samplers by name, and the one that takes each point of a finite space once."""

import itertools

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from wavesweep.errors import SettingsError
from wavesweep.settings.registry import Sampler, rows
from wavesweep.sweep.search.conditions import Tree
from wavesweep.sweep.search.samplers import make_sampler, unvisited, visited
from wavesweep.sweep.search.values import suggested

SAMPLERS = tuple(rows(Sampler))

SPACE = {
    "wavelet": CategoricalDistribution(("haar", "db2")),
    "level": IntDistribution(1, 3),
    "percentile": FloatDistribution(0.1, 0.7, step=0.1),
}
POINTS = 2 * 3 * 7
CONTINUOUS = {"wavelet": SPACE["wavelet"], "percentile": FloatDistribution(40, 99)}
EXHAUSTIVE = ("grid", "brute_force")


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def study_of(sampler, storage=None):
    return optuna.create_study(
        study_name="s", storage=storage, directions=["maximize", "minimize"], sampler=sampler, load_if_exists=True
    )


def run(study, space, trials):
    points = []
    for _ in range(trials):
        trial = study.ask()
        Tree(space).walk(lambda key, trial=trial: suggested(trial, key, space[key]))
        points.append(tuple(trial.params[key] for key in space))
        level = trial.params.get("level", 1)
        study.tell(trial, [trial.params["percentile"] * level, trial.params["percentile"] + (points[-1][0] == "haar")])
    return points


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_name_runs_a_study_and_repeats_it_with_the_same_seed(name):
    space = SPACE if name in EXHAUSTIVE else CONTINUOUS
    first, again, other = (run(study_of(make_sampler(name, seed, (0, 0), Tree(space))), space, 8) for seed in (3, 3, 4))
    assert len(first) == 8
    assert first == again
    assert (first == other) == (name == "grid")  # a grid has its order


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - set(EXHAUSTIVE)))
def test_a_process_that_goes_on_does_not_repeat_the_points_of_the_seed(name):
    storage = optuna.storages.InMemoryStorage()
    before = run(study_of(make_sampler(name, 0, (0, 0), Tree(CONTINUOUS)), storage), CONTINUOUS, 5)
    after = run(study_of(make_sampler(name, 0, (5, 0), Tree(CONTINUOUS)), storage), CONTINUOUS, 5)
    assert not {point[1] for point in before} & {point[1] for point in after}


def test_quasi_random_points_go_on_with_their_sequence():
    whole = run(study_of(make_sampler("qmc", 0, (0, 0), Tree(CONTINUOUS))), CONTINUOUS, 12)
    storage = optuna.storages.InMemoryStorage()
    parts = [
        run(study_of(make_sampler("qmc", 0, (begun, 0), Tree(CONTINUOUS)), storage), CONTINUOUS, 6) for begun in (0, 6)
    ]
    # The first point, of which no space was known, is random, and so is the wavelet.
    assert [point[1] for part in parts for point in part][1:] == [point[1] for point in whole][1:]


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_an_exhaustive_search_visits_each_point_once_over_restarts_crashes_and_queued_trials(name):
    storage = optuna.storages.InMemoryStorage()
    points = []
    for begun in range(6):
        study = study_of(make_sampler(name, 0, (begun, 0), Tree(SPACE)), storage)
        points += run(study, SPACE, 5)
        lost = study.ask(dict(SPACE))  # as a killed process leaves it, and as it is put back
        lost.set_user_attr("crash", "its process ended")
        study.tell(lost, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(lost.params)
        points += run(study, SPACE, 1)
    points += run(study, SPACE, POINTS - len(points))
    assert len(set(points)) == len(points) == POINTS
    assert len(visited(study.trials)) == POINTS
    assert unvisited(Tree(SPACE), study.trials, None) is None
    assert all(0.1 <= point[2] <= 0.7 for point in points)


def test_a_grid_has_the_order_of_the_space_and_brute_force_another():
    product = itertools.product(("haar", "db2"), (1, 2, 3), range(7))
    expected = [(wavelet, level, pytest.approx(0.1 + 0.1 * step)) for wavelet, level, step in product]
    grid, brute = (run(study_of(make_sampler(name, 0, (), Tree(SPACE))), SPACE, POINTS) for name in EXHAUSTIVE)
    assert grid == expected
    assert brute != grid
    assert sorted(brute) == sorted(grid)


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_an_exhaustive_search_refuses_an_interval(name):
    with pytest.raises(SettingsError) as raised:
        make_sampler(name, 0, (), Tree(CONTINUOUS))
    assert str(raised.value) == (
        f"search.sampler={name}: needs a finite space, percentile is an interval; percentile=range(START,STOP,STEP)"
    )


@pytest.mark.parametrize("order", [None, 0, 1])
def test_unvisited_goes_through_a_large_space_without_listing_it(order):
    space = {str(number): IntDistribution(0, 9) for number in range(30)}
    assert unvisited(Tree(space), [], order).keys() == space.keys()


def test_a_sampler_of_all_points_takes_each_point_of_a_tree_once():
    level = IntDistribution(1, 3)
    space = {"method": CategoricalDistribution(("magnitude", "wavelet")), "level": level}

    def rule(params):
        return "method" if not params else "level" if params == {"method": "wavelet"} else None

    tree = Tree(space, rule)
    for name in EXHAUSTIVE:
        study, points = study_of(make_sampler(name, 0, (), tree)), []
        for _ in range(4):
            trial = study.ask()
            points.append(tuple(tree.walk(lambda key, trial=trial: suggested(trial, key, space[key])).values()))
            study.tell(trial, [0.0, 0.0])
        assert sorted(points, key=str) == [("magnitude",), ("wavelet", 1), ("wavelet", 2), ("wavelet", 3)]
        assert unvisited(tree, study.trials, None) is None
