"""What a network is trained for: how batches are split, the loss, the metrics, and which of them decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavesweep.models.outputs import tensor_of_outputs
from wavesweep.runtime.metrics import PrimaryMetric
from wavesweep.tasks.metrics import Metric

# Of a batch that is a mapping the entry with the targets: the first of these that it has. The others are inputs.
TARGET_NAMES = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Inputs:
    """What a network is called with: its positional and its named arguments."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def call(self, model: nn.Module) -> Any:
        """What `model` gives for them."""
        return model(*self.args, **self.kwargs)

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        """The same with each tensor changed."""
        return map_tensors(change, self)  # type: ignore[no-any-return]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in order."""
        return tensors_in((self.args, dict(self.kwargs)))

    @property
    def only(self) -> Tensor | None:
        """The one tensor that the network takes; None where it takes several, or others."""
        single = len(self.args) == 1 and not self.kwargs
        return self.args[0] if single and isinstance(self.args[0], Tensor) else None


def as_inputs(given: Any) -> Inputs:
    """`Inputs` as they are; anything else as the one positional argument."""
    return given if isinstance(given, Inputs) else Inputs((given,))


def map_tensors(change: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """A structure of tuples, lists, mappings and `Inputs` with each tensor changed; other values stay."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Inputs):
        return Inputs(map_tensors(change, tree.args), map_tensors(change, dict(tree.kwargs)))
    if isinstance(tree, Mapping):
        return {name: map_tensors(change, value) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [map_tensors(change, value) for value in tree]
        return parts if isinstance(tree, list) else tuple(parts)
    return tree


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors of a structure, in order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(note, tree)
    return found


class Task:
    """The protocol of a task; a task of one's own is a class that derives from it, named by `task.target`.

    It must have `metrics` and `loss`; the rest has defaults that fit most.

    Attributes:
        name: in records.
        metrics: what is measured; each is accumulated batch by batch. The mean loss is measured besides.
        primary: name of the metric by which epochs and trials are chosen and losses are counted; the first by default.
    """

    name: str = "custom"
    metrics: tuple[Metric, ...] = ()
    primary: str = ""
    # What `distance` is multiplied by in the loss, beside `retrain.distillation`.
    distance_scale: float = 1.0

    def split(self, batch: Any) -> tuple[Inputs, Any]:
        """Inputs and targets of a batch.

        Of a tuple or list the last is the target, the others are positional arguments of the network. Of a mapping the
        target is named as in `TARGET_NAMES`, the others are named arguments. One tensor is input and target.
        """
        if isinstance(batch, Mapping):
            name = next((name for name in TARGET_NAMES if name in batch), None)
            if name is None:
                raise ValueError(f"a batch has none of {', '.join(TARGET_NAMES)}, but {', '.join(map(str, batch))}")
            return Inputs(kwargs={key: value for key, value in batch.items() if key != name}), batch[name]
        if isinstance(batch, tuple | list):
            if len(batch) < 2:
                raise ValueError(f"a batch has {len(batch)} parts, where inputs and targets are needed")
            return Inputs(tuple(batch[:-1])), batch[-1]
        return Inputs((batch,)), batch

    def predictions(self, outputs: Any) -> Any:
        """What loss and metrics are given of what the network returns: one tensor of it."""
        return tensor_of_outputs(outputs)

    def loss(self, predictions: Any, targets: Any) -> Tensor:
        """The mean loss of a batch, a tensor with gradients."""
        raise NotImplementedError("a task needs a loss: def loss(self, predictions, targets)")

    def distance(self, predictions: Any, taught: Any) -> Tensor:
        """How far predictions are from those of the baseline, for `retrain.distillation`: mean squared by default."""
        return F.mse_loss(predictions, taught)

    def width(self, targets: Tensor) -> int:
        """How many outputs a network of the zoo gets for such targets: one per class, or per number."""
        if targets.is_floating_point():
            return int(targets[:1].numel())
        return int(targets.max()) + 1

    @property
    def primary_metric(self) -> PrimaryMetric:
        """The metric that decides, as records describe it."""
        chosen = next((one for one in self.metrics if one.name == self.primary), self.metrics[0])
        return chosen.described(self.name)


class ClassTask(Task):
    """A task whose predictions are logits of classes along `class_axis`."""

    class_axis = 1
    # Softens both distributions, so that the small outputs of the baseline count as well.
    temperature = 3.0
    distance_scale = temperature**2

    def distance(self, predictions: Any, taught: Any) -> Tensor:
        """KL divergence at temperature T = 3 (Hinton et al. 2015), the mean over all positions."""
        axis = self.class_axis
        wanted, found = (
            F.log_softmax(logits / self.temperature, axis).movedim(axis, -1).flatten(0, -2)
            for logits in (taught, predictions)
        )
        return F.kl_div(found, wanted, reduction="batchmean", log_target=True)


def class_task_targets(targets: Tensor) -> Tensor:
    """Targets as cross-entropy takes them; classes below zero are ignored."""
    wanted = targets.long()
    return torch.where(wanted < 0, torch.full_like(wanted, -100), wanted)
