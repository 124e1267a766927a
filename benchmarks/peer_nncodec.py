"""Stored bytes at equal test accuracy: wavesweep against NNCodec, Fraunhofer HHI's coder of ISO/IEC 15938-17.

Both compress the same trained network as it is: nothing is pruned beforehand and nothing is trained afterwards.
- ours: a sweep of `quantize=rdo threshold=none` over `--steps`, every other setting from the overrides after `--`;
- the peer: dependent quantisation and optimised coder parameters, over all combinations of `--qp`, `--lambdas` (its
  rate-distortion trellis; 0, its default, is without) and `--other-qp` (its QP of biases and normalisation).
Sizes are those of files, accuracies those of what is decoded from them, measured by wavesweep on the same images.
Integer tensors, which the peer does not take, are counted as raw bytes. Its bytes at an accuracy between two of its
points are interpolated, linearly in their logarithm, on the envelope of its best points: it may choose its settings
by test accuracy, ours are as they come.

NNCodec needs NumPy 1, so it runs in an environment of its own, which need not have wavesweep:

    python -m venv peer && peer/bin/pip install nncodec
    python benchmarks/peer_nncodec.py --model lenet300 --dataset mnist --data data --peer peer/bin/python \
        --chart lenet300.png -- wavelet=haar level=2 layout=spatial

Without `--peer` only our curve is made. `--chart` needs matplotlib (`pip install -e ".[bench]"`).
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch

from wavesweep.cli.composition import compose_settings
from wavesweep.experiment.baseline import Baseline, Workload, load_workload, obtain_baseline
from wavesweep.experiment.inputs import input_digests
from wavesweep.measure.quality import evaluate
from wavesweep.runtime.records import RESULT_FILE
from wavesweep.settings.keys import trial_directory, trial_key

STEPS = (0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.14, 0.18)
QPS = tuple(range(-34, -9, 2))
DROPS = (0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0)  # points below the baseline, for the second table

# Runs in the peer's environment: weights.npz in, an encoded file and its decoded tensors out for each line of stdin.
PEER = """
import json, sys
from pathlib import Path
import numpy as np
from nncodec import nnc
place = Path(sys.argv[1])
parameters = dict(np.load(place / "weights.npz"))
for line in sys.stdin:
    job = json.loads(line)
    path = str(place / (job["name"] + ".nnc"))
    nnc.compress(dict(parameters), bitstream_path=path, qp=job["qp"], nonweight_qp=job["other_qp"],
                 lambda_scale=job["lambda"], use_dq=True, param_opt=True, row_skipping=True)
    decoded = nnc.decompress(path)
    np.savez(place / (job["name"] + ".npz"), **{name: decoded[name] for name in parameters})
"""


@dataclass(frozen=True)
class Point:
    """One compressed network: what made it, the bytes of its file, and accuracies from 0 to 1."""

    setting: str
    stored_bytes: int
    validation: float
    test: float


def our_points(overrides: Sequence[str], steps: Sequence[float], workload: Workload) -> list[Point]:
    """One point per step, from a sweep in a process of its own."""
    sweep = f"quantize.step={','.join(map(str, steps))}"
    subprocess.run([sys.executable, "-m", "wavesweep", "-m", *overrides, sweep], stdout=subprocess.DEVNULL, check=True)
    points = []
    for step in steps:
        settings = compose_settings([*overrides, f"quantize.step={step}"])
        directory = trial_directory(settings, trial_key(settings, input_digests(settings)))
        arm = json.loads((directory / RESULT_FILE).read_text())["arms"][0]
        accuracies = (arm["validation"]["accuracy"], arm["test"]["accuracy"])
        points.append(Point(f"step {step:g}", arm["stored_bytes"], *accuracies))
    return points


def peer_points(
    python: str, jobs: Sequence[tuple[int, float, int]], workload: Workload, baseline: Baseline, device: torch.device
) -> list[Point]:
    """One point per (qp, lambda, qp of the other tensors), encoded and decoded by the peer, measured here."""
    floats = {name: value.numpy() for name, value in baseline.state.items() if value.is_floating_point()}
    others = {name: value for name, value in baseline.state.items() if name not in floats}
    raw_bytes = sum(value.numel() * value.element_size() for value in others.values())
    named = {
        f"qp{qp}_lambda{weight:g}_other{other}": {"qp": qp, "lambda": weight, "other_qp": other}
        for qp, weight, other in jobs
    }
    points = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        np.savez(place / "weights.npz", **floats)
        lines = "\n".join(json.dumps({"name": name, **job}) for name, job in named.items())
        command = [python, "-c", PEER, str(place)]
        subprocess.run(command, input=lines, text=True, stdout=subprocess.DEVNULL, check=True)
        for name, job in named.items():
            decoded = np.load(place / f"{name}.npz")
            state = {key: torch.from_numpy(decoded[key].reshape(value.shape)) for key, value in floats.items()}
            size = (place / f"{name}.nnc").stat().st_size + raw_bytes
            setting = f"qp {job['qp']} lambda {job['lambda']:g} other {job['other_qp']}"
            points.append(Point(setting, size, *_accuracies({**state, **others}, workload, device)))
    return points


def _accuracies(state: dict[str, torch.Tensor], workload: Workload, device: torch.device) -> tuple[float, float]:
    """Accuracy on validation and test."""
    workload.model.load_state_dict(state)
    model, dataset = workload.model.to(device), workload.dataset
    validation = evaluate(model, dataset, dataset.validation, "validation", device)
    return validation["accuracy"], evaluate(model, dataset, dataset.test, "test", device)["accuracy"]


def envelope(points: Sequence[Point]) -> list[Point]:
    """The points that no smaller one equals in test accuracy; bytes and accuracy grow."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.stored_bytes, -point.test)):
        if not best or point.test > best[-1].test:
            best.append(point)
    return best


