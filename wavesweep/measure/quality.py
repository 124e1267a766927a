"""The metrics of a network on a split: of classification, from all logits; of other tasks, batch by batch."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from wavesweep.data.examples import Examples, count_of
from wavesweep.data.splits import AnySplit, Dataset, Split
from wavesweep.errors import TrialError
from wavesweep.measure.intervals import MOST_NUMBERS
from wavesweep.runtime.kernels import deterministic_convolutions
from wavesweep.runtime.seeding import seeded
from wavesweep.tasks.task import tensors_in
from wavesweep.tasks.usual import CLASSIFICATION

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


def evaluate(model: nn.Module, dataset: Dataset, split: AnySplit, name: str, device: torch.device) -> dict[str, float]:
    """The metrics of the task and the mean loss of `model`, already on `device`, on the split that is called `name`.

    Raises:
        TrialError: one is not finite.
    """
    return evaluate_each(model, dataset, split, name, device).quality


@dataclass(frozen=True)
class Evaluated:
    """The metrics of a network on a split, and what they are made of, by which two networks are compared.

    `correct` says of each input whether its class is right, shape (count,); of other tasks `statistics` are what each
    example adds to the sums of the primary metric, shape (count, k), where it has such and they are not too many.
    """

    quality: dict[str, float]
    correct: NDArray[np.bool_] | None = None
    statistics: NDArray[np.float64] | None = None


def evaluate_each(model: nn.Module, dataset: Dataset, split: AnySplit, name: str, device: torch.device) -> Evaluated:
    """Like `evaluate`, with what is known of each example."""
    if dataset.task is not CLASSIFICATION or isinstance(split, Examples):
        return _accumulated(model, dataset, split, name, device)
    logits, labels = forward(model, dataset, split, device), split.labels.cpu()
    quality = quality_of(logits, labels, dataset.classes)
    if not math.isfinite(quality.loss):
        raise TrialError(f"the {name} loss is {quality.loss}; lower model.recipe.learning_rate or prune less")
    return Evaluated(asdict(quality), (logits.argmax(1) == labels).numpy())


@deterministic_convolutions()
@seeded(0)  # some have random numbers in evaluation too
def forward(model: nn.Module, dataset: Dataset, split: Split, device: torch.device) -> Tensor:
    """Logits of all inputs of a split, shape (count, classes), on the CPU."""
    model.eval()
    with torch.inference_mode():
        outputs = [model(images) for images in _inputs(dataset, split, device)]
        return torch.cat(outputs).float().cpu()


def _inputs(dataset: Dataset, split: Split, device: torch.device) -> Iterator[Tensor]:
    """Normalised inputs in batches: copies, as a network may change its inputs."""
    inputs = dataset.inputs(split, device)
    batch = _batch_size(math.prod(split.images.shape[1:]), split.images.dtype == torch.int64, device)
    if inputs is not None:
        yield from (images.clone() for images in torch.split(inputs, batch))
        return
    for start in range(0, len(split), batch):
        yield dataset.normalise(split.images[start : start + batch].to(device)).clone()


def _batch_size(values: int, has_tokens: bool, device: torch.device) -> int:
    """How many inputs of so many values are evaluated at once."""
    images_values = _BATCH_VALUES_ON_CUDA if device.type == "cuda" else _BATCH_VALUES
    return max(1, min(2048, (_BATCH_TOKENS if has_tokens else images_values) // max(values, 1)))


def batches(dataset: Dataset, split: AnySplit, device: torch.device) -> Iterator[Any]:
    """The batches of a split on the device, as the task gets them."""
    if isinstance(split, Split):
        start = 0
        for images in _inputs(dataset, split, device):
            yield images, split.labels[start : start + len(images)].to(device)
            start += len(images)
        return
    tensors = tensors_in(split.head(1).content())
    has_tokens = any(tensor.dtype == torch.int64 for tensor in tensors)
    size = _batch_size(sum(tensor.numel() for tensor in tensors), has_tokens, device)
    for batch in split.batches(size):
        yield dataset.on_device(batch, device)


@deterministic_convolutions()
@seeded(0)
def _accumulated(model: nn.Module, dataset: Dataset, split: AnySplit, name: str, device: torch.device) -> Evaluated:
    """The metrics of the task and the mean loss, of which a batch counts by its examples."""
    right: list[Tensor] = []
    rows: list[Tensor] = []
    task, count, total = dataset.task, 0, 0.0
    states: dict[str, Any] = {metric.name: None for metric in task.metrics}
    primary = next(metric for metric in task.metrics if metric.name == task.primary_metric.name)
    keeps_rows = primary.statistics is not None and task is not CLASSIFICATION
    model.eval()
    with torch.inference_mode():
        for batch in batches(dataset, split, device):
            inputs, targets = task.split(batch)
            predictions = inputs.changed(Tensor.clone).call(model)
            predictions = predictions.float() if isinstance(predictions, Tensor) else predictions
            examples = count_of(batch)
            total, count = total + float(task.loss(predictions, targets)) * examples, count + examples
            if task is CLASSIFICATION:
                right.append((predictions.argmax(1) == targets).cpu())
            elif keeps_rows and primary.statistics is not None:
                rows.append(primary.statistics(predictions, targets).double().cpu())
                keeps_rows = len(split) * rows[-1].shape[1] <= MOST_NUMBERS
            for metric in task.metrics:
                states[metric.name] = metric.update(states[metric.name], predictions, targets)
    found = {metric.name: float(metric.result(states[metric.name])) for metric in task.metrics}
    found["loss"] = total / count
    for metric_name, value in found.items():
        if not math.isfinite(value):
            remedy = "lower model.recipe.learning_rate or prune less"
            raise TrialError(f"the {name} {metric_name} is {value}; {remedy}")
    return Evaluated(
        found,
        torch.cat(right).numpy() if right else None,
        torch.cat(rows).numpy() if rows and keeps_rows else None,
    )


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
