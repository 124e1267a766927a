"""Running the real command line from tests: in processes of its own, and what it leaves behind."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The same on every machine: one thread, no GPU, and no network, as no answer comes from this proxy.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"},
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "no_proxy": "",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}
COMMAND = (sys.executable, "-m", "wavesweep")
README_SWEEP = ("-m", "wavelet=bior2.2,rbio3.3", "level=1,3,5")
# A baseline that is trained in a moment; for tests in which accuracy does not matter.
QUICK = "model.recipe.epochs=2"

# Starting Python with torch takes seconds, forking a process that has loaded it takes milliseconds. Each command
# line still has a process, and so a Hydra, of its own.
FORK_EACH = """
import json, os, signal, sys, time, traceback
# With all that a command imports only when it needs it; PyTorch's compiler comes with the first optimizer, in seconds.
import torch, torch_pruning, wavesweep.experiment.trial, wavesweep.sweep.scan, wavesweep.sweep.search.run
from optuna.storages import RDBStorage
torch.optim.Adam([torch.zeros(1)])
from numpy import zeros
from wavesweep.codec import compiled, planes, range_coder
compiled.compiled()
range_coder.encode([([planes.Plane((3, 3))], [zeros((3, 3), "int32")])])
RDBStorage("sqlite://")
from wavesweep.cli.app import main
from wavesweep.cli.composition import compose_settings

compose_settings([])  # what the first composition of a process takes longer for

for line in sys.stdin:
    directory, log, interrupt_after, arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        status = 70
        try:
            for name, descriptor in (("stdout", 1), ("stderr", 2)):
                os.dup2(os.open(f"{log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            os.chdir(directory)
            sys.argv = ["wavesweep", *arguments]
            status = main()
        except SystemExit as leaving:
            status = leaving.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status or 0)
    if interrupt_after:
        time.sleep(interrupt_after)
        os.kill(child, signal.SIGINT)  # it is there until it is waited for
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps((status, time.time_ns())), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    status: int
    stdout: str
    stderr: str
    cpu_seconds: float = 0.0
    ended: int = 0  # on the clock of the files' times

    @property
    def error(self) -> str:
        """The one line that a failed command prints after its progress, if it prints one."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.stderr
        return lines[0]

    @property
    def table(self) -> str:
        """Standard output without the line that counts what was there before this run."""
        return "\n".join(line for line in self.stdout.splitlines() if "before this run" not in line)


@contextmanager
def started(directory: Path, *arguments: str, **options: Any) -> "Iterator[subprocess.Popen[str]]":
    """The command, running in `directory`; it does not outlive the block."""
    directory.mkdir(parents=True, exist_ok=True)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT} | options
    with subprocess.Popen([*COMMAND, *arguments], cwd=directory, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: "subprocess.Popen[str]", timeout: float = 600) -> Outcome:
    """Wait for a started command to end by itself."""
    used = _cpu_seconds_of_children()
    stdout, stderr = process.communicate(timeout=timeout)
    return Outcome(process.returncode, stdout, stderr, _cpu_seconds_of_children() - used)


def run(directory: Path, *arguments: str, **options: Any) -> Outcome:
    """Run the command in `directory` to its end."""
    with started(directory, *arguments, **options) as process:
        return finish(process)


def run_together(*work: tuple[Path, Sequence[str]]) -> list[Outcome]:
    """Run several commands at the same time, each in the directory beside it."""
    with ExitStack() as stack:
        processes = [stack.enter_context(started(directory, *arguments)) for directory, arguments in work]
        # A pipe that nobody reads blocks its writer, so all are read at once.
        with ThreadPoolExecutor() as pool:
            return list(pool.map(finish, processes))


class Forker:
    """Runs command lines one after the other in forks of one process that has loaded everything already."""

    def __init__(self, server: "subprocess.Popen[str]", logs: Path) -> None:
        self._server, self._logs, self._count = server, logs, 0

    def run(self, directory: Path, *arguments: str, interrupt_after: float = 0) -> Outcome:
        """Run one command line in `directory` to its end, or to SIGINT after some seconds."""
        directory.mkdir(parents=True, exist_ok=True)
        log = self._logs / str(self._count)
        self._count += 1
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps((str(directory), str(log), interrupt_after, arguments)) + "\n")
        self._server.stdin.flush()
        status, ended = json.loads(self._server.stdout.readline())
        return Outcome(status, Path(f"{log}.stdout").read_text(), Path(f"{log}.stderr").read_text(), ended=ended)


@contextmanager
def forking(logs: Path) -> Iterator[Forker]:
    """A forker whose commands print to files in `logs`."""
    command = [sys.executable, "-c", FORK_EACH]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENVIRONMENT, cwd=logs, text=True, stdin=pipe, stdout=pipe) as server:
        yield Forker(server, logs)
        server.communicate()


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 120) -> bool:
    """Wait until something happened while `process` runs; false if the process ended first."""
    deadline = time.monotonic() + seconds
    while not happened():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return True


def results(directory: Path, outputs: str = "outputs") -> list[Path]:
    """The result files of all finished trials of the command that ran in `directory`."""
    return sorted((directory / outputs).glob("runs/*/result.json"))


def records(directory: Path, outputs: str = "outputs") -> dict[str, dict[str, Any]]:
    """The records of all finished trials, by key."""
    return {path.parent.name: json.loads(path.read_text()) for path in results(directory, outputs)}


def written(paths: Sequence[Path]) -> dict[Path, int]:
    """When each file was last written."""
    return {path: path.stat().st_mtime_ns for path in paths}


def trial_rows(stdout: str) -> list[str]:
    """The rows of the table, without its head."""
    return [
        line
        for line in stdout.splitlines()
        if line.split(maxsplit=1)[:1] and line.split()[0].isdigit() and not line.split()[1].startswith("trials")
    ]


def without_timings(content: Any) -> Any:
    """A record without what differs between two runs of the same trial: times and the machine."""
    if isinstance(content, dict):
        timed = {"seconds", "inference_ms", "environment", "paths"}
        return {name: without_timings(value) for name, value in content.items() if name not in timed}
    if isinstance(content, list):
        return [without_timings(value) for value in content]
    return content


def _cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
