"""The loss of a batch: that of the task, and in retraining the distance from the baseline's outputs."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.data.splits import Dataset, Split
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings.schema import Recipe
from wavesweep.tasks.task import Inputs, Task, as_inputs
from wavesweep.tasks.usual import CLASSIFICATION
from wavesweep.training.batches import AnyBatch, Batch

# Those of the last baseline, which the next arm of this process most likely needs again.
_outputs: dict[tuple[object, ...], Tensor] = {}


class Teacher:
    """The baseline, whose outputs the network is to keep."""

    def __init__(
        self, model: nn.Module, dataset: Dataset, recipe: Recipe, device: torch.device, key: str | None = None
    ) -> None:
        """`model` is taken as it is and put into evaluation mode; teachers of one `key` are of one baseline."""
        self._model, self._dataset, self._recipe, self._device = model.eval(), dataset, recipe, device
        # Augmented images differ each time; those that stay on disk are too many to keep anything of each.
        is_plain = dataset.task is CLASSIFICATION and isinstance(dataset.train, Split)
        self._images = dataset.train.images if isinstance(dataset.train, Split) else None
        self._keeps = is_plain and isinstance(self._images, Tensor) and not recipe.augment
        # All that the outputs depend on: with other batches their last bits may be others.
        self._key = None if key is None else (key, recipe.batch_size, recipe.precision, str(device))
        self._kept = _outputs.get(self._key) if self._key is not None else None

    @torch.no_grad()
    def outputs(self, batch: AnyBatch, inputs: Tensor | Inputs) -> Any:
        """Predictions for a batch and its normalised inputs; of all images they are computed at once, if possible."""
        if not self._keeps or not isinstance(batch, Batch):
            copied = as_inputs(inputs).changed(Tensor.clone)  # which it may change
            return outputs_of(self._model, copied, self._recipe.precision)
        if self._kept is None:
            parts = [
                outputs_of(self._model, self._dataset.normalise(part.to(self._device)).clone(), self._recipe.precision)
                for part in torch.split(torch.as_tensor(self._images), self._recipe.batch_size)
            ]
            self._kept = torch.cat(parts)
            if self._key is not None:
                _outputs.clear()
                _outputs[self._key] = self._kept
        return self._kept[batch.index.to(self._kept.device)]


def distilled_loss(outputs: Any, targets: Any, taught: Any | None, share: float, task: Task = CLASSIFICATION) -> Tensor:
    """(1 - share) * the loss of the task + share * the distance from the teacher as the task has it.

    For classification that is T^2 * KL divergence at temperature T = 3: knowledge distillation (Hinton et al. 2015).

    Args:
        outputs: predictions; logits, shape (images, classes), for classification.
        targets: of the batch; classes, shape (images,).
        taught: the teacher's predictions, or None where `share` is 0.
        share: of the distance in the loss.
        task: what the network is trained for.
    """
    loss = task.loss(outputs, targets)
    return loss if taught is None else (1 - share) * loss + share * task.distance_scale * task.distance(outputs, taught)


def batch_loss(
    model: nn.Module, inputs: Tensor | Inputs, targets: Any, precision: str, task: Task = CLASSIFICATION
) -> Tensor:
    """Mean loss of a batch."""
    return task.loss(outputs_of(model, inputs, precision), targets)


def outputs_of(model: nn.Module, inputs: Tensor | Inputs, precision: str) -> Any:
    """Predictions, a tensor in float32; with precision bfloat16 the forward pass runs under autocast."""
    given = as_inputs(inputs)
    kind = next((tensor.device.type for tensor in given.tensors), "cpu")
    if precision == "bfloat16" and kind == "cpu":
        _say_if_slow()
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        outputs = given.call(model)
    return outputs.float() if isinstance(outputs, Tensor) else outputs


@cache
def _say_if_slow() -> None:
    """One line, once: without instructions for it PyTorch computes bfloat16 many times slower than float32."""
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        say_aside(
            "note: this CPU has no bfloat16 instructions, so precision=bfloat16 takes several times as long as "
            "float32; model.recipe.precision=float32 and retrain.precision=float32 are faster here"
        )
