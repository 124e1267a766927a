"""The tasks that come with wavesweep."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wavesweep.tasks.metrics import SHARE, Metric, mean_metric, summed_metric
from wavesweep.tasks.task import ClassTask, Inputs, Task, class_task_targets


class Classification(ClassTask):
    """One class per input: logits of shape (inputs, classes) against integers of shape (inputs,)."""

    name = "classification"

    def __init__(self) -> None:
        self.metrics = (
            mean_metric("accuracy", lambda found, wanted: found.argmax(1) == wanted, SHARE),
            *(Metric(name, _confusion, _macro(name), SHARE) for name in ("precision", "recall", "f1")),
        )

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(predictions, targets)

    def distance(self, predictions: Tensor, taught: Tensor) -> Tensor:
        """KL divergence at temperature T = 3 (Hinton et al. 2015)."""
        wanted, found = (F.log_softmax(logits / self.temperature, 1) for logits in (taught, predictions))
        return F.kl_div(found, wanted, reduction="batchmean", log_target=True)


class Regression(Task):
    """Numbers: predictions against targets of the same shape, by their mean squared error."""

    name = "regression"

    def __init__(self) -> None:
        self.metrics = (
            summed_metric("r2", _r2_statistics, _r2),
            mean_metric("rmse", lambda found, wanted: _errors(found, wanted).square().mean(1), "", False, math.sqrt),
            mean_metric("mae", lambda found, wanted: _errors(found, wanted).abs().mean(1), "", False),
        )

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(_as_targets(predictions, targets), targets.to(predictions.dtype))

    def width(self, targets: Tensor) -> int:
        """One output per number, also where the numbers are integers."""
        return int(targets[:1].numel())


class Segmentation(ClassTask):
    """One class per pixel: logits (images, classes, height, width) against integers (images, height, width).

    Pixels of a class below zero, or of the class `ignore`, do not count.
    """

    name = "segmentation"

    def __init__(self, ignore: int | None = None) -> None:
        self._ignore = ignore
        self.metrics = (
            summed_metric("mean_iou", lambda f, w: _overlaps(f, self._counted(f, w)), _mean_iou, SHARE),
            summed_metric("pixel_accuracy", lambda f, w: _hits(f, self._counted(f, w)), _ratio, SHARE),
        )

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the pixels that count."""
        return F.cross_entropy(predictions, self._counted(predictions, targets))

    def _counted(self, predictions: Tensor, targets: Tensor) -> Tensor:
        wanted = class_task_targets(targets)
        if wanted.dim() == predictions.dim():  # with an axis of one channel, as masks are often stored
            wanted = wanted.squeeze(1)
        return wanted if self._ignore is None else wanted.masked_fill(wanted == self._ignore, -100)


