"""Accuracy, loss, and macro precision, recall and F1 of a network on a split."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wavesweep.data.splits import Dataset, Split
from wavesweep.errors import TrialError
from wavesweep.runtime.kernels import deterministic_convolutions
from wavesweep.runtime.seeding import seeded

# Values of a batch's images: large enough for speed, small enough for any image size; and tokens, which take more. A
# GPU is idle between batches of a few images.
_BATCH_VALUES, _BATCH_VALUES_ON_CUDA, _BATCH_TOKENS = 1 << 20, 1 << 24, 1 << 14


@dataclass(frozen=True)
class Quality:
    """Fractions from 0 to 1, and the mean cross-entropy; precision, recall and F1 are macro averages."""

    accuracy: float
    loss: float
    precision: float
    recall: float
    f1: float


def evaluate(model: nn.Module, dataset: Dataset, split: Split, name: str, device: torch.device) -> dict[str, float]:
    """Quality of `model`, already on `device`, on the split that is called `name`.

    Raises:
        TrialError: the loss is not finite.
    """
    return evaluate_each(model, dataset, split, name, device)[0]


def evaluate_each(
    model: nn.Module, dataset: Dataset, split: Split, name: str, device: torch.device
) -> tuple[dict[str, float], NDArray[np.bool_]]:
    """Like `evaluate`; and of each input whether its class is right, shape (count,)."""
    logits, labels = forward(model, dataset, split, device), split.labels.cpu()
    quality = quality_of(logits, labels, dataset.classes)
    if not math.isfinite(quality.loss):
        raise TrialError(f"the {name} loss is {quality.loss}; lower model.recipe.learning_rate or prune less")
    return asdict(quality), (logits.argmax(1) == labels).numpy()


@deterministic_convolutions()
@seeded(0)  # some have random numbers in evaluation too
def forward(model: nn.Module, dataset: Dataset, split: Split, device: torch.device) -> Tensor:
    """Logits of all inputs of a split, shape (count, classes), on the CPU."""
    inputs = dataset.inputs(split, device)
    images_values = _BATCH_VALUES_ON_CUDA if device.type == "cuda" else _BATCH_VALUES
    values = _BATCH_TOKENS if dataset.has_tokens else images_values
    batch = max(1, min(2048, values // math.prod(dataset.input_shape)))
    model.eval()
    with torch.inference_mode():
        # Copies, as a network may change its inputs.
        if inputs is not None:
            outputs = [model(images.clone()) for images in torch.split(inputs, batch)]
        else:
            parts = (split.images[start : start + batch] for start in range(0, len(split), batch))
            outputs = [model(dataset.normalise(images.to(device)).clone()) for images in parts]
        return torch.cat(outputs).float().cpu()


def quality_of(logits: Tensor, labels: Tensor, classes: int) -> Quality:
    """Quality from logits (count, classes) and labels (count,); a class that never occurs counts as 0."""
    predicted = logits.argmax(1)
    confusion = torch.bincount(labels * classes + predicted, minlength=classes * classes).view(classes, classes)
    hits, actual, claimed = confusion.diag().double(), confusion.sum(1).double(), confusion.sum(0).double()
    seen = (actual + claimed) > 0  # scikit-learn averages over the classes that occur in either
    precision, recall = hits / claimed.clamp_min(1), hits / actual.clamp_min(1)
    f1 = 2 * hits / (actual + claimed).clamp_min(1)
    return Quality(
        accuracy=float(hits.sum() / len(labels)),
        loss=float(F.cross_entropy(logits.double(), labels)),
        precision=float(precision[seen].mean()),
        recall=float(recall[seen].mean()),
        f1=float(f1[seen].mean()),
    )
