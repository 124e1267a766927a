"""Training of the baseline: deterministic given the seed, and resumed from its last epoch after a kill."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.data.splits import Dataset
from wavesweep.measure.quality import evaluate
from wavesweep.settings.schema import Recipe
from wavesweep.training.batches import AnyBatch
from wavesweep.training.checkpoint import BASELINE_CHECKPOINT, DamagedCheckpointError
from wavesweep.training.loop import TrainingLoop
from wavesweep.training.loss import batch_loss
from wavesweep.training.optimizers import learning_rate_factor, make_optimizer
from wavesweep.training.strategy import Strategy


def train(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    directory: Path,
    shown: bool,
    until: int | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place by `recipe`, or only its first `until` epochs, and return one row per epoch.

    After every epoch a checkpoint is written to `directory`; the next call continues from it and gives the same
    weights as an uninterrupted run, because the order of the images follows from the seed and the epoch.

    Raises:
        TrialError: the loss became NaN or infinite.
    """
    model.to(device)
    checkpoint = directory / BASELINE_CHECKPOINT
    initial = deepcopy(model.state_dict()) if checkpoint.exists() else {}
    loop = TrainingLoop(Plain(model, dataset, recipe, device), seed, shown)
    try:
        loop.resume(checkpoint)
    except DamagedCheckpointError:
        model.load_state_dict(initial)
        loop = TrainingLoop(Plain(model, dataset, recipe, device), seed, shown)
    loop.continue_training(recipe.epochs if until is None else until, checkpoint)
    return loop.curve


def discard_checkpoint(directory: Path) -> None:
    """Remove the checkpoint of a finished training."""
    (directory / BASELINE_CHECKPOINT).unlink(missing_ok=True)


class Plain(Strategy):
    """The strategy of a baseline: weights as they are, the task's loss, and nothing that changes between epochs."""

    title, noun, learning_rate_key = "training the baseline", "training", "model.recipe.learning_rate"

    def __init__(self, network: nn.Module, dataset: Dataset, recipe: Recipe, device: torch.device) -> None:
        self.network, self.dataset, self.recipe, self.device = network, dataset, recipe, device
        self.epoch_count = recipe.epochs
        self.optimizers: list[torch.optim.Optimizer] = []

    def make_optimizers(self) -> None:
        """That of the recipe."""
        self.optimizers = [make_optimizer(self.network.parameters(), self.recipe)]

    def learning_rates(self, epoch: int, share: float) -> Sequence[float]:
        """That of the recipe's schedule over all epochs."""
        factor = learning_rate_factor(self.recipe.schedule, (epoch + share) / self.recipe.epochs)
        return (self.recipe.learning_rate * factor,)

    def loss(self, batch: AnyBatch, content: Any) -> Tensor:
        """That of the task: cross-entropy, say."""
        inputs, targets = self.dataset.task.split(content)
        return batch_loss(self.network, inputs, targets, self.recipe.precision, self.dataset.task)

    def weights_to_check(self) -> Iterable[Tensor]:
        """None: weights are checked where they are pruned and stored, which names the tensor."""
        return ()

    def measure(self, epoch: int, mean_loss: float) -> dict[str, Any]:
        """The row of the learning curve."""
        quality = evaluate(self.network, self.dataset, self.dataset.validation, "validation", self.device)
        name = self.dataset.task.primary_metric.name
        return {"epoch": epoch + 1, "loss": mean_loss, f"validation_{name}": quality[name]}
