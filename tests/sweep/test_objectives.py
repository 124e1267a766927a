"""Objectives and constraints, read from a record."""

import pytest

from wavesweep.settings.registry import Objective, rows
from wavesweep.settings.schema import ConstraintSettings
from wavesweep.sweep.objectives import accuracy_drop, objectives_of, violations

OBJECTIVES = tuple(rows(Objective))

ARM = {
    "validation": {"accuracy": 0.9, "f1": 0.8},
    "test": {"accuracy": 0.1, "f1": 0.2},
    "stored_bytes": 300,
    "dense_bytes": 1000,
    "coefficient_sparsity": 0.75,
    "macs": 40,
    "inference_ms": {"single": {"median": 0.5}},
}
CONTROL = dict.fromkeys(ARM)
RECORD = {"arms": [ARM, CONTROL], "baseline": {"validation": {"accuracy": 0.95}, "macs": 50}}


@pytest.mark.parametrize(
    ("name", "value", "worst", "direction", "shown"),
    [
        ("accuracy", 0.9, 0.0, "maximize", "90.00"),
        ("f1", 0.8, 0.0, "maximize", "80.00"),
        ("stored_bytes", 300.0, 1000.0, "minimize", "300"),
        ("sparsity", 0.75, 0.0, "maximize", "75.00"),
        ("macs", 40.0, 50.0, "minimize", "40"),
    ],
)
def test_objectives_are_of_the_main_arm_and_the_validation_split(name, value, worst, direction, shown):
    (one,) = objectives_of([name])
    assert (one.value(RECORD), one.worst(RECORD), one.direction) == (value, worst, direction)
    assert one.shown(one.value(RECORD)) == shown


def test_there_is_an_objective_of_every_name_in_the_order_asked_for():
    titles = [one.title for one in objectives_of(OBJECTIVES)]
    assert len(set(titles)) == len(OBJECTIVES)
    assert [one.title for one in objectives_of(OBJECTIVES[::-1])] == titles[::-1]
    assert objectives_of(["stored_bytes"])[0].shown(1234567.0) == "1,234,567"


def test_the_drop_is_in_points():
    assert accuracy_drop(RECORD) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {}),
        ({"max_drop": 4.0}, {"max_drop": 1.0}),
        ({"max_drop": 6.0, "max_bytes": 200}, {"max_drop": -1.0, "max_bytes": 100.0}),
        ({"max_ms": 0.4}, {"max_ms": 0.1}),
        ({"max_bytes": 300, "min_sparsity": 80.0}, {"max_bytes": 0.0, "min_sparsity": 5.0}),
    ],
)
def test_violations_are_above_zero_where_a_constraint_is_exceeded(limits, expected):
    assert violations(RECORD, ConstraintSettings(**limits)) == pytest.approx(expected)


def test_an_accuracy_that_is_lost_exactly_as_allowed_violates_nothing():
    # As `best_trials` has it: 95 - 90 is 5.000000000000004 in floats.
    assert violations(RECORD, ConstraintSettings(max_drop=5.0))["max_drop"] <= 0
    sparse = {**RECORD, "arms": [{**ARM, "coefficient_sparsity": 0.29}]}
    assert violations(sparse, ConstraintSettings(min_sparsity=29.0))["min_sparsity"] <= 0
