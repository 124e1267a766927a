"""Stopping trials early that a part of the images shows to be far from the front."""

from dataclasses import replace
from math import sqrt

import pytest

from wavesweep.experiment.early import EarlyStop, read_early_stop
from wavesweep.runtime.records import write_json
from wavesweep.settings.keys import study_directory
from wavesweep.settings.schema import PathsSettings, SearchSettings, Settings

FRONT = ((0.95, 500.0), (0.8, 200.0))
STOP = EarlyStop(100, "stored_bytes", FRONT)


def searching(outputs, objectives, images=50):
    search = SearchSettings("pareto", objectives=objectives, early_images=images)
    return Settings(search=search, paths=PathsSettings(outputs=str(outputs)))


def test_a_trial_near_the_front_or_smaller_than_it_is_not_stopped():
    assert STOP.reason(0.95, 500, 100) is None
    assert STOP.reason(0.90, 500, 100) is None  # two standard errors are 6 points
    assert STOP.reason(0.78, 300, 100) is None  # of its size the front has 80 %
    assert STOP.reason(0.05, 199, 100) is None  # nothing on the front is so small


def test_a_trial_far_below_the_front_at_its_own_cost_is_stopped():
    text = STOP.reason(0.6, 500, 100)
    assert text == "60.0 % of 100 validation images, where the front has 95.0 % of all at no higher cost"
    assert "80.0 %" in STOP.reason(0.5, 499, 100)


def test_the_credit_is_two_standard_errors():
    for accuracy, images in ((0.6, 100), (0.6, 1000), (0.9, 50)):
        hoped = accuracy + 2 * sqrt(accuracy * (1 - accuracy) / images)
        for above, is_stopped in ((1e-6, True), (-1e-6, False)):
            stop = replace(STOP, front=((hoped + above, 100.0),))
            assert (stop.reason(accuracy, 100, images) is not None) == is_stopped


def test_no_image_right_is_not_taken_for_certain():
    assert replace(STOP, front=((0.3, 1.0),)).reason(0.0, 1, 4) is None
    assert replace(STOP, front=((0.9, 1.0),)).reason(0.0, 1, 50) is not None


def test_more_sparsity_is_better():
    stop = EarlyStop(100, "sparsity", ((0.95, 0.5), (0.8, 0.9)))
    assert stop.reason(0.6, 0.5, 100) is not None
    assert stop.reason(0.75, 0.6, 100) is None
    assert stop.reason(0.1, 0.91, 100) is None


@pytest.mark.parametrize("objectives", [["accuracy", "stored_bytes"], ["stored_bytes", "accuracy"]])
def test_the_front_is_read_from_the_directory_of_the_study(tmp_path, objectives):
    settings = searching(tmp_path, objectives)
    assert read_early_stop(settings) is None
    rows = [{"values": list(pair) if objectives[0] == "accuracy" else list(pair[::-1])} for pair in FRONT]
    write_json(study_directory(settings) / "front.json", {"front": rows})
    assert read_early_stop(settings) == EarlyStop(50, "stored_bytes", FRONT)
    assert read_early_stop(searching(tmp_path, objectives, images=None)) is None


def test_a_search_without_a_front_stops_nothing(tmp_path):
    settings = searching(tmp_path, ["accuracy", "sparsity"])
    write_json(study_directory(settings) / "front.json", {"front": []})
    stop = read_early_stop(settings)
    assert stop.reason(0.0, 0.0, 50) is None
