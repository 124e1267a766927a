"""Inference of networks whose units are zero, against the same networks without these units.

Both run in turns, so that both see the same machine. Weights are random: speed does not depend on them. Normalisations
are shifted such that a zero unit emits zero after its activation; what real ones emit decides how many units can go.
"""

import argparse
import time

import numpy as np
import torch
from torch import nn

from wavesweep.measure.cost import multiply_accumulates, parameters
from wavesweep.models.zoo import build_model
from wavesweep.settings.schema import ModelSettings
from wavesweep.shrink.units import shrink

NETWORKS = {"lenet300": (1, 28, 28), "lenet5": (1, 28, 28), "resnet20": (3, 32, 32), "resnet18": (3, 32, 32)}


def zeroed(name: str, share: float) -> nn.Module:
    """A network with a share of the units of each hidden layer zero; residual stages lose none."""
    model = build_model(ModelSettings(name=name), NETWORKS[name], 10, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    layers = [(key, m) for key, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for key, layer in layers[:-1]:
        if name.startswith("resnet") and not key.endswith(".conv1"):
            continue
        gone = torch.randperm(len(layer.weight), generator=generator)[: round(share * len(layer.weight))]
        layer.weight.data[gone] = 0
        if name.startswith("resnet"):
            model.get_submodule(key.replace("conv1", "bn1")).bias.data[gone] = -1
    return model


def times_ms(models: list[nn.Module], images: torch.Tensor, rounds: int) -> list[float]:
    """Median milliseconds per call of each model, called in turns."""
    found: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for number in range(rounds + 2):
            for model, times in zip(models, found, strict=True):
                started = time.perf_counter()
                model(images)
                if number >= 2:  # the first ones warm up
                    times.append((time.perf_counter() - started) * 1e3)
    return [float(np.median(times)) for times in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("network    units  parameters          MACs   1 image, ms     x    64 images, ms     x")
    for name, shape in NETWORKS.items():
        for share in (0.5, 0.7):
            model = zeroed(name, share)
            small = shrink(model, model.state_dict(), shape).model
            ratio = [parameters(model) / parameters(small)]
            device, one, many = torch.device("cpu"), torch.randn(1, *shape), torch.randn(64, *shape)
            ratio.append(multiply_accumulates(model, one, device) / multiply_accumulates(small, one, device))
            single = times_ms([model, small], one, 4 * rounds)
            batch = times_ms([model, small], many, max(3, rounds // 10) if name == "resnet18" else rounds)
            print(
                f"{name:<10}  {-share:>4.0%}  {1 / ratio[0]:>9.0%}  {1 / ratio[1]:>11.0%}  "
                f"{single[0]:>6.3f} {single[1]:>6.3f}  {single[0] / single[1]:>4.2f}  "
                f"{batch[0]:>8.2f} {batch[1]:>7.2f}  {batch[0] / batch[1]:>4.2f}"
            )


if __name__ == "__main__":
    main()
