"""Exports in a sweep: what it says of one that ended otherwise than by a recorded failure, and what it runs again."""

import json

import pytest
from records import example

from wavesweep.errors import BusyError, SettingsError, StoreError, TrialError
from wavesweep.experiment.export.files import export_problems
from wavesweep.settings.schema import PathsSettings, Settings
from wavesweep.sweep.grid import run_left
from wavesweep.sweep.launch import LostError
from wavesweep.sweep.point import Point


@pytest.fixture
def points(tmp_path):
    """Two trials that are done and not exported."""
    settings = Settings(paths=PathsSettings(outputs=str(tmp_path)), export="onnx")
    found = [Point((key,), settings, key) for key in ("a", "b")]
    for point in found:
        point.directory.mkdir(parents=True)
        (point.directory / "result.json").write_text(json.dumps(example(key=point.key)))
    return found


class Workers:
    """A launcher whose passes end with these outcomes; `launched` are the keys and `on_busy` of each."""

    def __init__(self, *passes):
        self.passes, self.launched = list(passes), []

    def launch(self, jobs):
        on_busy = jobs[0][1].partition("=")[2]
        self.launched.append(("".join(job[0] for job in jobs), on_busy))
        return self.passes.pop(0)


def run(points, *passes):
    """What a sweep says in which the passes of its launcher end so, and the keys and `on_busy` of these."""
    workers = Workers(*passes)
    reasons = run_left(points, workers, {})
    return export_problems(points[0].settings, [point.key for point in points], reasons), workers.launched


@pytest.mark.parametrize("error", [SettingsError("dataset.path", "x", "is gone"), StoreError("x cannot be read")])
def test_what_ended_an_export_is_said_where_no_failure_was_recorded(points, error):
    said, launched = run(points, [0.9, error])
    assert said == [f"2 of 2 trials could not be exported ({error})"]
    assert launched == [("ab", "skip")]  # trying at once again would end the same


def test_the_recorded_failure_is_said_as_it_was_recorded(points):
    (points[1].directory / "onnx_failure.json").write_text(json.dumps({"reason": "no"}))
    said, _ = run(points, [0.9, TrialError("no (failed earlier; retry_failed=true runs it again)")])
    assert said == ["2 of 2 trials could not be exported (no)"]


@pytest.mark.parametrize("error", [BusyError("a is being computed"), LostError("its process was killed")])
def test_what_another_process_exports_is_waited_for_and_the_lost_is_run_again(points, error):
    said, launched = run(points, [error, 0.9], [LostError("killed again")])
    assert launched == [("ab", "skip"), ("a", "wait")]
    assert said == ["2 of 2 trials could not be exported (killed again)"]  # and no error before the table
