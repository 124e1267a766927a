"""The file's bits as a part of the loss: entropy-penalised reparameterisation (Oktay et al. 2020).

Each subband has a prior: how likely a symbol of it is not zero, by its row (unit) and its column (input), and how
large those are on average. It is learned by counting the symbols that the coefficients would have now, smoothed and
anew every few steps, which is where its own gradient would lead; the range coder's model adapts in the same way.
Between two multiples of the step the bits are interpolated linearly: that is their expectation under uniform noise of
one step, without the noise. A coefficient in an empty row pays most for leaving zero, so whole units and inputs become
empty.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wavesweep.models.load import load_state
from wavesweep.quantization.symbols import CodedTensor
from wavesweep.quantization.trainable import StepQuantizer
from wavesweep.settings.schema import RetrainSettings
from wavesweep.settings.timeline import Epoch
from wavesweep.training.domain import Coefficients
from wavesweep.training.interface import Coder, Retrained, Start, Training
from wavesweep.training.strategy import Retraining
from wavesweep.transform.basis import Band

# Steps of the optimizer between two counts of the symbols.
REFRESH_STEPS = 50
# Weight, in symbols, of the band's average against a row's or a column's own count.
_SMOOTHING = 2.0
# Share of a row or a column that is not zero, at most: float32 rounds what is nearer to 1, whose odds are infinite.
_LARGEST_SHARE = 1 - 1e-6
# Bits of one symbol that is not zero, at least and at most: the gradient must neither vanish nor explode.
_FEWEST_BITS, _MOST_BITS = 0.05, 30.0


@dataclass(frozen=True)
class BitTable:
    """What symbols cost: `first` bits more for +-1 than for 0, per coefficient; `next` bits for each step beyond.

    `total` is the estimate for the symbols that were counted.
    """

    first: Tensor
    next: Tensor
    total: float


def bit_table(symbols: Tensor, bands: Sequence[Band]) -> BitTable:
    """Bits of the flat symbols of a tensor under shares learned from themselves.

    Magnitudes beyond one are taken as geometric, with the band's mean.
    """
    first, steps, total = [], [], 0.0
    for band in bands:
        magnitudes = symbols[band.slice].abs().reshape(band.shape[0] if band.shape else 1, -1)
        nonzero = (magnitudes > 0).float()
        count, beyond = float(nonzero.sum()), float(magnitudes.sum() - nonzero.sum())
        average = (count + 0.5) / (nonzero.numel() + 1)
        odds = torch.full_like(magnitudes, math.log(average / (1 - average)))
        if min(nonzero.shape) > 1:
            for axis in (0, 1):
                other = 1 - axis
                share = (nonzero.sum(other, keepdim=True) + _SMOOTHING * average) / (nonzero.shape[other] + _SMOOTHING)
                odds = odds + torch.logit(share.clamp(max=_LARGEST_SHARE)) - math.log(average / (1 - average))
        mean = (beyond + 0.3) / (count + 1)
        start, more = 1 + math.log2(1 + mean), math.log2((1 + mean) / mean)  # the sign is one bit
        first.append((start - odds / math.log(2)).clamp(_FEWEST_BITS, _MOST_BITS).reshape(-1))
        steps.append(torch.full_like(first[-1], more))
        total += float((F.softplus(odds) - odds * nonzero).sum()) / math.log(2) + count * start + beyond * more
    return BitTable(torch.cat(first), torch.cat(steps), total)


class BitsPenalty:
    """`rate_weight` times the estimated bits per weight of all coefficients, and a penalty on groups."""

    def __init__(self, coefficients: Coefficients, rate_weight: float, group_weight: float) -> None:
        self._coefficients, self._tables = coefficients, list[BitTable]()
        count = sum(latent.numel() for latent in coefficients.latents)
        self._bits_scale, self._group_scale = rate_weight / count, group_weight / count

    def refresh(self) -> None:
        """Count the symbols again."""
        self._tables = []
        with torch.no_grad():
            for latent, synthesis in zip(self._coefficients.latents, self._coefficients.syntheses, strict=True):
                quantizer = synthesis.quantizer
                assert isinstance(quantizer, StepQuantizer)
                symbols = quantizer.symbols(latent * synthesis.mask / quantizer.steps(), synthesis.mask)
                table = bit_table(symbols, synthesis.basis.bands)
                # What cannot become zero has nothing to gain from being smaller than a step.
                self._tables.append(replace(table, first=torch.zeros_like(table.first)) if quantizer.exact else table)

    @property
    def estimated_bytes(self) -> float:
        """Of all symbols when they were last counted, without header and other tensors."""
        return sum(table.total for table in self._tables) / 8

    def loss(self) -> Tensor:
        """The penalty of the last forward pass, in nats, with gradients to coefficients and steps."""
        total = torch.zeros((), device=self._coefficients.latents[0].device)
        coefficients = self._coefficients
        for latent, synthesis, table in zip(coefficients.latents, coefficients.syntheses, self._tables, strict=True):
            quantizer = synthesis.quantizer
            assert isinstance(quantizer, StepQuantizer)
            scaled, quantizer.scaled = quantizer.scaled, None
            if scaled is None:  # a layer that the forward pass left out costs bits as well
                scaled = latent * synthesis.mask / quantizer.steps()
            if self._bits_scale:
                bits: Tensor = _InterpolatedBits.apply(scaled, table.first, table.next)
                total = total + self._bits_scale * bits
            if self._group_scale:
                total = total + self._group_scale * group_norms(scaled, synthesis.basis.bands)
        return total


def group_norms(scaled: Tensor, bands: Sequence[Band]) -> Tensor:
    """Sum over the rows (units) and columns (inputs) of each band of sqrt(size) * L2 norm (group lasso, Yuan and Lin
    2006): what it drives to zero are whole groups."""
    total = scaled.new_zeros(())
    for band in bands:
        plane = scaled[band.slice].reshape(band.shape[0] if band.shape else 1, -1)
        for axis in (0, 1):
            squares = (plane**2).sum(axis)
            total = total + math.sqrt(plane.shape[axis]) * torch.sqrt(squares + 1e-12).sum()
    return total


class _InterpolatedBits(torch.autograd.Function):
    """Sum of the bits of scaled coefficients, linear between integers."""

    @staticmethod
    def forward(ctx: Any, scaled: Tensor, first: Tensor, further: Tensor) -> Tensor:
        sizes = scaled.abs()
        slope = torch.where(sizes < 1, first, further)
        ctx.save_for_backward(scaled, slope)
        # Beyond one the line through (1, first) does not begin at zero; what it has there is first - slope.
        return torch.dot(slope, sizes) + first.sum() - slope.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        scaled, slope = ctx.saved_tensors
        return scaled.sign().mul_(slope).mul_(gradient), None, None


class Rate(Retraining):
    """`retrain=rate`: quantisers are trained all along, and the file's bits are in the loss.

    The last epoch is kept, since every epoch has another size.
    """

    quantizer_learning_rate = 3e-3

    def __init__(
        self, start: Start, settings: RetrainSettings, training: Training, coder: Coder, timeline: Sequence[Epoch]
    ) -> None:
        super().__init__(start, settings, training, coder, timeline, starts_masked=True)
        self.coefficients.quantize([coder.first_quantizer(t, settings.step) for t in self.coefficients.pruned()])
        self._bits = BitsPenalty(self.coefficients, settings.rate_weight, settings.group_weight)
        self._steps = 0

    def begin_epoch(self, epoch: int) -> None:
        """Prepare an epoch: optimizers, and zeros that stay in the last epochs."""
        entry, self._steps = self.timeline[epoch], 0
        if entry.fresh:
            self.make_optimizers()
        if entry.frozen and not self.timeline[epoch - 1].frozen:
            self.coefficients.freeze_zeros()
            self.coefficients.forget_pruned(self.optimizers)

    def penalty(self, epoch: int, share: float) -> Tensor:
        """The bits and the groups, whose weight rises over the first `retrain.ramp` of the epochs."""
        if self._steps % REFRESH_STEPS == 0:
            self._bits.refresh()
        self._steps += 1
        done, ramp = (epoch + share) / self.epoch_count, self._settings.ramp
        return self._bits.loss() * (min(1.0, done / ramp) if ramp else 1.0)

    def load_state(self, state: dict[str, Any], epoch: int) -> None:
        """Take over the best epoch so far, and whether zeros stay."""
        super().load_state(state, epoch)
        if self.timeline[epoch].frozen:  # its masks are the network's
            self.coefficients.keep_nonzero()

    def coded(self) -> tuple[CodedTensor, ...]:
        """As the quantisers hold them."""
        tensors, quantizers = self.coefficients.pruned(), [s.quantizer for s in self.coefficients.syntheses]
        self._bits.refresh()
        return tuple(q.coded(tensor) for q, tensor in zip(quantizers, tensors, strict=True) if q is not None)

    def result(self, curve: list[dict[str, Any]]) -> Retrained:
        """The last epoch, under the masks that pruning gave."""
        assert self._best is not None
        load_state(self.network, self._best.network)
        # Freezing changed the masks; what counts as kept is what pruning kept.
        tensors = self.coefficients.pruned()[: len(self._pruned.tensors)]
        tensors = tuple(replace(t, mask=old.mask) for t, old in zip(tensors, self._pruned.tensors, strict=True))
        pruned = replace(self._pruned, tensors=tensors)
        coded = self.coded() if self._best_file is None else self._best_file[0]
        return Retrained(coded, self.plain_state(), pruned, curve, self._best.epoch + 1, None)

    def _is_best(self, score: float) -> bool:
        return True

    def _more_columns(self) -> dict[str, Any]:
        return {"estimated_bytes": round(self._bits.estimated_bytes)}
