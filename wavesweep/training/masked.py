"""Retraining under masks that a schedule chooses: finetune, iterative, gradual and rewind."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wavesweep.measure.quality import evaluate
from wavesweep.models.load import load_state
from wavesweep.pruning.prune import ArmSpec, PrunedArm, choose, score, selection_groups
from wavesweep.quantization.symbols import CodedTensor
from wavesweep.quantization.trainable import coded_as_plain, coded_from_plain
from wavesweep.settings.schema import RetrainSettings
from wavesweep.settings.timeline import Epoch, kept_counts
from wavesweep.training.domain import Coefficients, plain_tensor
from wavesweep.training.interface import Coder, Retrained, Start, Training
from wavesweep.training.strategy import Retraining

# How often per epoch masks are chosen anew while they change.
_MASKS_PER_EPOCH = 20


class MaskSchedule:
    """The masks of an arm over its epochs: how many coefficients each group keeps, and which."""

    def __init__(self, spec: ArmSpec, pruned: PrunedArm, settings: RetrainSettings, epochs: Sequence[Epoch]) -> None:
        self._spec, self._settings, self._epochs, self._final = spec, settings, epochs, pruned.kept
        self._groups = selection_groups(spec.plans, spec.threshold)
        self._totals = [sum(pruned.tensors[i].mask.numel() for i in group) for group in self._groups]

    def counts(self, number: int, share: float) -> list[int]:
        """How many coefficients each group keeps when a `share` of epoch `number` is done."""
        return kept_counts(self._settings, self._epochs, number, share, self._totals, self._final)

    def kept(self, masks: Sequence[Tensor]) -> list[int]:
        """How many coefficients each group keeps under these masks."""
        return [sum(int(masks[i].sum()) for i in group) for group in self._groups]

    def choose(self, coefficients: Coefficients, number: int, share: float) -> tuple[Tensor, ...] | None:
        """The masks of this moment: fewer coefficients, and with regrowth others; None where they stay."""
        if self._epochs[number].quantized:
            return None
        wanted, regrow = self.counts(number, share), self._settings.regrow
        masks = [synthesis.mask.bool().cpu() for synthesis in coefficients.syntheses]
        regrows = regrow and number + share < self._settings.ramp * len(self._epochs)
        if self.kept(masks) == wanted and not regrows:
            return None
        values = [latent.detach().cpu() for latent in coefficients.latents]
        scores = score(self._spec, coefficients.bases, values)
        if regrow:
            return tuple(choose(self._spec, scores, wanted).masks)
        # What is pruned stays pruned; whole units may leave room for smaller ones that were.
        scores = [torch.where(mask, found, -1.0) for mask, found in zip(masks, scores, strict=True)]
        return tuple(new & old for new, old in zip(choose(self._spec, scores, wanted).masks, masks, strict=True))


class Masked(Retraining):
    """Kinds that keep as many coefficients as was asked for; the last epochs may train the quantiser as well.

    Of the epochs that are measured as the file, the one that is best on validation is kept.
    """

    quantizer_learning_rate = 1e-3

    def __init__(
        self, start: Start, settings: RetrainSettings, training: Training, coder: Coder, timeline: Sequence[Epoch]
    ) -> None:
        self._masks = MaskSchedule(start.spec, start.pruned, settings, timeline)
        is_final = self._masks.counts(0, 0.0) == list(start.pruned.kept)
        super().__init__(start, settings, training, coder, timeline, is_final)
        self._early_state = training.early_state
        self.shared_epochs = sum(not entry.quantized for entry in self.timeline)
        # The coded tensors that the quantisers started from, and the factor of their steps.
        self._starts: tuple[CodedTensor, ...] = ()
        self._start_scale = coder.scale
        self._masks_chosen = 0

    def begin_epoch(self, epoch: int) -> None:
        """Prepare an epoch: masks, early weights, quantisers and optimizers."""
        entry, self._masks_chosen = self.timeline[epoch], 1
        if entry.fresh and not entry.quantized:
            self._choose_masks(epoch, 0.0)
        if entry.rewound:
            assert self._early_state is not None
            self._rewind(self._early_state)
        if entry.fresh and entry.quantized:
            self._starts = self._coder.quantize(self.coefficients.pruned(), self.plain_state())
            self._start_scale = self._coder.scale
            self._attach_quantizers()
        if entry.fresh:
            self.make_optimizers()

    def begin_batch(self, epoch: int, share: float) -> None:
        """Choose masks now and then while they change, and set the learning rates."""
        if share * _MASKS_PER_EPOCH >= self._masks_chosen:
            self._masks_chosen += 1
            self._choose_masks(epoch, share)
        super().begin_batch(epoch, share)

    def end_epoch(self, epoch: int) -> None:
        """Choose the masks that stay, where the next epoch does not."""
        if epoch + 1 == self.epoch_count or self.timeline[epoch + 1].quantized:
            self._choose_masks(epoch, 1.0)  # a ramp may end only now

    def state(self) -> dict[str, Any]:
        """The best epoch so far, and what the quantisers started from."""
        starts = [coded_as_plain(coded) for coded in self._starts]
        return {**super().state(), "scale": self._start_scale, "quantizers": starts}

    def load_state(self, state: dict[str, Any], epoch: int) -> None:
        """Take over the best epoch so far, and attach the quantisers."""
        super().load_state(state, epoch)
        if state["quantizers"]:
            self._start_scale = self._coder.scale = state["scale"]
            tensors = self.coefficients.pruned()
            self._starts = tuple(coded_from_plain(*pair) for pair in zip(state["quantizers"], tensors, strict=True))
            self._attach_quantizers()

    def coded(self) -> tuple[CodedTensor, ...]:
        """As the quantisers hold them; where none is trained, the coder quantises."""
        tensors = self.coefficients.pruned()
        quantizers = [synthesis.quantizer for synthesis in self.coefficients.syntheses]
        if all(quantizer is None for quantizer in quantizers):
            return self._coder.quantize(tensors, self.plain_state())
        return tuple(q.coded(tensor) for q, tensor in zip(quantizers, tensors, strict=True) if q is not None)

    def forget_training(self) -> None:
        """Drop what only the epochs before needed: optimizers, and values of pruned coefficients."""
        self.optimizers = []
        self.coefficients.zero_pruned()

    def result(self, curve: list[dict[str, Any]]) -> Retrained:
        """The best epoch, or the network that was not retrained where that is better on validation."""
        assert self._best is not None
        # The arm without retraining, measured as its file.
        one_shot = self._coder.quantize(self._pruned.tensors, self._start_state)
        load_state(self._scratch, self._coder.decoded(one_shot, self._start_state))
        model, validation = self._scratch.to(self.device), self.dataset.validation
        quality = evaluate(model, self.dataset, validation, "validation", self.device)
        metric = self.dataset.task.primary_metric
        before = metric.value(quality)
        if metric.score(quality) > self._best.score:
            return Retrained(one_shot, dict(self._start_state), self._pruned, curve, 0, before)
        load_state(self.network, self._best.network)
        tensors = self.coefficients.pruned()[: len(self._pruned.tensors)]
        kept = self._masks.kept([tensor.mask for tensor in tensors])
        pruned = replace(self._pruned, tensors=tensors, kept=tuple(kept))
        if self._best_file is not None:
            coded, self._coder.scale = self._best_file
        else:
            self._coder.scale = self._start_scale  # not that of the arm without retraining
            coded = self.coded()
        return Retrained(coded, self.plain_state(), pruned, curve, self._best.epoch + 1, before)

    def _is_best(self, score: float) -> bool:
        return self._best is None or score >= self._best.score

    def _choose_masks(self, epoch: int, share: float) -> None:
        chosen = self._masks.choose(self.coefficients, epoch, share)
        if chosen is not None:
            self.coefficients.set_masks(chosen)
            if not self._settings.regrow:
                self.coefficients.forget_pruned(self.optimizers)

    def _rewind(self, early: Mapping[str, Tensor]) -> None:
        names = [tensor.plan.name for tensor in self._pruned.tensors]
        self.coefficients.load([early[name] for name in names])
        with torch.no_grad():
            for name, value in early.items():
                if name not in names:
                    plain_tensor(self.network, name).copy_(value)

    def _attach_quantizers(self) -> None:
        tensors = self.coefficients.pruned()
        self.coefficients.quantize([self._coder.quantizer(c, t) for c, t in zip(self._starts, tensors, strict=True)])
