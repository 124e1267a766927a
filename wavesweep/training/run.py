"""A retraining in progress: masks, quantisers and optimizers of its epochs, and which epoch is kept."""

import math
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wavesweep.data.splits import StoredImages
from wavesweep.errors import TrialError
from wavesweep.measure.quality import evaluate
from wavesweep.quantization.symbols import CodedTensor
from wavesweep.quantization.trainable import coded_as_plain, coded_from_plain
from wavesweep.runtime.kernels import deterministic_convolutions
from wavesweep.runtime.progress import Meter
from wavesweep.runtime.seeding import seeded
from wavesweep.settings.schema import RetrainSettings
from wavesweep.settings.timeline import retraining_recipe, timeline
from wavesweep.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from wavesweep.training.domain import Coefficients, plain_tensor
from wavesweep.training.interface import Coder, Retrained, Start, Training
from wavesweep.training.loss import Teacher, distilled_loss
from wavesweep.training.masks import MaskSchedule
from wavesweep.training.optimizers import make_optimizers, set_rates
from wavesweep.training.rate import REFRESH_STEPS, RatePenalty
from wavesweep.training.train import epoch_batches, outputs_of, rate_factor, to_device_if_fits

# How often per epoch masks are chosen anew while they change.
_MASKS_PER_EPOCH = 20


@dataclass(frozen=True)
class _OneShot:
    """An arm that is not retrained, and its validation accuracy."""

    coded: tuple[CodedTensor, ...]
    accuracy: float


