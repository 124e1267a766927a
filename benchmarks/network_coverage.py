"""Networks that nobody here made: each compressed, saved, loaded and compared, without a setting of its own.

    python benchmarks/network_coverage.py [--only NAME ...] [--export]

Prints the table of `docs/reference/networks.md`, and fails where a network does not come back as it was coded or less
than 99 % of its matrices' bytes are coded. Matrices are the parameters of two or more dimensions, their bytes those of
float32.
"""

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from covered_networks import NETWORKS, CoveredNetwork
from torch import nn

import wavesweep
from wavesweep.codec.read import raw_bytes, read

OVERRIDES = ["wavelet=haar", "level=2", "threshold.percentile=50", "quantize.bits=8"]
_LEAST_CODED = 0.99
_HEAD = (
    "network",
    "parameters",
    "bytes",
    "times smaller",
    "of matrices coded",
    "of file not coded",
    "error",
    "seconds",
)


def made(network: CoveredNetwork) -> nn.Module:
    """The network, with the same weights each time."""
    torch.manual_seed(0)
    return network.make().eval()


def row(network: CoveredNetwork, path: Path) -> tuple[list[str], list[str]]:
    """The cells of a network's row, and what is wrong with it."""
    model, started = made(network), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = wavesweep.compress(model, OVERRIDES)
    wavesweep.save(small, path)
    # Weights that layers compute have become plain ones in the file, and in what is loaded.
    loaded = wavesweep.load(path, made(network)).state_dict()
    seconds = time.perf_counter() - started
    wrong = []
    coded = small.state_dict()
    if loaded.keys() != coded.keys() or not all(torch.equal(loaded[name], coded[name]) for name in coded):
        wrong.append("what is loaded is not what was coded")
    _, header = read(path)
    raw = raw_bytes(header)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    matrices = {name: value.numel() for name, value in coded.items() if _is_matrix(name, header, model, value)}
    share = 1 - sum(size for name, size in matrices.items() if name in raw) / max(sum(matrices.values()), 1)
    if share < _LEAST_CODED:
        wrong.append(f"only {share:.2%} of its matrices are coded")
    before = model.state_dict()
    known = [name for name in matrices if name in before]  # not those that a layer computes
    change = sum(float((coded[name] - before[name]).square().sum()) for name in known)
    error = (change / sum(float(before[name].square().sum()) for name in known)) ** 0.5
    size = small.stored_bytes
    cells = [
        network.name,
        f"{parameters:,}",
        f"{size:,}",
        f"{4 * parameters / size:.1f}",
        f"{100 * share:.2f} %",
        f"{100 * sum(raw.values()) / size:.1f} %",
        f"{error:.3f}",
        f"{seconds:.1f}",
    ]
    return cells, wrong


def _is_matrix(name: str, header: dict[str, object], model: nn.Module, value: torch.Tensor) -> bool:
    """Whether a tensor of the file is a parameter of several axes that is stored there under that name."""
    entries = header["tensors"]
    assert isinstance(entries, list)
    second = {entry["name"] for entry in entries if entry["kind"] == "same"}
    return name not in second and name not in dict(model.named_buffers()) and value.dim() > 1


def exported(network: CoveredNetwork, path: Path) -> str:
    """The size of the network as an ONNX file, or why there is none."""
    kind = torch.int64 if network.is_tokens else torch.float32
    try:
        size = wavesweep.export_onnx(
            path, made(network), path.with_suffix(".onnx"), input_shape=network.shape, dtype=kind
        )
    except wavesweep.WavesweepError as error:
        return str(error)
    return f"{size:,}"


def main() -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of names")
    parser.add_argument("--export", action="store_true", help="write each as ONNX too, which takes a minute for some")
    options = parser.parse_args()
    chosen = [one for one in NETWORKS if not options.only or one.name.startswith(tuple(options.only))]
    head = [*_HEAD, *(["ONNX, bytes"] if options.export else [])]
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}", flush=True)
    failed = False
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "network.wsz"
        for network in chosen:
            cells, wrong = row(network, path)
            if options.export:
                cells.append(exported(network, path) if network.is_plain else "-")
            print(f"| {' | '.join(cells)} |", flush=True)
            failed = failed or bool(wrong)
            for reason in wrong:
                print(f"{network.name}: {reason}", file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
