"""The loop of every training: epochs, batches, steps, the learning curve, and a checkpoint after each epoch.

What differs between baselines and the kinds of retraining is a `strategy.Strategy`.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch

from wavesweep.runtime.finite import is_finite
from wavesweep.runtime.kernels import deterministic_convolutions
from wavesweep.runtime.metrics import PrimaryMetric
from wavesweep.runtime.progress import Meter, log
from wavesweep.runtime.seeding import seeded
from wavesweep.tasks.usual import CLASSIFICATION
from wavesweep.training.batches import TrainingBatches
from wavesweep.training.checkpoint import Checkpoint, DamagedCheckpointError, read_checkpoint, write_checkpoint
from wavesweep.training.strategy import Strategy, diverged


def _logged(metric: PrimaryMetric, row: dict[str, Any]) -> str:
    """The primary metric on validation, as a line of the log has it."""
    value = row[f"validation_{metric.name}"]
    return f"{value:.2%}" if metric.is_accuracy else f"{metric.name} {metric.with_unit(value)}"


class TrainingLoop:
    """A training in progress: `curve` has a row for each epoch that was trained and measured."""

    def __init__(self, strategy: Strategy, seed: int, shown: bool) -> None:
        """The order of the images follows from `seed`; `shown`: progress is."""
        self.strategy, self._seed, self._shown = strategy, seed, shown
        self.curve: list[dict[str, Any]] = []
        # Mean loss and seconds of the last epoch, until it is measured.
        self._unmeasured: tuple[float, float] | None = None

    @deterministic_convolutions()
    @seeded(0)  # so that the caller's random numbers continue; those of an epoch are seeded with it
    def continue_training(self, until: int, checkpoint: Path | None, measured: bool = True) -> None:
        """Train epochs until so many are done, with a checkpoint after each.

        `measured`: the last one is measured as well.

        Raises:
            TrialError: the training diverged.
        """
        done = len(self.curve) + (self._unmeasured is not None)
        if measured or done < until:
            self._measure_epoch()
        if done >= until:
            return
        strategy = self.strategy
        batches = TrainingBatches(strategy.dataset, strategy.device)
        with Meter((until - done) * len(strategy.dataset.train), strategy.title, self._shown) as meter:
            for epoch in range(done, until):
                started = time.perf_counter()
                strategy.begin_epoch(epoch)
                mean_loss = self.train_epoch(epoch, batches, meter)
                self._unmeasured = mean_loss, time.perf_counter() - started
                self.save(checkpoint)
                if measured or epoch + 1 < until:
                    meter.advance(0, self._measure_epoch())

    def train_epoch(self, epoch: int, batches_of: TrainingBatches, meter: Meter) -> float:
        """The steps of one epoch; returns the mean loss.

        Raises:
            TrialError: the training diverged.
        """
        strategy = self.strategy
        strategy.network.train()
        total, batches = torch.zeros((), dtype=torch.float64, device=strategy.device), 0
        for batch in batches_of.of_epoch(strategy.recipe, self._seed, epoch):
            strategy.begin_batch(epoch, batch.share)
            for optimizer in strategy.optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss = strategy.loss(batch, batch.content(strategy.dataset))
            total += loss.detach()
            penalty = strategy.penalty(epoch, batch.share)
            if penalty is not None:
                loss = loss + penalty
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in strategy.optimizers:
                optimizer.step()
            batches += 1
            meter.advance(batch.count)
        strategy.end_epoch(epoch)
        mean_loss = float(total) / max(batches, 1)
        # The last step's effect is not in the mean.
        if not all(is_finite(weight) for weight in strategy.weights_to_check()):
            raise diverged(strategy, "a weight is not finite", epoch)
        if not math.isfinite(mean_loss):
            raise diverged(strategy, f"the loss is {mean_loss}", epoch)
        return mean_loss

    def _measure_epoch(self) -> str:
        """Add the last epoch to the curve, if it is not there yet; returns a line about it."""
        if self._unmeasured is None:
            return ""
        epoch, (mean_loss, seconds), started = len(self.curve), self._unmeasured, time.perf_counter()
        row = self.strategy.measure(epoch, mean_loss)
        row["seconds"] = seconds + time.perf_counter() - started
        self.curve.append(row)
        self._unmeasured = None
        parts = [
            f"epoch {epoch + 1}/{self.strategy.epoch_count}",
            f"loss {mean_loss:.3f}",
            f"validation {_logged(self.strategy.dataset.task.primary_metric, row)}",
            *([f"sparsity {row['sparsity']:.2%}"] if "sparsity" in row else []),
            f"{len(self.strategy.dataset.train) / row['seconds']:,.0f} {self._noun}/s",
        ]
        return ", ".join(parts)

    @property
    def _noun(self) -> str:
        return "images" if self.strategy.dataset.task is CLASSIFICATION else "examples"

    def save(self, path: Path | None) -> None:
        """Write a checkpoint of the last epoch, before it is measured."""
        if path is None:
            return
        assert self._unmeasured is not None
        content: Checkpoint = {
            "network": self.strategy.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.strategy.optimizers],
            "curve": self.curve,
            "unmeasured": self._unmeasured,
            "strategy": self.strategy.state(),
        }
        write_checkpoint(path, content)

    def resume(self, path: Path | None) -> bool:
        """Continue from a checkpoint; false without one, or with a damaged one: from the start the same comes out.

        Raises:
            DamagedCheckpointError: it is one of another network or training, and this one is half-way to it.
        """
        saved = None if path is None else read_checkpoint(path)
        if path is None or saved is None:
            return False
        try:
            self._take_over(saved)
        except Exception as error:  # whatever libraries make of tensors and numbers that do not belong here
            log(f"{path} is damaged ({type(error).__name__}); the training starts anew")
            path.unlink(missing_ok=True)
            raise DamagedCheckpointError from None
        return True

    def _take_over(self, saved: Checkpoint) -> None:
        strategy = self.strategy
        self.curve, self._unmeasured = saved["curve"], saved["unmeasured"]
        strategy.load_state(saved["strategy"], len(self.curve))
        strategy.network.load_state_dict(saved["network"])
        if saved["optimizers"]:
            strategy.make_optimizers()
        for optimizer, found in zip(strategy.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(found)