def bytes_for(best: Sequence[Point], accuracy: float) -> float | None:
    """Bytes at which an envelope reaches a test accuracy; None outside the accuracies it spans."""
    if not best or not best[0].test <= accuracy <= best[-1].test:
        return None
    for low, high in pairwise(best):
        if accuracy <= high.test:
            share = (accuracy - low.test) / (high.test - low.test)
            return math.exp((1 - share) * math.log(low.stored_bytes) + share * math.log(high.stored_bytes))
    return float(best[0].stored_bytes)


def print_points(title: str, points: Sequence[Point]) -> None:
    """The table of one curve."""
    print(f"\n{title}\n{'':32} {'bytes':>10} {'validation %':>13} {'test %':>8}")
    for point in points:
        print(f"{point.setting:32} {point.stored_bytes:10,} {100 * point.validation:13.2f} {100 * point.test:8.2f}")


def print_comparison(rows: Sequence[tuple[str, float, float | None, float | None]]) -> None:
    """For each (label, test accuracy, our bytes, the peer's bytes) what ours saves; a dash is outside a curve."""
    print(f"{'':32} {'test %':>8} {'ours':>10} {'peer':>10} {'saved %':>8}")
    for label, accuracy, ours, peer in rows:
        sizes = " ".join("         -" if size is None else f"{size:10,.0f}" for size in (ours, peer))
        saved = f"{100 * (1 - ours / peer):8.1f}" if ours is not None and peer is not None else "       -"
        print(f"{label:32} {100 * accuracy:8.2f} {sizes} {saved}")


def draw(path: str, title: str, baseline: float, curves: dict[str, Sequence[Point]]) -> None:
    """Test accuracy against bytes, and the envelope of each curve."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, points) in enumerate(curves.items()):
        best, colour = envelope(points), f"C{number}"
        axes.semilogx([p.stored_bytes for p in points], [100 * p.test for p in points], ".", color=colour, alpha=0.5)
        axes.semilogx([p.stored_bytes for p in best], [100 * p.test for p in best], "o-", color=colour, label=name)
    axes.axhline(100 * baseline, color="grey", linestyle=":", label="before compression")
    axes.set(title=title, xlabel="stored bytes", ylabel="test accuracy, %")
    axes.set_ylim(100 * baseline - 4, 100 * baseline + 0.5)
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lenet300", choices=("lenet300", "lenet5", "resnet20"))
    parser.add_argument("--dataset", default="mnist", choices=("mnist", "image_folder"))
    parser.add_argument("--data", default="data", help="directory of the data sets, or of the image folder")
    parser.add_argument("--outputs", help="directory of our records, with the baseline (default: temporary)")
    parser.add_argument("--peer", help="a python that has nncodec; without it only our curve is made")
    parser.add_argument("--steps", type=float, nargs="+", default=STEPS, help="quantize.step of our points")
    parser.add_argument("--qp", type=int, nargs="+", default=QPS, help="the peer's qp of weights")
    parser.add_argument(
        "--lambdas", type=float, nargs="+", default=(0.0, 1.0, 2.0, 4.0), help="the peer's lambda_scale"
    )
    parser.add_argument("--other-qp", type=int, nargs="+", default=(-40,), help="the peer's nonweight_qp")
    parser.add_argument("--chart", help="PNG file for accuracy against bytes")
    parser.add_argument("overrides", nargs="*", help="settings of wavesweep, after --")
    return parser.parse_args()


def main() -> None:
    """Make both curves and print where ours lies below the peer's."""
    given = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        place = "dataset.path" if given.dataset == "image_folder" else "paths.data"
        subject_overrides = [f"model={given.model}", f"dataset={given.dataset}", f"{place}={given.data}"]
        fixed = ["quantize=rdo", "threshold=none", "compare=[]", f"paths.outputs={given.outputs or temporary}"]
        overrides = [*subject_overrides, *fixed, *given.overrides]
        settings = compose_settings(overrides)
        workload, device = load_workload(settings), torch.device("cpu")
        baseline = obtain_baseline(settings, workload, device)
        quality = {name: baseline.record[name]["accuracy"] for name in ("validation", "test")}
        print(f"{given.model} on {given.dataset}, {' '.join(given.overrides)}".rstrip(" ,"))
        print(f"before compression: {baseline.record['dense_bytes']:,} bytes as float32, ", end="")
        print(f"validation {100 * quality['validation']:.2f} %, test {100 * quality['test']:.2f} %", flush=True)
        ours = our_points(overrides, given.steps, workload)
        print_points("wavesweep", ours)
        sys.stdout.flush()
        curves: dict[str, Sequence[Point]] = {"wavesweep": ours}
        if given.peer:
            jobs = list(product(given.qp, given.lambdas, given.other_qp))
            peer = peer_points(given.peer, jobs, workload, baseline, device)
            curves["NNCodec"] = peer
            print_points("NNCodec", peer)
            best, our_best = envelope(peer), envelope(ours)
            print("\nat the test accuracy of each of our points")
            rows = [(p.setting, p.test, float(p.stored_bytes), bytes_for(best, p.test)) for p in ours]
            print_comparison(rows)
            print("\nboth envelopes, by test accuracy below the baseline's")
            levels = [(f"{drop:g} points", quality["test"] - drop / 100) for drop in DROPS]
            print_comparison([(label, at, bytes_for(our_best, at), bytes_for(best, at)) for label, at in levels])
        if given.chart:
            draw(given.chart, f"{given.model} on {given.dataset}, nothing retrained", quality["test"], curves)


if __name__ == "__main__":
    main()
