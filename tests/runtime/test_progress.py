"""Progress: lines in a log, a bar in a terminal, nothing where it is switched off."""

import re
import sys

import pytest

from wavesweep.runtime import progress
from wavesweep.runtime.progress import Meter, log, logging_enabled, steps


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves, a log instead of a terminal."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return now


@pytest.fixture
def _terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    monkeypatch.setenv("TERM", "xterm")


def test_a_log_gets_a_line_every_ten_seconds(clock, capsys):
    with Meter(60, "training", shown=True) as meter:
        for _ in range(60):
            clock[0] += 1
            meter.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"training: {done}/60  ({60 - done} s left)" for done in (10, 20, 30, 40, 50, 60)
    ]


def test_a_line_has_the_text_that_came_with_it(clock, capsys):
    with Meter(4, "training", shown=True) as meter:
        clock[0] += 20
        meter.advance(1, "epoch 1/4, loss 0.5")
    assert capsys.readouterr().err == "training: 1/4 epoch 1/4, loss 0.5 (60 s left)\n"


def test_a_line_before_the_first_unit_knows_no_end(clock, capsys):
    with Meter(4, "training", shown=True) as meter:
        clock[0] += 20
        meter.advance(0)
    assert capsys.readouterr().err == "training: 0/4  (inf s left)\n"


def test_short_work_leaves_no_lines(clock, capsys):
    assert list(steps(range(5), 5, "decoding", shown=True)) == [0, 1, 2, 3, 4]
    clock[0] += 60
    assert capsys.readouterr().err == ""


def test_a_line_is_told_at_once_also_in_a_log(capsys):
    log("waiting [for] another process")
    assert capsys.readouterr().err == "waiting [for] another process\n"


def test_where_progress_is_switched_off_nothing_is_told(capsys):
    with logging_enabled(False):
        log("waiting")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_terminal")
def test_a_line_is_told_above_the_bar(capsys):
    with Meter(3, "training", shown=True) as meter:
        meter.advance(1)
        log("waiting [for] another process")
    captured = capsys.readouterr().err
    assert captured.index("waiting [for] another process\n") < captured.rindex("training")


@pytest.mark.usefixtures("_terminal")
def test_a_terminal_gets_a_bar_that_is_removed_at_the_end(capsys):
    with Meter(5, "training the baseline", shown=True) as meter:
        meter.advance(2, "epoch 1/2")
        meter.advance(3)
        meter._bar.refresh()
    shown = capsys.readouterr().err
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "training the baseline" in plain
    assert "5/5 epoch 1/2" in plain
    assert "s left" not in plain
    assert shown.rstrip().endswith("\x1b[2K")  # the last thing written erases the bar's line


@pytest.mark.usefixtures("_terminal")
def test_a_bar_stops_when_the_work_fails(capsys):
    bars = []

    def work():
        with Meter(5, "training", shown=True) as meter:
            bars.append(meter._bar)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    assert not bars[0].live.is_started
    assert "\x1b[?25h" in capsys.readouterr().err  # the cursor is shown again


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_written_where_progress_is_off(clock, capsys, monkeypatch, terminal):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with Meter(5, "training", shown=False) as meter:
        clock[0] += 100
        meter.advance(1, "epoch 1/5")
    assert list(steps(range(3), 3, "decoding", shown=False)) == [0, 1, 2]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("items", [[], ["a"], list(range(100))])
def test_steps_yield_every_item_in_order(items):
    assert list(steps(iter(items), len(items), "decoding", shown=True)) == items


def test_steps_take_an_item_only_when_it_is_asked_for():
    taken = []
    found = steps((taken.append(n) or n for n in range(10)), 10, "decoding", shown=False)
    assert taken == []
    assert next(found) == 0
    assert taken == [0]


def test_the_failure_of_an_item_reaches_the_caller():
    def items():
        yield 1
        raise ValueError("broken item")

    with pytest.raises(ValueError, match="broken item"):
        list(steps(items(), 2, "decoding", shown=True))


class Gone:
    """A stream that nobody reads any more."""

    def write(self, _):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        raise BrokenPipeError(32, "Broken pipe")


def test_the_work_continues_where_nobody_reads_any_more(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone())
    with logging_enabled(True), Meter(20, "training", shown=True) as meter:
        for _ in range(20):
            clock[0] += 1
            meter.advance()
        log("a line")
