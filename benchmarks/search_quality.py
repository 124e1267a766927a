"""Hypervolume of searches of 100 trials against a grid of 2,048 points over the same space, on LeNet-300-100.

    python benchmarks/search_quality.py --data data --outputs outputs

runs `search=pareto` with its default space and five seeds of the sampler, random search likewise, and the grid, all by
the command line and into one directory, so that it can be stopped and goes on. An hour and a half on two cores.
Prints the hypervolume of each, as `search=pareto` defines it, and of the corner that matters in practice: at least 95 %
validation accuracy in at most a tenth of the dense network's bytes.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wavesweep.pareto import hypervolume

SUBJECT = ("model=lenet300", "dataset=mnist")
SEEDS = range(5)
GRID = {
    "wavelet": "haar,db2,db4,sym4,coif1,bior2.2,bior4.4,rbio3.3",
    "level": "1,2,3,4",
    "layout": "auto,channel",
    "threshold.percentile": "40,48.5,57,65.5,74,82,90.5,99",
    "quantize.bits": "3,4,6,8",
}
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
            command("search=pareto", f"search.study={name}", f"search.sampler={sampler}", f"search.seed={seed}", *common)
            points[sampler].append(of_study(options.outputs, name))
    command("compare=[]", *(f"{key}={values}" for key, values in GRID.items()), *common)
    points["grid"] = [of_grid(options.outputs)]
    show(points)


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "wavesweep", "-m", *arguments], check=True, stdout=subprocess.DEVNULL)


def of_study(outputs: Path, name: str) -> NDArray[np.float64]:
    """Validation accuracy and share of the dense bytes of all trials on a study's front."""
    content = json.loads((outputs / "studies" / name / "front.json").read_text())
    dense = content["reference"][1]
    return np.array([(accuracy, size / dense) for accuracy, size in (row["values"] for row in content["front"])])


def of_grid(outputs: Path) -> NDArray[np.float64]:
    """The same of all trials that are points of the grid."""
    allowed = {key: values.split(",") for key, values in GRID.items()}
    found = []
    for path in (outputs / "runs").glob("*/result.json"):
        record = json.loads(path.read_text())
        settings = record["settings"]
        values = {
            "wavelet": settings["wavelet"],
            "level": str(settings["level"]),
            "layout": settings["layout"],
            "threshold.percentile": f"{settings['threshold']['percentile']:g}",
            "quantize.bits": str(settings["quantize"]["bits"]),
        }
        if settings["model"]["name"] == "lenet300" and all(values[key] in allowed[key] for key in allowed):
            arm = record["arms"][0]
            found.append((arm["validation"]["accuracy"], arm["stored_bytes"] / arm["dense_bytes"]))
    print(f"grid: {len(found)} points")
    return np.array(found)


def show(points: dict[str, list[NDArray[np.float64]]]) -> None:
    for corner, reference in CORNERS.items():
        volumes = {
            name: [hypervolume(run, (True, False), reference) for run in runs] for name, runs in points.items()
        }
        grid = volumes["grid"][0]
        print(f"\nreference point {corner}: accuracy {reference[0]:g}, bytes {reference[1]:g} of the dense network's")
        for name, values in volumes.items():
            spread = f" +- {statistics.stdev(values):.5f}" if len(values) > 1 else ""
            mean = statistics.mean(values)
            print(f"{name:8} {mean:.5f}{spread}   {100 * mean / grid:.2f} % of the grid's")


if __name__ == "__main__":
    main()
