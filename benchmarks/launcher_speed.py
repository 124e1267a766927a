"""How long a sweep takes with each launcher and number of workers.

The baseline is trained before, once, and copied into the fresh output directory of each run, so that only trials are
timed: from the start of the command to its exit, as a user waits. Runs take turns, so that what else the machine
does falls on all of them.

    python benchmarks/launcher_speed.py joblib:1 joblib:2 --data data                # 60 points, lenet5
    python benchmarks/launcher_speed.py basic joblib:2 submitit_local --points 4 20 --workload model=mlp dataset=digits

With two numbers of points the difference gives the seconds per trial, and the rest is what starting costs.
"""

import argparse
import itertools
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

WAVELETS = ("haar", "db2", "bior2.2", "rbio3.3", "sym4")
LEVELS = (1, 2, 3)
PERCENTILES = (80, 85, 90, 95)


def grid(points: int) -> list[str]:
    """Overrides of a grid with that many points, cut from 5 wavelets x 3 levels x 4 percentiles."""
    for wavelets, levels, percentiles in itertools.product(range(5, 0, -1), range(3, 0, -1), range(4, 0, -1)):
        if wavelets * levels * percentiles == points:
            return [
                f"wavelet={','.join(WAVELETS[:wavelets])}",
                f"level={','.join(map(str, LEVELS[:levels]))}",
                f"threshold.percentile={','.join(map(str, PERCENTILES[:percentiles]))}",
            ]
    raise SystemExit(f"no grid of {points} points in 5 x 3 x 4")


def launcher_arguments(launcher: str) -> list[str]:
    """Overrides for `basic`, `joblib:2`, `ray:2` or `submitit_local`."""
    name, _, workers = launcher.partition(":")
    key = {"joblib": "hydra.launcher.n_jobs", "ray": "+hydra.launcher.ray.init.num_cpus"}.get(name)
    return [f"hydra/launcher={name}", *([f"{key}={workers}"] if key and workers else [])]


def command(arguments: list[str], threads: int) -> tuple[float, float]:
    """Seconds of one run of the command line, and those of its processes on all cores (Ray's are not counted)."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    started, used = time.perf_counter(), cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "wavesweep", *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"failed: {' '.join(arguments)}\n{done.stderr}")
    return time.perf_counter() - started, cpu_seconds() - used


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("launchers", nargs="+", help="basic, joblib:<workers>, ray:<workers>, submitit_local")
    parser.add_argument("--workload", nargs="+", default=["model=lenet5", "dataset=mnist"])
    parser.add_argument("--data", default="data")
    parser.add_argument("--points", type=int, nargs="+", default=[60])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS; 0 leaves it to the launcher")
    chosen = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}, {' '.join(chosen.workload)}, "
        f"threads per process: {chosen.threads or 'as the launcher sets them'}",
        flush=True,
    )
    workload = [*chosen.workload, f"paths.data={chosen.data}", "progress=false"]
    runs = list(itertools.product(chosen.launchers, chosen.points))
    seconds: dict[tuple[str, int], list[float]] = {run: [] for run in runs}
    with tempfile.TemporaryDirectory() as directory:
        trained = Path(directory) / "trained"
        command([*workload, "compare=[]", "threshold.percentile=50", f"paths.outputs={trained}"], chosen.threads)
        for number, (launcher, points) in enumerate(runs * chosen.rounds):
            outputs = Path(directory) / str(number)
            shutil.copytree(trained / "baselines", outputs / "baselines")
            arguments = ["-m", *launcher_arguments(launcher), *grid(points), *workload, f"paths.outputs={outputs}"]
            elapsed, used = command(arguments, chosen.threads)
            seconds[launcher, points].append(elapsed)
            print(f"  {launcher}, {points} points: {elapsed:.1f} s, {used:.1f} s on all cores", flush=True)
            shutil.rmtree(outputs)
    report(chosen.launchers, sorted(chosen.points), {run: median(values) for run, values in seconds.items()})


def report(launchers: list[str], points: list[int], seconds: dict[tuple[str, int], float]) -> None:
    """Print a row per launcher; ratios are against the first."""
    few, many = points[0], points[-1]
    for launcher in launchers:
        total = seconds[launcher, many]
        line = f"{launcher:16} {many} points {total:8.1f} s   {seconds[launchers[0], many] / total:5.2f} times as fast"
        if few != many:
            each = (total - seconds[launcher, few]) / (many - few)
            line += f"   {each:6.2f} s per trial, {seconds[launcher, few] - few * each:5.1f} s to start"
        print(line)


if __name__ == "__main__":
    main()
