"""What differs between kinds of training, and what all retrainings in the coefficients have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wavesweep.data.splits import Dataset
from wavesweep.errors import TrialError
from wavesweep.measure.quality import evaluate
from wavesweep.models.load import load_state
from wavesweep.quantization.symbols import CodedTensor
from wavesweep.settings.schema import Recipe, RetrainSettings
from wavesweep.settings.timeline import Epoch, retraining_recipe
from wavesweep.training.batches import AnyBatch
from wavesweep.training.domain import Coefficients, plain_tensor
from wavesweep.training.interface import Coder, Retrained, Start, Training
from wavesweep.training.loss import Teacher, distilled_loss, outputs_of
from wavesweep.training.optimizers import learning_rate_factor, make_retraining_optimizers, set_learning_rate


class Strategy(ABC):
    """One kind of training: what is trained, what a batch costs, and how an epoch is measured.

    `network` is on `device`; `optimizers` are those of the current epoch; `epoch_count` is the number of all epochs,
    which are counted from zero. A `share` is that of an epoch which is done, from 0 to 1. `title` is shown beside the
    progress; `noun` and `learning_rate_key` are for the error of a training that diverged.
    """

    network: nn.Module
    recipe: Recipe
    dataset: Dataset
    device: torch.device
    optimizers: list[torch.optim.Optimizer]
    epoch_count: int
    title: str
    noun: str
    learning_rate_key: str

    @abstractmethod
    def make_optimizers(self) -> None:
        """Set `optimizers` to new ones."""

    @abstractmethod
    def learning_rates(self, epoch: int, share: float) -> Sequence[float]:
        """The learning rate of each optimizer."""

    @abstractmethod
    def loss(self, batch: AnyBatch, content: Any) -> Tensor:
        """Loss of a batch, whose `content` is what the task gets; the learning curve has its mean."""

    @abstractmethod
    def measure(self, epoch: int, mean_loss: float) -> dict[str, Any]:
        """The row of the learning curve, without seconds; it has the primary metric, as `validation_accuracy`."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepare an epoch; the first one needs optimizers."""
        if epoch == 0:
            self.make_optimizers()

    def begin_batch(self, epoch: int, share: float) -> None:
        """Prepare a batch: set the learning rates."""
        for optimizer, learning_rate in zip(self.optimizers, self.learning_rates(epoch, share), strict=True):
            set_learning_rate(optimizer, learning_rate)

    def penalty(self, epoch: int, share: float) -> Tensor | None:
        """What is added to the loss that was computed last, but is not in the learning curve."""
        return None

    def end_epoch(self, epoch: int) -> None:  # noqa: B027 (most have nothing to do)
        """Finish an epoch after its last step."""

    def weights_to_check(self) -> Iterable[Tensor]:
        """What must be finite after an epoch, besides the loss."""
        return self.network.parameters()

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs besides network, optimizers and learning curve."""
        return {}

    def load_state(self, state: dict[str, Any], epoch: int) -> None:  # noqa: B027 (likewise)
        """Take over what `state` gave after this epoch, before network and optimizers are loaded."""


def diverged(strategy: Strategy, how: str, epoch: int) -> TrialError:
    """The error of a training whose numbers became NaN, infinite or too large in an epoch, counted from zero."""
    return TrialError(f"{strategy.noun} diverged: {how} in epoch {epoch + 1}; lower {strategy.learning_rate_key}")


@dataclass(frozen=True)
class _Best:
    """The best epoch so far: its score, more is better (validation accuracy), number from zero and state dict."""

    score: float
    epoch: int
    network: dict[str, Tensor]


class Retraining(Strategy):
    """What all retrainings have in common: a network in its coefficients, and the best epoch so far.

    `timeline` has the plan of each epoch.
    """

    noun, learning_rate_key = "retraining", "retrain.learning_rate"
    # Learning rate of steps (of their logarithm) and codebooks, which are trained by Adam.
    quantizer_learning_rate: float

    def __init__(
        self,
        start: Start,
        settings: RetrainSettings,
        training: Training,
        coder: Coder,
        timeline: Sequence[Epoch],
        starts_masked: bool,
    ) -> None:
        """`starts_masked`: the first epoch has the masks of `start` already."""
        self._scratch, self._start_state, self._pruned = start.model, start.state, start.pruned
        self._settings, self._coder = settings, coder
        self.dataset, self.device = training.dataset, training.device
        self.recipe = retraining_recipe(settings, training.recipe)
        self.timeline, self.epoch_count = timeline, len(timeline)
        self.title = f"retraining ({settings.name}, {start.spec.method})"
        self.network = deepcopy(start.model)
        load_state(self.network, start.state)
        self.network.to(self.device)
        self._teacher: Teacher | None = None
        if settings.distillation:
            baseline = deepcopy(self.network)
            self._teacher = Teacher(baseline, self.dataset, self.recipe, self.device, training.baseline_key)
        tensors = [*start.pruned.tensors, *start.extras]
        self.coefficients = Coefficients(self.network, start.spec, tensors, settings.regrow, starts_masked)
        self.optimizers: list[torch.optim.Optimizer] = []
        self._best: _Best | None = None
        # What the file of the best epoch holds, with the factor of the steps; None once it comes from a checkpoint.
        self._best_file: tuple[tuple[CodedTensor, ...], float] | None = None

    def make_optimizers(self) -> None:
        """One for the weights, and Adam for what quantisers learn, if there are any."""
        self.optimizers = make_retraining_optimizers(
            self.network, self.coefficients, self.recipe, self.quantizer_learning_rate
        )

    def learning_rates(self, epoch: int, share: float) -> Sequence[float]:
        """Those of the timeline; quantisers have their own under the same schedule."""
        entry = self.timeline[epoch]
        progress = entry.begin + (entry.end - entry.begin) * share
        factor = entry.rate_scale * learning_rate_factor(self.recipe.schedule, progress)
        found = self.recipe.learning_rate * factor, self.quantizer_learning_rate * factor
        return found[: len(self.optimizers)]

    def loss(self, batch: AnyBatch, content: Any) -> Tensor:
        """That of the task, and with `retrain.distillation` the distance from the baseline's outputs."""
        task = self.dataset.task
        inputs, targets = task.split(content)
        taught = None if self._teacher is None else self._teacher.outputs(batch, inputs)
        with parametrize.cached():  # recurrent layers read their weights several times a call
            outputs = outputs_of(self.network, inputs, self.recipe.precision)
        return distilled_loss(outputs, targets, taught, self._settings.distillation, task)

    def measure(self, epoch: int, mean_loss: float) -> dict[str, Any]:
        """The row of the learning curve; an epoch whose network could be the file's is measured as the file's."""
        entry = self.timeline[epoch]
        model, coded = self.network, None
        try:
            if entry.quantized or epoch + 1 == self.epoch_count:
                coded = self.coded()
                nonzero = sum(int(np.count_nonzero(tensor.symbols)) for tensor in coded[: len(self._pruned.tensors)])
                load_state(self._scratch, self._coder.decoded(coded, self.plain_state()))
                model = self._scratch.to(self.device)
            else:
                nonzero = self.coefficients.nonzero()
            quality = evaluate(model, self.dataset, self.dataset.validation, "validation", self.device)
        except TrialError:
            raise diverged(self, "weights are too large to be coded or measured", epoch) from None
        metric = self.dataset.task.primary_metric
        score = metric.score(quality)
        if coded is not None and self._is_best(score):
            copy = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
            self._best, self._best_file = _Best(score, epoch, copy), (coded, self._coder.scale)
        return {
            "epoch": epoch + 1,
            "round": entry.round + 1,
            "quantized": entry.quantized,
            **self._more_columns(),
            "sparsity": 1 - nonzero / sum(tensor.mask.numel() for tensor in self._pruned.tensors),
            "validation_loss": quality["loss"],
            f"validation_{metric.name}": metric.value(quality),
            "loss": mean_loss,
        }

    def state(self) -> dict[str, Any]:
        """The best epoch so far."""
        best = self._best
        return {"best": None if best is None else (best.score, best.epoch, best.network)}

    def load_state(self, state: dict[str, Any], epoch: int) -> None:
        """Take over the best epoch so far."""
        self._best = None if state["best"] is None else _Best(*state["best"])

    @abstractmethod
    def coded(self) -> tuple[CodedTensor, ...]:
        """The tensors of the network as its file would hold them now."""

    @abstractmethod
    def result(self, curve: list[dict[str, Any]]) -> Retrained:
        """What comes out after the last epoch; `curve` is the learning curve."""

    def plain_state(self) -> dict[str, Tensor]:
        """The network's state dict with weights for coefficients, on the CPU."""
        with torch.no_grad():
            return {name: plain_tensor(self.network, name).detach().cpu().clone() for name in self._start_state}

    @abstractmethod
    def _is_best(self, score: float) -> bool:
        """Whether the epoch that was measured now is the one to keep so far."""

    def _more_columns(self) -> dict[str, Any]:
        """What the learning curve has besides, of the epoch that was measured now."""
        return {}
