"""How a sweep stands, as read from records."""

import io
import json
import os

import pytest
from records import example
from rich.console import Console

from wavesweep.runtime import progress
from wavesweep.runtime.progress import Meter, duration
from wavesweep.settings.schema import ConstraintSettings
from wavesweep.sweep.monitor import SweepMonitor, SweepStatus
from wavesweep.sweep.objectives import USUAL_LIMITS, candidate


def record(stored_bytes, accuracy, baseline=0.98):
    content = example()
    content["arms"][0] |= {"stored_bytes": stored_bytes, "coefficient_sparsity": 0.8}
    content["arms"][0]["validation"]["accuracy"] = accuracy
    content["arms"][1] |= {"stored_bytes": 1}
    content["arms"][1]["validation"]["accuracy"] = 1.0
    content["baseline"]["validation"]["accuracy"] = baseline
    return content


def finish(directory, content, file="result.json"):
    directory.mkdir(exist_ok=True)
    own = {"key": directory.name} if file == "result.json" else {}
    (directory / file).write_text(json.dumps(content | own))


def test_best_is_the_smallest_file_within_a_point_of_the_baseline():
    status = SweepStatus(4, USUAL_LIMITS)
    status.consider(record(900, 0.90), "accurate for its loss")
    assert status.best.name == "accurate for its loss"
    status.consider(record(100, 0.80), "small")
    assert status.best.name == "accurate for its loss"
    status.consider(record(5000, 0.97), "exactly a point")
    assert status.best.name == "exactly a point"
    status.consider(record(4000, 0.98), "smaller")
    status.consider(record(3000, 0.9699), "smaller still, but a little over a point")
    assert status.best.name == "smaller"


def test_best_is_what_the_constraints_of_a_search_ask_for():
    records = {"small": record(100, 0.80), "middle": record(900, 0.90), "large": record(5000, 0.97)}
    expected = [
        (ConstraintSettings(max_drop=10.0), "middle"),
        (ConstraintSettings(max_drop=20.0), "small"),
        (ConstraintSettings(max_bytes=1000), "middle"),
        (ConstraintSettings(max_bytes=10), "large"),
        (ConstraintSettings(min_sparsity=80.0), "large"),
    ]
    for limits, best in expected:
        status = SweepStatus(3, limits)
        for name, one in records.items():
            status.consider(one, name)
        assert status.best.name == best, limits


def test_text_has_counts_rate_time_left_and_best():
    best = candidate(record(12740, 0.975), "level=2", USUAL_LIMITS)
    status = SweepStatus(60, USUAL_LIMITS, cached=4, done=7, failed=1, best=best)
    assert status.settled == 12
    assert status.text(16.0) == (
        "7 done, 1 failed, 4 cached, 30/min; best: 12,740 bytes, validation 97.50 % (-0.50), level=2"
    )
    assert status.seconds_left(16.0) == 96.0
    assert SweepStatus(3, USUAL_LIMITS, cached=1).text(5.0) == "0 done, 0 failed, 1 cached"


def test_records_are_counted_once_when_they_come(tmp_path):
    monitor = SweepMonitor(total=5, shown=False)
    monitor.cached(record(10, 0.5), "before")
    monitor.cached({"failed": "some reason"}, "failed before")
    monitor.cached(None, "stopped early before")
    for name in ("one", "two"):
        monitor.watch(tmp_path / name, name)
    monitor.look()
    assert (monitor.status.cached, monitor.status.done, monitor.status.failed) == (3, 0, 0)
    finish(tmp_path / "one", record(10, 0.98))
    finish(tmp_path / "two", {"reason": "diverged"}, "failure.json")
    for _ in range(2):
        monitor.look()
        assert (monitor.status.cached, monitor.status.done, monitor.status.failed) == (3, 1, 1)
    assert monitor.status.best.name == "one"


def test_failure_of_an_earlier_run_counts_only_when_it_happens_again(tmp_path):
    finish(tmp_path / "one", {"reason": "diverged"}, "failure.json")
    os.utime(tmp_path / "one" / "failure.json", ns=(1, 1))
    monitor = SweepMonitor(total=1, shown=False)
    monitor.watch(tmp_path / "one", "one")
    monitor.look()
    assert monitor.status.failed == 0
    finish(tmp_path / "one", {"reason": "diverged"}, "failure.json")
    monitor.look()
    assert monitor.status.failed == 1


def test_a_log_gets_a_line_now_and_then_from_the_thread(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    monkeypatch.setattr("wavesweep.sweep.monitor._LOOK_SECONDS", 0.01)
    with SweepMonitor(total=1, shown=True) as monitor:
        monitor.watch(tmp_path / "one", "level=2")
        finish(tmp_path / "one", record(1234, 0.98))
        while not monitor.status.done:
            pass
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("sweep: 1/1 1 done, 0 failed, 0 cached, ")
    assert line.endswith("best: 1,234 bytes, validation 98.00 % (+0.00), level=2 (0 s left)")


def test_nothing_is_printed_where_progress_is_off(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    with SweepMonitor(total=1, shown=False) as monitor:
        monitor.look()
    assert capsys.readouterr().err == ""


def test_inner_work_adds_its_bar_to_the_outer_one(monkeypatch):
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=200)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    with Meter(60, "sweep", True) as outer:
        outer.show(12, "best [so far]", 60.0)
        with Meter(10, "training", True) as inner:
            inner.advance(3, "loss 0.1")
            assert inner._bar is outer._bar
            outer._bar.refresh()
        assert "training" in terminal.getvalue()
        assert len(outer._bar.tasks) == 1
        outer.show(13, "best [so far]", 60.0)
    assert progress._display is None
    assert "best [so far]" in terminal.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (150, "2 min"), (7300, "2.0 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text