class Run:
    """A retraining in progress: the network, its masks and quantisers, and the best epoch so far."""

    def __init__(
        self, start: Start, settings: RetrainSettings, training: Training, coder: Coder, trains_quantizer: bool
    ) -> None:
        spec, pruned = start.spec, start.pruned
        self._scratch, self._state, self._spec, self._pruned = start.model, start.state, spec, pruned
        self._settings, self._training, self._coder = settings, training, coder
        self._recipe = retraining_recipe(settings, training.recipe)
        self.epochs = timeline(settings, training.recipe, trains_quantizer)
        self.shared_epochs = sum(not epoch.quantized for epoch in self.epochs)
        self._curve: list[dict[str, Any]] = []
        # Loss and seconds of the last epoch, until it is measured.
        self._unmeasured: tuple[float, float] | None = None
        self._network = deepcopy(start.model)
        self._network.load_state_dict(dict(start.state))
        self._network.to(training.device)
        self._teacher: Teacher | None = None
        if settings.distillation:
            baseline = deepcopy(self._network)
            self._teacher = Teacher(baseline, training.dataset, self._recipe, training.device, training.baseline_key)
        self._masks = MaskSchedule(spec, pruned, settings, self.epochs)
        is_final = self._masks.counts(0, 0.0) == list(pruned.kept)
        self._coefficients = Coefficients(
            self._network, spec, [*pruned.tensors, *start.extras], settings.regrow, is_final
        )
        self._starts: tuple[CodedTensor, ...] = ()
        self._start_scale = coder.scale
        self._penalty: RatePenalty | None = None
        if settings.name == "rate":
            self._coefficients.quantize([coder.first_quantizer(t, settings.step) for t in self._coefficients.pruned()])
            self._penalty = RatePenalty(self._coefficients, settings.rate_weight, settings.group_weight)
        self._optimizers: list[torch.optim.Optimizer] = []
        # Validation accuracy, number and the network's state of the best epoch.
        self._best: tuple[float, int, dict[str, Tensor]] | None = None
        # What its file holds, with the factor of the steps; None once it comes from a checkpoint.
        self._best_file: tuple[tuple[CodedTensor, ...], float] | None = None

    @deterministic_convolutions()
    @seeded(0)  # so that the caller's random numbers go on; those of an epoch are seeded with it
    def go_on(self, until: int, checkpoint: Path | None, measured: bool = True) -> None:
        """Train epochs until so many are done.

        `measured`: the last one is measured as well; if it is the last of all, as the file of this arm.
        """
        training, done = self._training, len(self._curve) + (self._unmeasured is not None)
        if measured or done < until:
            self._measure_epoch()
        if done == until:
            return
        split = training.dataset.train
        images, labels = to_device_if_fits(split.images, training.device), split.labels.to(training.device)
        title = f"retraining ({self._settings.name}, {self._spec.method})"
        with Meter((until - done) * len(labels), title, training.shown) as meter:
            for number in range(done, until):
                started = time.perf_counter()
                self.begin(number)
                loss = self.train(number, images, labels, meter)
                self._unmeasured = loss, time.perf_counter() - started
                self.save(checkpoint)
                if measured or number + 1 < until:
                    meter.advance(0, self._measure_epoch())

    def _measure_epoch(self) -> str:
        """Add the last epoch to the curve, if it is not there yet; returns a line about it."""
        if self._unmeasured is None:
            return ""
        number, (loss, seconds), started = len(self._curve), self._unmeasured, time.perf_counter()
        row = {"epoch": number + 1, **self._measure(number), "loss": loss}
        row["seconds"] = seconds + time.perf_counter() - started
        self._curve.append(row)
        self._unmeasured = None
        rate = len(self._training.dataset.train.labels) / row["seconds"]
        text = f"epoch {number + 1}/{len(self.epochs)}, loss {loss:.3f}, validation {row['validation_accuracy']:.2%}, "
        return f"{text}sparsity {row['sparsity']:.2%}, {rate:,.0f} images/s"

    def begin(self, number: int) -> None:
        """Make ready for an epoch: masks, early weights, quantisers, optimizers."""
        epoch = self.epochs[number]
        if epoch.fresh and not epoch.quantized:
            self._choose_masks(number, 0.0)
        if epoch.rewound:
            assert self._training.early_state is not None
            self._rewind(self._training.early_state)
        if epoch.fresh and epoch.quantized and self._penalty is None:
            self._starts = self._coder.quantize(self._coefficients.pruned(), self._plain_state())
            self._start_scale = self._coder.scale
            self._attach_quantizers()
        if epoch.fresh:
            self._optimizers = make_optimizers(self._network, self._coefficients, self._recipe)
        if epoch.frozen and not self.epochs[number - 1].frozen:
            self._coefficients.freeze_zeros()
            self._coefficients.forget_pruned(self._optimizers)

    def train(self, number: int, images: Tensor | StoredImages, labels: Tensor, meter: Meter) -> float:
        """One epoch of steps; returns the mean loss."""
        epoch, recipe, training = self.epochs[number], self._recipe, self._training
        self._network.train()
        total, batches, masks_chosen = torch.zeros((), dtype=torch.float64, device=training.device), 0, 1
        for batch in epoch_batches(images, labels, recipe, training.seed, number):
            if batch.share * _MASKS_PER_EPOCH >= masks_chosen:
                masks_chosen += 1
                self._choose_masks(number, batch.share)
            progress = epoch.begin + (epoch.end - epoch.begin) * batch.share
            factor = epoch.rate_scale * rate_factor(recipe.schedule, progress)
            set_rates(self._optimizers, recipe, factor, self._penalty is not None)
            for optimizer in self._optimizers:
                optimizer.zero_grad(set_to_none=True)
            inputs = training.dataset.normalise(batch.images)
            taught = None if self._teacher is None else self._teacher.outputs(batch, inputs)
            outputs = outputs_of(self._network, inputs, recipe.precision)
            loss = distilled_loss(outputs, batch.labels, taught, self._settings.distillation)
            total += loss.detach()
            if self._penalty is not None:
                if batches % REFRESH_STEPS == 0:
                    self._penalty.refresh()
                done = (number + batch.share) / len(self.epochs)
                ramp = self._settings.ramp
                loss = loss + self._penalty.loss() * (min(1.0, done / ramp) if ramp else 1.0)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in self._optimizers:
                optimizer.step()
            batches += 1
            meter.advance(len(batch.labels))
        if number + 1 == len(self.epochs) or self.epochs[number + 1].quantized:
            self._choose_masks(number, 1.0)  # a ramp may end only now
        mean = float(total) / max(batches, 1)
        # The last step's effect is not in the mean.
        finite = all(bool(torch.isfinite(parameter).all()) for parameter in self._network.parameters())
        if not math.isfinite(mean) or not finite:
            raise _diverged(f"the loss is {mean}" if finite else "a weight is not finite", number)
        return mean

    def _measure(self, number: int) -> dict[str, Any]:
        """A row of the learning curve; an epoch whose network could be the file's is measured as the file's."""
        epoch, training = self.epochs[number], self._training
        row = {"round": epoch.round + 1, "quantized": epoch.quantized}
        model = self._network
        try:
            if epoch.quantized or number + 1 == len(self.epochs):
                coded = self._coded()
                nonzero = sum(int(np.count_nonzero(tensor.symbols)) for tensor in coded[: len(self._pruned.tensors)])
                self._scratch.load_state_dict(self._coder.decoded(coded, self._plain_state()))
                model = self._scratch.to(training.device)
            else:
                nonzero = self._coefficients.nonzero()
            quality = evaluate(model, training.dataset, training.dataset.validation, "validation", training.device)
        except TrialError:
            raise _diverged("weights are too large to be coded or measured", number) from None
        is_best = self._best is None or self._penalty is not None or quality["accuracy"] >= self._best[0]
        if model is self._scratch and is_best:
            copy = {name: value.detach().cpu().clone() for name, value in self._network.state_dict().items()}
            self._best = quality["accuracy"], number, copy
            self._best_file = coded, self._coder.scale
        if self._penalty is not None:
            row["estimated_bytes"] = round(self._penalty.estimated_bytes)
        return {
            **row,
            "sparsity": 1 - nonzero / self._masks.total,
            "validation_loss": quality["loss"],
            "validation_accuracy": quality["accuracy"],
        }

    def result(self) -> Retrained:
        """The best epoch, or the network that was not retrained where that is better on validation."""
        assert self._best is not None
        one_shot = None if self._penalty is not None else self._one_shot()
        if one_shot is not None and one_shot.accuracy > self._best[0]:
            return Retrained(one_shot.coded, dict(self._state), self._pruned, self._curve, 0, one_shot.accuracy)
        self._network.load_state_dict(self._best[2])
        count = len(self._pruned.tensors)
        tensors = self._coefficients.pruned()[:count]
        if self._penalty is not None:  # zeros that were frozen are the rate's; what pruning kept is as before
            tensors = tuple(replace(t, mask=old.mask) for t, old in zip(tensors, self._pruned.tensors, strict=True))
        kept = self._masks.kept([tensor.mask for tensor in tensors])
        pruned = replace(self._pruned, tensors=tensors, kept=tuple(kept))
        accuracy = None if one_shot is None else one_shot.accuracy
        coded = self._best_coded()
        return Retrained(coded, self._plain_state(), pruned, self._curve, self._best[1] + 1, accuracy)

    def _best_coded(self) -> tuple[CodedTensor, ...]:
        """The coded tensors of the best epoch, whose network is loaded; made again where they are not at hand."""
        if self._best_file is not None:
            coded, self._coder.scale = self._best_file
            return coded
        self._coder.scale = self._start_scale  # not that of the arm without retraining
        return self._coded()

    def _one_shot(self) -> "_OneShot":
        """The arm without retraining, measured as its file."""
        coded = self._coder.quantize(self._pruned.tensors, self._state)
        self._scratch.load_state_dict(self._coder.decoded(coded, self._state))
        dataset, device = self._training.dataset, self._training.device
        quality = evaluate(self._scratch.to(device), dataset, dataset.validation, "validation", device)
        return _OneShot(coded, quality["accuracy"])

    def forget_training(self) -> None:
        """Drop what only the epochs before needed: optimizers, and values of pruned coefficients."""
        self._optimizers = []
        self._coefficients.zero_pruned()

    def save(self, path: Path | None) -> None:
        """Write a checkpoint of the last epoch, before it is measured."""
        if path is None:
            return
        assert self._unmeasured is not None
        content: Checkpoint = {
            "network": self._network.state_dict(),
            "scale": self._start_scale,
            "quantizers": [coded_as_plain(coded) for coded in self._starts],
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "curve": self._curve,
            "unmeasured": self._unmeasured,
            "best": self._best,
        }
        write_checkpoint(path, content)

    def resume(self, path: Path | None) -> bool:
        """Go on from a checkpoint; false without one, or with a damaged one: from the start the same comes out."""
        saved = None if path is None else read_checkpoint(path)
        if saved is None:
            return False
        self._unmeasured = saved["unmeasured"]
        self._curve, self._best = saved["curve"], saved["best"]
        if saved["quantizers"]:
            self._start_scale = self._coder.scale = saved["scale"]
            tensors = self._coefficients.pruned()
            self._starts = tuple(coded_from_plain(*pair) for pair in zip(saved["quantizers"], tensors, strict=True))
            self._attach_quantizers()
        self._network.load_state_dict(saved["network"])
        if self.epochs[len(self._curve)].frozen:  # the epoch that was trained last; its masks are the network's
            self._coefficients.keep_nonzero()
        self._optimizers = (
            make_optimizers(self._network, self._coefficients, self._recipe) if saved["optimizers"] else []
        )
        for optimizer, found in zip(self._optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(found)
        return True

    def _choose_masks(self, number: int, share: float) -> None:
        chosen = self._masks.choose(self._coefficients, number, share)
        if chosen is not None:
            self._coefficients.set_masks(chosen)
            if not self._settings.regrow:
                self._coefficients.forget_pruned(self._optimizers)

    def _rewind(self, early: Mapping[str, Tensor]) -> None:
        names = [tensor.plan.name for tensor in self._pruned.tensors]
        self._coefficients.load([early[name] for name in names])
        with torch.no_grad():
            for name, value in early.items():
                if name not in names:
                    plain_tensor(self._network, name).copy_(value)

    def _attach_quantizers(self) -> None:
        tensors = self._coefficients.pruned()
        self._coefficients.quantize([self._coder.quantizer(c, t) for c, t in zip(self._starts, tensors, strict=True)])

    def _coded(self) -> tuple[CodedTensor, ...]:
        tensors = self._coefficients.pruned()
        quantizers = [synthesis.quantizer for synthesis in self._coefficients.syntheses]
        if all(quantizer is None for quantizer in quantizers):
            return self._coder.quantize(tensors, self._plain_state())
        coded = [q.coded(tensor) for q, tensor in zip(quantizers, tensors, strict=True) if q is not None]
        if self._penalty is None:
            return tuple(coded)
        self._penalty.refresh()
        return tuple(replace(c, priors=priors) for c, priors in zip(coded, self._penalty.priors(), strict=True))

    def _plain_state(self) -> dict[str, Tensor]:
        """The network's state dict with weights for coefficients, on the CPU."""
        with torch.no_grad():
            return {name: plain_tensor(self._network, name).detach().cpu().clone() for name in self._state}


def _diverged(how: str, number: int) -> TrialError:
    return TrialError(f"retraining diverged: {how} in epoch {number + 1}; lower retrain.learning_rate")
