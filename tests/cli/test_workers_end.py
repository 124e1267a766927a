"""joblib's workers end with the command that started them, whether it is killed or interrupted."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from command_line import finish, results, run, started, wait_until, written

# Trials of a second or so, so that workers are in the middle of one.
SWEEP = (
    *("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "wavelet=haar,sym2,bior2.2", "level=1,2,3"),
    *("model.recipe.epochs=2", "model.recipe.batch_size=16"),
)
POINTS = 9
STOPPED = "Stopped. Finished trials are kept; the same command continues from here."
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")]


def is_running(process):
    try:
        # Where nobody reaps it, what is left of a process is a zombie.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(process):
    found = set()
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        found |= {int(child) for child in path.read_text().split()}
    return found


def all_end(processes, seconds=20):
    deadline = time.monotonic() + seconds
    while left := [process for process in processes if is_running(process)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []


def test_killed_sweep_leaves_no_workers_and_is_completed_by_the_same_command(tmp_path):
    with started(tmp_path, *SWEEP) as process:
        assert wait_until(lambda: len(results(tmp_path)) >= 2, process, 600)
        workers = children(process.pid)
        assert len(workers) >= 2
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert all_end(workers) == []
    before = written(results(tmp_path))
    assert 2 <= len(before) < POINTS

    outcome = run(tmp_path, *SWEEP)
    assert outcome.status == 0, outcome.stderr
    assert f"{POINTS} done ({len(before)} of them before this run), 0 failed" in outcome.stdout
    assert written(list(before)) == before


@pytest.mark.parametrize("finished", [0, 2])
def test_interrupted_sweep_stops_with_its_workers(tmp_path, finished):
    # In a session of its own, where the signal reaches every process as it does from a terminal.
    with started(tmp_path, *SWEEP, start_new_session=True) as process:
        assert wait_until(lambda: len(children(process.pid)) >= 2 and len(results(tmp_path)) >= finished, process, 600)
        workers = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        outcome = finish(process)
    assert all_end(workers) == []
    assert outcome.status == 130
    assert outcome.stderr.splitlines()[-1] == STOPPED
    assert "Traceback" not in outcome.stderr
    assert len(results(tmp_path)) < POINTS
    assert not list(tmp_path.glob("outputs/**/failure.json"))


def test_killed_worker_costs_no_trial(tmp_path):
    with started(tmp_path, *SWEEP) as process:
        assert wait_until(lambda: len(results(tmp_path)) >= 2, process, 600)
        computing = [path for path in Path("/proc").glob("[0-9]*") if _is_worker(path, process.pid)]
        os.kill(int(computing[0].name), signal.SIGKILL)
        outcome = finish(process)
    assert outcome.status == 0, outcome.stderr
    assert f"{POINTS} done (0 of them before this run), 0 failed" in outcome.stdout


def _is_worker(path, parent):
    try:
        return int(path.name) in children(parent) and b"LokyProcess" in (path / "cmdline").read_bytes()
    except OSError:
        return False
