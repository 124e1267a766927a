"""Workers end with their parent, however it ends."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wavesweep.workers import begin, die_with_parent

# A parent with one worker; prints the worker's process id. `late`: the worker calls after its parent has ended.
PARENT = """
import multiprocessing, os, sys, time
from pathlib import Path
from wavesweep.workers import die_with_parent

def work(late, parent):
    while late and os.getppid() == parent:
        time.sleep(0.01)
    die_with_parent()
    Path("alive").touch()
    time.sleep(600)

worker = multiprocessing.get_context("fork").Process(target=work, args=(sys.argv[1] == "late", os.getpid()))
worker.start()
print(worker.pid, flush=True)
time.sleep(600)
"""


def is_running(process):
    try:
        # Where nobody reaps it, what is left is a zombie.
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(happened, seconds=20):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("when", ["early", "late"])
def test_worker_ends_with_a_killed_parent(tmp_path, when):
    command = [sys.executable, "-c", PARENT, when]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = int(parent.stdout.readline())
        if when == "early":
            wait_until((tmp_path / "alive").exists)
        parent.kill()
    wait_until(lambda: not is_running(worker))
    assert (tmp_path / "alive").exists() == (when == "early")


def test_a_process_that_is_no_worker_is_left_alone():
    assert not die_with_parent()
    begin()
