"""Ctrl-C in a sweep."""

import random
import signal

import pytest
from command_line import QUICK, finish, results, started, trial_rows, wait_until, written

pytestmark = pytest.mark.integration

GRID = ("-m", "wavelet=haar,sym4,rbio3.3", "level=1,2", QUICK)
STOPPED = "Stopped. Finished trials are kept; the same command continues from here."
INTERRUPTS = 60


def test_interrupted_sweep_says_how_to_go_on_and_does_so(tmp_path, forked):
    with started(tmp_path, *GRID) as process:
        assert wait_until(lambda: len(results(tmp_path)) >= 2, process)
        process.send_signal(signal.SIGINT)
        outcome = finish(process)
    assert outcome.status == 130
    assert outcome.stderr.splitlines()[-1] == STOPPED
    assert "Traceback" not in outcome.stderr
    before = written(results(tmp_path))
    assert 2 <= len(before) < 6

    again = forked.run(tmp_path, *GRID)
    assert again.status == 0, again.stderr
    assert f"6 done ({len(before)} of them before this run)" in again.stdout
    assert len(trial_rows(again.stdout)) == 6
    assert written(list(before)) == before
    # Being stopped is not a failure of the trial that was running.
    assert not list(tmp_path.glob("outputs/**/failure.json"))


@pytest.mark.slow
def test_interrupt_at_any_moment_is_neither_a_failure_nor_a_traceback(tmp_path, forked):
    # Libraries underneath turn some interrupts into errors of their own, so one moment is not enough.
    moments = random.Random(0)
    stopped = 0
    for number in range(INTERRUPTS):
        directory = tmp_path / str(number)
        outcome = forked.run(directory, *GRID, interrupt_after=moments.uniform(0.15, 1.5))
        assert not list(directory.glob("outputs/**/failure.json"))
        if outcome.status == 0:
            continue  # it was done before
        assert outcome.status == 130, outcome
        assert outcome.stderr.splitlines()[-1] == STOPPED
        assert "Traceback" not in outcome.stderr
        stopped += 1
    assert stopped > INTERRUPTS // 2
