"""Hypervolume of searches of 100 trials against a grid of 2,048 points over the same space, on LeNet-300-100.

    python benchmarks/search_quality.py --data data --outputs outputs

runs `search=pareto` with the space of the grid and five seeds of the sampler, and random search likewise, by the
command line. The points of the grid are encoded and their validation accuracy is measured, without decoding the file
(its symbols are the same) and without all else that a trial records; those that have a record are compared with it.
It can be stopped and continues; an hour on two cores.

Prints the hypervolume of each, as `search=pareto` defines it, and that of the corner that matters in practice: at least
95 % validation accuracy in at most a tenth of the dense network's bytes.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wavesweep.cli.composition import compose_settings
from wavesweep.compression.compressor import compress_arm
from wavesweep.compression.network import validation_quality
from wavesweep.compression.plan import plan_pruned
from wavesweep.experiment.arms import EvaluationContext, make_context
from wavesweep.experiment.baseline import load_workload, obtain_baseline
from wavesweep.measure.fronts import hypervolume
from wavesweep.pruning.prune import ArmSpec
from wavesweep.settings.keys import trial_key
from wavesweep.settings.schema import Settings

SUBJECT = ("model=lenet300", "dataset=mnist")
SEEDS = range(5)
GRID = {
    "wavelet": "haar,db2,db4,sym4,coif1,bior2.2,bior4.4,rbio3.3",
    "level": "1,2,3,4",
    "layout": "auto,channel",
    "threshold.percentile": "40,48.5,57,65.5,74,82,90.5,99",
    "quantize.bits": "3,4,6,8",
}
# The same as a space; the percentile and the bits may lie between the grid's.
SPACE = (
    *(
        "search.start=[]",
        "search.refine=false",
        "method=wavelet",
        "retrain=none",
        "threshold=percentile",
        "quantize=uniform",
        "quantize.step=null",
    ),
    *(
        "quantize.other=float16",
        "shrink=false",
        f"wavelet={GRID['wavelet']}",
        "level=range(1,5)",
        "layout=auto,channel",
    ),
    *("threshold.percentile=range(40,99.5,0.5)", "quantize.bits=range(3,9)"),
)
# The reference points: accuracy, and bytes as a share of the dense network's.
CORNERS = {"whole range": (0.0, 1.0), "95 % and a tenth": (0.95, 0.1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data", help="directory of the data sets")
    parser.add_argument("--outputs", default="outputs", type=Path, help="where records go")
    options = parser.parse_args()
    common = (*SUBJECT, f"paths.data={options.data}", f"paths.outputs={options.outputs}")
    points: dict[str, list[NDArray[np.float64]]] = {}
    for sampler in ("tpe", "random"):
        points[sampler] = []
        for seed in SEEDS:
            name = f"quality-{sampler}-{seed}"
            command(
                "search=pareto",
                *SPACE,
                f"search.study={name}",
                f"search.sampler={sampler}",
                f"search.seed={seed}",
                *common,
            )
            points[sampler].append(of_study(options.outputs, name))
    points["grid"] = [of_grid(options.data, options.outputs)]
    show(points)


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "wavesweep", "-m", *arguments], check=True, stdout=subprocess.DEVNULL)


def of_study(outputs: Path, name: str) -> NDArray[np.float64]:
    """Validation accuracy and share of the dense bytes of all trials on a study's front."""
    content = json.loads((outputs / "studies" / name / "front.json").read_text())
    dense = content["reference"][1]
    return np.array([(accuracy, size / dense) for accuracy, size in (row["values"] for row in content["front"])])


def of_grid(data: str, outputs: Path) -> NDArray[np.float64]:
    """The same of all points of the grid; those that are measured are kept in a file, a line each."""
    kept = outputs / "search_quality_grid.jsonl"
    found = {}
    if kept.exists():
        found = {row["point"]: row for row in map(json.loads, kept.read_text().splitlines())}
    points = [",".join(values) for values in product(*(values.split(",") for values in GRID.values()))]
    random.Random(0).shuffle(points)
    bench = None
    with kept.open("a") as file:
        for number, point in enumerate(points):
            if point in found:
                continue
            settings = settings_of(point, data, outputs)
            bench = bench or bench_of(settings)
            found[point] = {"point": point, **measured(settings, bench)}
            file.write(json.dumps(found[point]) + "\n")
            file.flush()
            if number % 100 == 0:
                print(f"grid: {number} of {len(points)}", file=sys.stderr, flush=True)
    same = [found[point] == {"point": point, **row} for point, row in records(points, data, outputs).items()]
    print(f"grid: {len(points)} points; {len(same)} of them have records, {sum(same)} the same")
    return np.array([(found[point]["accuracy"], found[point]["share"]) for point in points])


@cache
def common_settings() -> Settings:
    return compose_settings([*SUBJECT, "compare=[]"])


def settings_of(point: str, data: str, outputs: Path) -> Settings:
    wavelet, level, layout, percentile, bits = point.split(",")
    settings = deepcopy(common_settings())
    settings.wavelet, settings.level, settings.layout = wavelet, int(level), layout
    settings.threshold.percentile, settings.quantize.bits = float(percentile), int(bits)
    settings.paths.data, settings.paths.outputs, settings.progress = data, str(outputs), False
    return settings


def bench_of(settings: Settings) -> EvaluationContext:
    workload = load_workload(settings)
    return make_context(
        settings, workload, obtain_baseline(settings, workload, torch.device("cpu")), torch.device("cpu")
    )


def measured(settings: Settings, bench: EvaluationContext) -> dict[str, float]:
    plans, _ = plan_pruned(bench.workload.model, settings, bench.workload.dataset.input_shape)
    spec = ArmSpec("wavelet", tuple(plans), settings.boundary, settings.threshold, settings.seed)
    coded = compress_arm(spec, replace(bench.settings, quantize=settings.quantize), bench.network)
    state = {name: value.half().float() for name, value in bench.network.state.items()}  # as the file has the biases
    state |= {tensor.plan.name: c.weight() for tensor, c in zip(coded.pruned.tensors, coded.tensors, strict=True)}
    share = len(coded.content) / bench.baseline["dense_bytes"]
    return {"accuracy": validation_quality(bench.network, state)["accuracy"], "share": share}


def records(points: Sequence[str], data: str, outputs: Path) -> dict[str, dict[str, float]]:
    """Of the points that a search has come to: what was measured on the decoded file."""
    found = {}
    for point in points:
        path = outputs / "runs" / trial_key(settings_of(point, data, outputs)) / "result.json"
        if path.exists():
            arm = json.loads(path.read_text())["arms"][0]
            share = arm["stored_bytes"] / arm["dense_bytes"]
            found[point] = {"accuracy": arm["validation"]["accuracy"], "share": share}
    return found


def show(points: dict[str, list[NDArray[np.float64]]]) -> None:
    for corner, reference in CORNERS.items():
        volumes = {name: [hypervolume(run, (True, False), reference) for run in runs] for name, runs in points.items()}
        grid = volumes["grid"][0]
        print(f"\nreference point {corner}: accuracy {reference[0]:g}, bytes {reference[1]:g} of the dense network's")
        for name, values in volumes.items():
            spread = f" +- {statistics.stdev(values):.5f}" if len(values) > 1 else ""
            mean = statistics.mean(values)
            print(f"{name:8} {mean:.5f}{spread}   {100 * mean / grid:.2f} % of the grid's")


if __name__ == "__main__":
    main()
