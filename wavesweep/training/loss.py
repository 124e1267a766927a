"""The loss of a batch: cross-entropy, and in retraining the distance from the baseline's outputs."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavesweep.data.splits import Dataset
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings.schema import Recipe
from wavesweep.training.batches import Batch

# Softens both distributions, so that the small outputs of the baseline count as well.
_TEMPERATURE = 3.0
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
        self._keeps = isinstance(dataset.train.images, Tensor) and not recipe.augment
        # All that the outputs depend on: with other batches their last bits may be others.
        self._key = None if key is None else (key, recipe.batch_size, recipe.precision, str(device))
        self._kept = _outputs.get(self._key) if self._key is not None else None

    @torch.no_grad()
    def outputs(self, batch: Batch, inputs: Tensor) -> Tensor:
        """Logits for a batch and its normalised inputs; those of all images are computed at once, if they can be."""
        if not self._keeps:
            return outputs_of(self._model, inputs.clone(), self._recipe.precision)  # which it may change
        if self._kept is None:
            parts = [
                outputs_of(self._model, self._dataset.normalise(part.to(self._device)).clone(), self._recipe.precision)
                for part in torch.split(torch.as_tensor(self._dataset.train.images), self._recipe.batch_size)
            ]
            self._kept = torch.cat(parts)
            if self._key is not None:
                _outputs.clear()
                _outputs[self._key] = self._kept
        return self._kept[batch.index.to(self._kept.device)]


def distilled_loss(outputs: Tensor, labels: Tensor, taught: Tensor | None, share: float) -> Tensor:
    """(1 - share) * cross-entropy + share * T^2 * KL divergence from the teacher at temperature T = 3.

    Knowledge distillation (Hinton et al. 2015).

    Args:
        outputs: logits, shape (images, classes).
        labels: shape (images,).
        taught: the teacher's logits, or None where `share` is 0.
        share: of the distance in the loss.
    """
    loss = F.cross_entropy(outputs, labels)
    if taught is None:
        return loss
    wanted, found = F.log_softmax(taught / _TEMPERATURE, 1), F.log_softmax(outputs / _TEMPERATURE, 1)
    distance = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return (1 - share) * loss + share * _TEMPERATURE**2 * distance


def batch_loss(model: nn.Module, inputs: Tensor, labels: Tensor, precision: str) -> Tensor:
    """Mean cross-entropy of a batch."""
    return F.cross_entropy(outputs_of(model, inputs, precision), labels)


def outputs_of(model: nn.Module, inputs: Tensor, precision: str) -> Tensor:
    """Logits in float32; with precision bfloat16 the forward pass runs under autocast."""
    if precision == "bfloat16" and inputs.device.type == "cpu":
        _say_if_slow()
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        outputs: Tensor = model(inputs)
    return outputs.float()


@cache
def _say_if_slow() -> None:
    """One line, once: without instructions for it PyTorch computes bfloat16 many times slower than float32."""
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        say_aside(
            "note: this CPU has no bfloat16 instructions, so precision=bfloat16 takes several times as long as "
            "float32; model.recipe.precision=float32 and retrain.precision=float32 are faster here"
        )
