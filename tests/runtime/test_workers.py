"""Workers end with their parent, however it ends; and which GPU each takes."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from wavesweep.runtime import devices, workers
from wavesweep.runtime.workers import die_with_parent, init_worker

# A parent with one worker; prints the worker's process id. `late`: the worker calls after its parent has ended.
PARENT = """
import multiprocessing, os, sys, time
from pathlib import Path
from wavesweep.runtime.workers import die_with_parent

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
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        worker = int(parent.stdout.readline())
        if when == "early":
            wait_until((tmp_path / "alive").exists)
        parent.kill()
    wait_until(lambda: not is_running(worker))
    assert (tmp_path / "alive").exists() == (when == "early")


def test_a_process_that_is_no_worker_is_left_alone():
    assert not die_with_parent()
    init_worker("json")


@pytest.mark.parametrize(
    ("name", "number"), [("MainProcess", None), ("LokyProcess-1", 0), ("LokyProcess-12", 11), ("SpawnProcess-2", None)]
)
def test_the_number_of_a_worker_is_that_of_its_process(monkeypatch, name, number):
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(name=name))
    assert workers.worker_number() == number


@pytest.mark.parametrize(
    ("count", "number", "device"), [(1, 5, "cuda"), (4, None, "cuda"), (4, 0, "cuda:0"), (4, 5, "cuda:1")]
)
def test_workers_take_the_gpus_in_turn(monkeypatch, count, number, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(devices, "worker_number", lambda: number)
    assert devices.choose_device("auto") == torch.device(device)
    assert devices.choose_device("cpu") == torch.device("cpu")
