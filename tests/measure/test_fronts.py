"""Fronts, hypervolumes and knees against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wavesweep.measure.fronts import hypervolume, knee, non_dominated


def integer_points(objectives):
    return st.integers(0, 14).flatmap(lambda n: arrays(float, (n, objectives), elements=st.integers(0, 6).map(float)))


def dominates(first, second, maximize):
    signed = [(a, b) if more else (-a, -b) for a, b, more in zip(first, second, maximize, strict=True)]
    return all(a >= b for a, b in signed) and any(a > b for a, b in signed)


directions_and_points = st.integers(1, 4).flatmap(
    lambda k: st.tuples(st.lists(st.booleans(), min_size=k, max_size=k), integer_points(k))
)


@given(directions_and_points)
def test_the_front_is_what_no_other_point_dominates(case):
    maximize, points = case
    expected = [not any(dominates(other, point, maximize) for other in points) for point in points]
    assert non_dominated(points, maximize).tolist() == expected


@given(integer_points(2), st.tuples(st.booleans(), st.booleans()), st.tuples(st.integers(-1, 7), st.integers(-1, 7)))
def test_the_hypervolume_is_the_number_of_unit_cells_that_are_dominated(points, maximize, reference):
    signs = [-1 if more else 1 for more in maximize]
    costs, corner = points * signs, np.multiply(reference, signs)
    low = int(min(costs.min(initial=0), corner.min()))
    cells = itertools.product(*(range(low, limit) for limit in corner))
    count = sum(any((cost <= cell).all() for cost in costs) for cell in cells)
    assert hypervolume(points, maximize, reference) == count


@settings(deadline=None)  # the first example imports Optuna
@given(st.integers(1, 30).flatmap(lambda n: arrays(float, (n, 2), elements=st.floats(0, 1, width=32))))
def test_the_hypervolume_is_optunas(points):
    optunas = pytest.importorskip("optuna._hypervolume").compute_hypervolume
    assert hypervolume(points, (False, False), (0.75, 1.5)) == pytest.approx(
        optunas(points[(points <= (0.75, 1.5)).all(1)], np.array([0.75, 1.5]))
    )


def test_copies_of_a_point_on_the_front_are_all_on_it_and_nan_is_not():
    points = np.array([[1.0, 1.0], [1.0, 1.0], [np.nan, 9.0], [0.0, 1.0], [np.inf, 0.0]])
    assert non_dominated(points, (True, True)).tolist() == [True, True, False, False, True]


def test_many_points_take_little_time():
    points = np.random.default_rng(0).random((100_000, 2))
    assert 3 <= non_dominated(points, (True, False)).sum() < 100


@given(integer_points(2).filter(len), st.tuples(st.booleans(), st.booleans()))
def test_the_knee_is_farthest_from_the_line_through_the_extremes(points, maximize):
    index = knee(points, maximize)
    mask = non_dominated(points, maximize)
    assert mask[index]
    front = points[mask]
    low, high = front[np.argmin(front[:, 0])], front[np.argmax(front[:, 0])]
    if (low == high).any():  # a front of one distinct point
        assert (points[index] == low).all()
        return
    toward_better = np.where(maximize, 1.0, -1.0)

    def distance(point):
        across = (point - low) / (high - low)  # (0, 0) at one extreme, (1, 1) at the other
        offset = (across[1] - across[0]) * np.sign((high - low)[1]) * toward_better[1]
        return max(0.0, offset)

    assert distance(points[index]) == pytest.approx(max(map(distance, front)))


def test_the_knee_of_a_bend_and_of_a_straight_front():
    bend = np.array([[0.0, 10.0], [1.0, 2.0], [3.0, 1.0], [10.0, 0.0], [9.0, 9.0]])
    assert knee(bend, (False, False)) == 1
    straight = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    assert knee(straight, (False, False)) == 2  # the best in the first objective
    assert knee(np.array([[5.0, 5.0]]), (True, False)) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: non_dominated(np.zeros((3, 2)), (True,)), "1 objectives"),
        (lambda: hypervolume(np.zeros((3, 3)), (True,) * 3, (0.0,) * 3), "2 objectives"),
        (lambda: hypervolume(np.zeros((3, 2)), (True,) * 2, (np.inf, 0.0)), "finite"),
        (lambda: knee(np.full((3, 2), np.nan), (True,) * 2), "at least one point"),
    ],
)
def test_wrong_shapes_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
