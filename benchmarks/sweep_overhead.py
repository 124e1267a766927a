"""What a 60-point one-shot sweep of LeNet-300-100 on MNIST costs beyond the forward passes of its evaluations.

Three figures from one run, so that they share the state of the machine:
- the sweep itself, as a user starts it: seconds per point from the end of the first trial to the exit of the process;
- the forward passes alone: the network on validation and test images, as often as the sweep evaluates an arm;
- one process per point: some points, each with `python -m wavesweep` and an output directory that has the baseline.

    python benchmarks/sweep_overhead.py --data data
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from wavesweep.data.datasets import load_dataset
from wavesweep.measure.quality import forward
from wavesweep.models.zoo import build_model
from wavesweep.settings.schema import DatasetSettings, ModelSettings, PathsSettings, Settings

WAVELETS = ("haar", "db2", "bior2.2", "rbio3.3", "sym4")
LEVELS = (1, 2, 3)
PERCENTILES = (80, 85, 90, 95)
ALONE = 5  # points that get a process of their own
ROUNDS = 5
SUBJECT = ["model=lenet300", "dataset=mnist"]


def timed_sweep(paths: list[str], count: int) -> float:
    """Seconds from the end of the first trial to the end of the process."""
    grid = [
        f"wavelet={','.join(WAVELETS)}",
        f"level={','.join(map(str, LEVELS))}",
        f"threshold.percentile={','.join(map(str, PERCENTILES))}",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "wavesweep", "-m", *SUBJECT, *grid, *paths],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    started = 0.0
    for line in process.stderr:
        if line.startswith(f"[1/{count}]"):
            started = time.perf_counter()
    if process.wait() != 0 or not started:
        raise SystemExit("the sweep failed")
    return time.perf_counter() - started


def forward_seconds(data: str) -> float:
    """Median seconds of the forward passes that the evaluation of one arm needs."""
    settings = Settings(
        model=ModelSettings(name="lenet300"), dataset=DatasetSettings(name="mnist"), paths=PathsSettings(data=data)
    )
    dataset = load_dataset(settings)
    model = build_model(settings.model, dataset.input_shape, dataset.classes, 0)
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        for split in (dataset.validation, dataset.test):
            forward(model, dataset, split, torch.device("cpu"))
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])  # the first normalises the images


def seconds_alone(paths: list[str]) -> float:
    """Median seconds of a process that computes one point."""
    seconds = []
    for percentile in range(50, 50 + ALONE):  # none of the sweep's
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "wavesweep", *SUBJECT, f"threshold.percentile={percentile}", *paths],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def main() -> None:
    """Run all three and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data", help="directory of the data sets")
    data = parser.parse_args().data
    outputs = Path(tempfile.mkdtemp())
    try:
        paths = [f"paths.data={data}", f"paths.outputs={outputs}"]
        count = len(WAVELETS) * len(LEVELS) * len(PERCENTILES)
        # Trains the baseline, with an arm that the sweep does not have.
        train = ["method=dct", "compare=[]", "threshold.percentile=1"]
        subprocess.run(
            [sys.executable, "-m", "wavesweep", *SUBJECT, *train, *paths], stdout=subprocess.DEVNULL, check=True
        )
        before = forward_seconds(data)
        sweep_seconds = timed_sweep(paths, count)
        evaluated = len(list(outputs.glob("arms/*/arm.json"))) - 1
        forward_s = median([before, forward_seconds(data)])
        alone = seconds_alone(paths)
    finally:
        shutil.rmtree(outputs)
    each = sweep_seconds / (count - 1)
    reported = 3 * (count - 1)
    run = evaluated - 3  # the first trial's three are not timed
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"sweep: {1000 * each:.0f} ms per point after the first, {sweep_seconds:.1f} s for {count - 1} points")
    print(f"forward passes of one arm (validation and test): {1000 * forward_s:.0f} ms")
    print(f"ratio to the forward passes of all {reported} arms reported: {sweep_seconds / (reported * forward_s):.2f}")
    print(f"ratio to those of the {run} arms that had to be evaluated:  {sweep_seconds / (run * forward_s):.2f}")
    print(f"one process per point: {alone:.2f} s per point, {alone / each:.0f} times the sweep's")


if __name__ == "__main__":
    main()
