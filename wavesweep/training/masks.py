"""Which coefficients are kept at a moment of a retraining."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wavesweep.pruning.prune import ArmSpec, PrunedArm, choose, score, selection_groups
from wavesweep.settings.schema import RetrainSettings
from wavesweep.settings.timeline import Epoch, kept_counts
from wavesweep.training.domain import Coefficients


class MaskSchedule:
    """The masks of an arm over its epochs: how many coefficients each group keeps, and which."""

    def __init__(self, spec: ArmSpec, pruned: PrunedArm, settings: RetrainSettings, epochs: Sequence[Epoch]) -> None:
        self._spec, self._settings, self._epochs, self._final = spec, settings, epochs, pruned.kept
        self._groups = selection_groups(spec.plans, spec.threshold)
        self._totals = [sum(pruned.tensors[i].mask.numel() for i in group) for group in self._groups]

    @property
    def total(self) -> int:
        """Number of coefficients of all groups."""
        return sum(self._totals)

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
