"""Encoding and decoding rates of the coders, beside gzip and xz on the same symbols.

The symbols are those of a network of ResNet-18's shapes whose coefficients are Laplacian with log-normal scales per
row and column, quantised so that about 84 % are zero: made up, but with the structure that real ones have.

    python benchmarks/codec_speed.py
    taskset -c 0 python benchmarks/codec_speed.py    # on one core
"""

import gzip
import lzma
import os
import platform
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from wavesweep.codec.planes import planes_of
from wavesweep.models.zoo import build_model
from wavesweep.pruning.plan import plan_tensors
from wavesweep.quantization.symbols import Symbols
from wavesweep.settings.registry import Codec, rows
from wavesweep.settings.schema import ModelSettings, Settings


def made_up_symbols() -> list[Symbols]:
    """One array of symbols per weight tensor of ResNet-18."""
    generator = np.random.default_rng(0)
    model = build_model(ModelSettings(name="resnet18"), (3, 32, 32), 10, 0)
    tensors = []
    for plan in plan_tensors(model, Settings(), (3, 32, 32)):
        if plan.pruned:
            rows = np.exp(generator.normal(0, 0.7, (plan.shape[0], 1)))
            columns = np.exp(generator.normal(0, 0.7, (1, plan.weights // plan.shape[0])))
            values = generator.laplace(0, 1, (len(rows), columns.size)) * rows * columns
            tensors.append(np.trunc(values / 2.6).clip(-127, 127).astype(np.int32).reshape(plan.shape))
    return tensors


def seconds(call: Callable[[], object]) -> tuple[float, object]:
    """The faster of two calls, and the result."""
    times = []
    for _ in range(2):
        started = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - started)
    return min(times), result


def main() -> None:
    """Print a row per coder: bytes, bits per coefficient, millions of coefficients per second."""
    torch.set_num_threads(1)
    symbols = made_up_symbols()
    planes = [planes_of([(0, "", tensor.shape)]) for tensor in symbols]
    tensors = [(plane, [tensor]) for plane, tensor in zip(planes, symbols, strict=True)]
    flat = np.concatenate([tensor.reshape(-1) for tensor in symbols])
    plain = flat.astype(np.int8).tobytes()
    assert np.array_equal(np.frombuffer(plain, np.int8), flat)
    coders: dict[str, tuple[Callable[[], bytes], Callable[[bytes], object]]] = {
        name: (
            partial(row.load().encode, tensors),
            partial(lambda decode, stream: decode(stream, planes), row.load().decode),
        )
        for name, row in rows(Codec).items()
    }
    coders["gzip -9"] = (lambda: gzip.compress(plain, 9), gzip.decompress)
    coders["xz -6"] = (lambda: lzma.compress(plain), lzma.decompress)
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, of which range alone uses more than one")
    print(f"{flat.size:,} coefficients in {len(symbols)} tensors, {np.mean(flat == 0):.1%} zero; gzip and xz get int8")
    print(f"{'coder':10}{'bytes':>12}{'bits each':>11}{'encode M/s':>12}{'decode M/s':>12}")
    for name, (encode, decode) in coders.items():
        encode_seconds, stream = seconds(encode)
        assert isinstance(stream, bytes)
        decode_seconds, _ = seconds(lambda decode=decode, stream=stream: decode(stream))
        rates = [flat.size / 1e6 / duration for duration in (encode_seconds, decode_seconds)]
        print(f"{name:10}{len(stream):12,}{8 * len(stream) / flat.size:11.3f}{rates[0]:12.1f}{rates[1]:12.1f}")


if __name__ == "__main__":
    main()