class LanguageModel(ClassTask):
    """The next token: logits (texts, positions, tokens) against the tokens that follow.

    A batch is a tensor of tokens, whose next ones are the targets; a pair of tokens and targets of equal length; or a
    mapping as of Hugging Face, with `input_ids` and perhaps `labels`, which lie at the positions of the tokens.
    `token` is what one is, for the name of the metric: bits per token, or per character.
    """

    name = "language_model"
    class_axis = -1

    def __init__(self, token: str = "token") -> None:
        self.metrics = (
            summed_metric(f"bits_per_{token}", _bits, _ratio, "bits", False),
            summed_metric("accuracy", lambda f, w: _hits(f.movedim(-1, 1), class_task_targets(w)), _ratio, SHARE),
        )

    def split(self, batch: Any) -> tuple[Inputs, Any]:
        """Tokens, and those that follow."""
        if isinstance(batch, Tensor):
            return Inputs((batch[:, :-1],)), batch[:, 1:]
        if not isinstance(batch, Mapping):
            return super().split(batch)
        labels = batch.get("labels")
        if labels is None:
            labels = batch["input_ids"]
            if "attention_mask" in batch:
                labels = labels.masked_fill(batch["attention_mask"] == 0, -100)
        # The labels of a position are its own token: what is to be predicted there is the next one.
        shifted = F.pad(labels[:, 1:], (0, 1), value=-100)
        return Inputs(kwargs={name: value for name, value in batch.items() if name != "labels"}), shifted

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the tokens that count."""
        return F.cross_entropy(predictions.flatten(0, -2), class_task_targets(targets).flatten())


def _confusion(state: Tensor | None, predictions: Tensor, targets: Tensor) -> Tensor:
    """Counts by class and predicted class."""
    classes = predictions.shape[1]
    pairs = targets * classes + predictions.argmax(1)
    added = torch.bincount(pairs, minlength=classes * classes).view(classes, classes).cpu()
    return added if state is None else state + added


def _macro(name: str) -> Any:
    """Of a confusion matrix the mean over the classes that occur, as targets or predictions."""

    def result(confusion: Tensor) -> float:
        hits, actual, claimed = confusion.diag().double(), confusion.sum(1).double(), confusion.sum(0).double()
        found = {
            "precision": hits / claimed.clamp_min(1),
            "recall": hits / actual.clamp_min(1),
            "f1": 2 * hits / (actual + claimed).clamp_min(1),
        }[name]
        return float(found[(actual + claimed) > 0].mean())

    return result


def _as_targets(predictions: Tensor, targets: Tensor) -> Tensor:
    """Predictions in the shape of the targets, from which they may differ by axes of length one: never broadcast."""
    if predictions.shape == targets.shape:
        return predictions
    if [size for size in predictions.shape[1:] if size > 1] != [size for size in targets.shape[1:] if size > 1]:
        raise ValueError(f"predictions of shape {tuple(predictions.shape)} for targets of {tuple(targets.shape)}")
    return predictions.reshape(targets.shape)


def _errors(predictions: Tensor, targets: Tensor) -> Tensor:
    """Differences, shape (examples, numbers)."""
    found = _as_targets(predictions, targets).double() - targets.double()
    return found.reshape(len(found), -1)


def _r2_statistics(predictions: Tensor, targets: Tensor) -> Tensor:
    """Per number: its square error, the target and its square; then one for the example."""
    errors, wanted = _errors(predictions, targets), targets.double().reshape(len(targets), -1)
    return torch.cat([errors.square(), wanted, wanted.square(), torch.ones_like(wanted[:, :1])], 1)


def _r2(sums: Tensor) -> float:
    """The coefficient of determination; of several numbers the mean, as scikit-learn has it."""
    squares, wanted, wanted_squares = sums[:-1].reshape(3, -1)
    spread = (wanted_squares - wanted.square() / sums[-1]).clamp_min(1e-300)
    return float((1 - squares / spread).mean())


def _overlaps(predictions: Tensor, targets: Tensor) -> Tensor:
    """Per image and class the pixels of intersection, then those of union."""
    classes, counted = predictions.shape[1], targets >= 0
    found = F.one_hot(predictions.argmax(1), classes).bool() & counted[..., None]
    wanted = F.one_hot(targets.clamp_min(0), classes).bool() & counted[..., None]
    parts = [(found & wanted), (found | wanted)]
    return torch.cat([part.reshape(len(part), -1, classes).sum(1) for part in parts], 1)


def _mean_iou(sums: Tensor) -> float:
    """Mean over the classes that occur of intersection over union."""
    intersection, union = sums.reshape(2, -1)
    seen = union > 0
    return float((intersection[seen] / union[seen]).mean())


def _hits(predictions: Tensor, targets: Tensor) -> Tensor:
    """Per example how many positions are right, and how many count."""
    hits, counted = predictions.argmax(1) == targets, targets >= 0
    return torch.stack([part.reshape(len(part), -1).sum(1) for part in (hits & counted, counted)], 1)


def _bits(predictions: Tensor, targets: Tensor) -> Tensor:
    """Per text the bits of its tokens, and how many count."""
    wanted = class_task_targets(targets)
    nats = F.cross_entropy(predictions.movedim(-1, 1).float(), wanted, reduction="none")
    return torch.stack([nats.double().sum(1) / math.log(2), (wanted >= 0).double().sum(1)], 1)


def _ratio(sums: Tensor) -> float:
    return float(sums[0] / sums[1].clamp_min(1))


CLASSIFICATION = Classification()
