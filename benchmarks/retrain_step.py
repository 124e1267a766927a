"""A step of retraining against a plain training step of the same network, optimizer and batch.

All variants take turns, a few steps each, so that they see the same machine: read the ratios. What a variant adds is
the synthesis of the weights from masked coefficients with its gradient, and with `steps` trained rounding, with `rate`
the estimate of the bits as well; `channels first` is a plain step of the network as PyTorch makes it. One thread, in
processor time, since other processes may share the cores.

    python benchmarks/retrain_step.py
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from wavesweep.compression.plan import plan_pruned
from wavesweep.models.zoo import build_model, with_channels_last
from wavesweep.pruning.prune import ArmSpec, prune
from wavesweep.quantization.trainable import first_quantizer
from wavesweep.settings.schema import Recipe, Settings, ThresholdSettings
from wavesweep.training.domain import Coefficients
from wavesweep.training.loss import batch_loss
from wavesweep.training.optimizers import make_optimizer
from wavesweep.training.rate import REFRESH_STEPS, BitsPenalty

NETWORKS = {"lenet5": (1, 28, 28), "resnet20": (3, 32, 32)}
# Steps per turn.
STEPS = 4
# Name to method, wavelet, layout, and what is trained besides the coefficients.
VARIANTS = {
    "identity": ("magnitude", "haar", "auto", ""),
    "bior2.2": ("wavelet", "bior2.2", "auto", ""),
    "haar": ("wavelet", "haar", "auto", ""),
    "dct": ("dct", "haar", "auto", ""),
    "dct of kernels": ("dct", "haar", "spatial", ""),
    "rotation": ("rotation", "haar", "auto", ""),
    "shuffled haar": ("shuffled", "haar", "auto", ""),
    "identity, steps": ("magnitude", "haar", "auto", "steps"),
    "bior2.2, steps": ("wavelet", "bior2.2", "auto", "steps"),
    "identity, rate": ("magnitude", "haar", "auto", "rate"),
    "bior2.2, rate": ("wavelet", "bior2.2", "auto", "rate"),
}


def network_of(settings: Settings, shape: tuple[int, int, int]) -> nn.Module:
    """The network as trials train it."""
    return with_channels_last(build_model(settings.model, shape, 10, seed=0), settings.model)


def step_of(
    network: nn.Module, batch: tuple[Tensor, Tensor], penalty: BitsPenalty | None, fused: bool | None = None
) -> Callable[[], None]:
    """A training step as a function."""
    optimizer = make_optimizer(network.parameters(), Recipe(optimizer="adam"), fused)
    network.train()
    done = 0

    def step() -> None:
        nonlocal done
        loss = batch_loss(network, *batch, precision="float32")
        if penalty is not None:
            if done % REFRESH_STEPS == 0:
                penalty.refresh()
            loss = loss + penalty.loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        done += 1

    return step


def variant(name: str, batch: tuple[Tensor, Tensor], kind: tuple[str, str, str, str]) -> Callable[[], None]:
    """A step of the network `name` in the coefficients."""
    settings = Settings(wavelet=kind[1], layout=kind[2])
    settings.model.name, settings.method.name = name, kind[0]
    network = network_of(settings, NETWORKS[name])
    plans = tuple(plan_pruned(network, settings, NETWORKS[name])[0])
    spec = ArmSpec(kind[0], plans, "periodization", ThresholdSettings(percentile=90.0), 0)
    pruned = prune(network.state_dict(), spec)
    coefficients = Coefficients(network, spec, pruned.tensors, regrow=False, masked=True)
    penalty = None
    if kind[3]:
        coefficients.quantize([first_quantizer(tensor, 0.5, "layer") for tensor in pruned.tensors])
    if kind[3] == "rate":
        penalty = BitsPenalty(coefficients, 1.0, 0.0)
    return step_of(network, batch, penalty, fused=True)


def main() -> None:
    """Print the median milliseconds of each variant and its ratio to a plain step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"one thread, batches of {given.batch_size}, {given.rounds} rounds")
    for name in given.networks:
        shape = NETWORKS[name]
        generator = torch.Generator().manual_seed(0)
        batch = (
            torch.randn(given.batch_size, *shape, generator=generator),
            torch.randint(0, 10, (given.batch_size,), generator=generator),
        )
        settings = Settings()
        settings.model.name = name
        steps = {"plain": step_of(network_of(settings, shape), batch, None)}
        first = build_model(settings.model, shape, 10, seed=0)
        steps["channels first"] = step_of(first, batch, None)
        steps |= {label: variant(name, batch, kind) for label, kind in VARIANTS.items()}
        times: dict[str, list[float]] = {label: [] for label in steps}
        for number in range(given.rounds + 1):
            for label, step in steps.items():
                step()  # brings its own numbers back into the caches
                started = time.process_time()
                for _ in range(STEPS):
                    step()
                if number:  # the first round warms up
                    times[label].append((time.process_time() - started) * 1e3 / STEPS)
        plain = median(times["plain"])
        for label, found in times.items():
            ratio = median(a / b for a, b in zip(found, times["plain"], strict=True))
            print(f"{name:9} {label:16} {median(found):8.1f} ms {ratio:6.2f}", flush=True)
        print(f"{name}: plain step {plain:.1f} ms")


if __name__ == "__main__":
    main()
