"""What a step of `quantize=rdo` costs networks whose outputs have nothing in common: it should be about the same.

    python benchmarks/relative_step.py

trains small networks on scikit-learn's digits and diabetes and on made-up data, compresses each with several steps and
nothing else, and prints how far the outputs move, in percent of their spread on the inputs that the step was made for.
"""

import warnings
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn

import wavesweep

STEPS = (0.02, 0.05, 0.1, 0.2, 0.4)
Loss = Callable[[Tensor, Tensor], Tensor]


def dense(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers = [part for before, after in pairwise(sizes) for part in (nn.Linear(before, after), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def convolutions() -> nn.Sequential:
    """Two convolutions for the digits."""
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(288, 10)),
    )


def trained(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, steps: int = 600) -> nn.Module:
    """The network after so many steps of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        index = torch.randint(0, len(inputs), (128,))
        optimizer.zero_grad()
        loss(model(inputs[index]), targets[index]).backward()
        optimizer.step()
    return model.eval()


def main() -> None:
    warnings.simplefilter("ignore")  # steps that are too coarse are warned of
    torch.manual_seed(0)
    digits, diabetes = load_digits(), load_diabetes()
    images, classes = torch.tensor(digits.data / 16.0).float(), torch.tensor(digits.target)
    measures, progress = 20 * torch.tensor(diabetes.data).float(), torch.tensor(diabetes.target).float()[:, None]
    scaled = (progress - progress.mean()) / progress.std()
    made_up = torch.randn(2000, 20)
    chances = torch.softmax(made_up @ torch.randn(20, 360), 1)
    many = nn.Sequential(*dense(20, 128, 360), nn.Sigmoid())
    networks = {
        "classifier, 10 outputs": (dense(64, 256, 128, 10), images, classes, F.cross_entropy),
        "12 layers": (dense(64, *[64] * 11, 10), images, classes, F.cross_entropy),
        "convolutions": (convolutions(), images, classes, F.cross_entropy),
        "regression": (dense(10, 64, 64, 1), measures, scaled, F.mse_loss),
        "regression of raw numbers": (dense(10, 64, 64, 1), measures, progress, F.mse_loss),
        "360 outputs": (many, made_up, chances, F.mse_loss),
    }
    print(f"{'step':27}" + "".join(f"{step:>8}" for step in STEPS))
    for name, (model, inputs, targets, loss) in networks.items():
        trained(model, inputs, targets, loss)
        moved = []
        for step in STEPS:
            small = wavesweep.compress(
                model, method="magnitude", threshold="none", quantize="rdo", step=step, images=inputs
            )
            assert small.output_errors is not None
            moved.append(small.output_errors.decoded.relative)
        print(f"{name:27}" + "".join("     -  " if one is None else f"{100 * one:>8.1f}" for one in moved), flush=True)


if __name__ == "__main__":
    main()
