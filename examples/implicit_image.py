"""An implicit image: a SIREN (Sitzmann et al. 2020) that is the picture; its file is the compressed image.

    python -m wavesweep task=custom task.target=examples.implicit_image.Image dataset=custom \
        dataset.target=examples.implicit_image.pixels model=custom model.target=examples.implicit_image.Siren \
        model.recipe.epochs=30 model.recipe.learning_rate=0.0005 model.recipe.batch_size=256 method=magnitude \
        threshold.percentile=20 quantize.bits=8 retrain=finetune retrain.epochs=10

Reports the peak signal-to-noise ratio (PSNR) in decibels. Its task is the one below.
"""

import math

import torch
from torch import Tensor, nn

from wavesweep.tasks import Task, mean_metric


class Image(Task):
    """Colours at places; the error of all colours together makes the PSNR."""

    metrics = (
        mean_metric(
            "psnr",
            lambda found, wanted: (found - wanted).square().mean(1),
            unit="dB",
            last=lambda error: -10 * math.log10(error),
        ),
    )

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return (predictions - targets).square().mean()


def pixels(size: int = 48) -> tuple[tuple[Tensor, Tensor], ...]:
    """Every pixel of a drawn picture as a place in [-1, 1]^2 and a colour; all splits are the whole picture."""
    axis = torch.linspace(-1, 1, size)
    places = torch.cartesian_prod(axis, axis)
    x, y = places.unbind(1)
    colours = torch.stack([(3 * x).sin() * y, (x**2 + y**2 < 0.4).float(), (5 * x * y).cos()], 1)
    return ((places, colours),) * 3


class Siren(nn.Module):
    """Layers of sines, whose first one begins with high frequencies."""

    def __init__(self, width: int = 64, frequency: float = 15.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, width)])
        self.head, self.frequency = nn.Linear(width, 3), frequency
        for layer in self.layers[1:]:
            bound = math.sqrt(6 / width) / frequency
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, places: Tensor) -> Tensor:
        """Colours of shape (places, 3)."""
        for layer in self.layers:
            places = torch.sin(self.frequency * layer(places))
        return self.head(places)
