"""Quantisers that are trained: straight-through rounding with steps or codebooks as parameters."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from wavesweep.pruning.prune import PrunedTensor
from wavesweep.quantization.quantize import as_codebook, as_coded, short_number
from wavesweep.quantization.symbols import LARGEST, Codebook, CodedTensor, Reconstruction, Steps, Values
from wavesweep.transform.basis import Band

# First step, in deviations, of a tensor that is all zero.
_STEP_OF_ZEROS = 0.01
# Largest symbol that float32 holds; and the least first steps, as a share of the largest coefficient and in float32.
_MOST, _FINEST, _LEAST = LARGEST - 63, 2.0**-20, 1e-37


class Quantizer(nn.Module):
    """Flat coefficients and their mask in, what a file would hold of them out, with gradients."""

    @abstractmethod
    def forward(self, coefficients: Tensor, mask: Tensor) -> Tensor:
        """Quantised coefficients."""

    @abstractmethod
    def coded(self, tensor: PrunedTensor) -> CodedTensor:
        """The coded form of a tensor whose coefficients are those of `forward`."""


class StepQuantizer(Quantizer):
    """Multiples of a step, which is trained as its logarithm (learned step size, Esser et al. 2020).

    The gradient goes straight through the rounding. With `exact` a coefficient that is kept is never rounded to zero,
    so that the sparsity of the file is the one that was asked for.
    """

    def __init__(self, bands: Sequence[Band], steps: Sequence[float], exact: bool, dead_zone: float = 1.0) -> None:
        super().__init__()
        self.log_steps = nn.Parameter(torch.tensor(steps, dtype=torch.float64).log().float())
        self.sizes = [prod(band.shape) for band in bands]
        self.exact, self.dead_zone = exact, dead_zone
        self.scaled: Tensor | None = None

    def steps(self) -> Tensor:
        """The step of every coefficient, or the one of all."""
        return _of_each(self.log_steps.exp(), self.sizes)

    def forward(self, coefficients: Tensor, mask: Tensor) -> Tensor:
        """Quantised coefficients; those in units of their steps are remembered in `scaled`."""
        quantized, scaled = _Rounded.apply(
            coefficients, self.log_steps.exp(), self.sizes, lambda scaled: self.symbols(scaled, mask)
        )
        self.scaled = scaled if torch.is_grad_enabled() else None
        return cast(Tensor, quantized)

    def coded(self, tensor: PrunedTensor) -> CodedTensor:
        """The coded form: the symbols of `forward`, and steps of four significant digits.

        Symbols are those of the steps that were trained, not of the shortened ones: where the bits are in the loss they
        draw coefficients to the edge of the zero bin, so that a slightly wider step would make zeros of hundreds.
        """
        short = [short_number(step) for step in self.log_steps.detach().double().exp().tolist()]
        with torch.no_grad():
            scaled = tensor.coefficients / self.steps().to(tensor.coefficients)
        symbols = self.symbols(scaled, tensor.mask).numpy().astype(np.int32)
        return as_coded(tensor, symbols, Steps((short[0],) if len(set(short)) == 1 else tuple(short)))

    def symbols(self, scaled: Tensor, mask: Tensor) -> Tensor:
        """The multiples, as numbers, of coefficients that are given in units of their steps."""
        if not self.exact and self.dead_zone <= 1:
            return torch.round(scaled).clamp_(-_MOST, _MOST)  # what is pruned is zero before
        sizes = scaled.abs()
        symbols = torch.floor(sizes + 0.5).clamp_(min=1, max=_MOST)
        if not self.exact:
            symbols = torch.where(sizes < self.dead_zone / 2, 0, symbols)
        # The sign bit, not a comparison: a subnormal coefficient over a step of two is a negative zero.
        return torch.where(torch.signbit(scaled), -symbols, symbols) * mask


class _Rounded(torch.autograd.Function):
    """Coefficients as multiples of their steps, and what they were in units of the steps.

    The gradient goes straight through the rounding (Bengio et al. 2013). Written out, since most of it cancels: a
    coefficient gets that of its multiple, a step what rounding added to its coefficients (Esser et al. 2020).
    """

    @staticmethod
    def forward(
        ctx: Any, coefficients: Tensor, steps: Tensor, sizes: list[int], rounded: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        each = _of_each(steps, sizes)
        scaled = coefficients / each
        symbols = rounded(scaled)
        ctx.sizes = [scaled.numel()] if len(steps) == 1 else sizes
        ctx.save_for_backward(steps, each, scaled, symbols - scaled)
        ctx.set_materialize_grads(False)
        return symbols * each, scaled

    @staticmethod
    def backward(ctx: Any, of_multiples: Tensor | None, of_scaled: Tensor | None) -> tuple[Tensor | None, ...]:
        steps, each, scaled, added = ctx.saved_tensors
        of_coefficients, of_steps = of_multiples, torch.zeros_like(steps)
        if of_multiples is not None:
            of_steps = _sums_of_products(of_multiples, added, ctx.sizes)
        if of_scaled is not None:
            of_coefficients = of_scaled / each if of_multiples is None else of_multiples.addcdiv(of_scaled, each)
            of_steps = of_steps - _sums_of_products(of_scaled, scaled, ctx.sizes) / steps
        return of_coefficients, of_steps, None, None


def _of_each(steps: Tensor, sizes: list[int]) -> Tensor:
    if len(steps) == 1:
        return steps
    # With the size of the result, which a GPU would have to be asked for.
    return torch.repeat_interleave(steps, _counts(tuple(sizes), steps.device), output_size=sum(sizes))


@lru_cache(maxsize=1024)
def _counts(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """A copy to a GPU waits for what it still has to do, so there is one."""
    with torch.inference_mode(False):  # or training could not use what an evaluation was the first to need
        return torch.tensor(sizes).to(device)


def _sums_of_products(left: Tensor, right: Tensor, sizes: list[int]) -> Tensor:
    parts = zip(torch.split(left, sizes), torch.split(right, sizes), strict=True)
    return torch.stack([torch.dot(one, other) for one, other in parts])


class CodebookQuantizer(Quantizer):
    """Shared values, trained with the sum of the gradients of those that share them (Han et al. 2016).

    Which value a coefficient has stays as it was found by clustering; values are rounded to float16, as in the file.
    """

    index: Tensor
    positions: Tensor

    def __init__(self, coded: CodedTensor) -> None:
        super().__init__()
        rule = coded.reconstruction
        assert isinstance(rule, Codebook)
        self.below = len(rule.negative)
        # Values in order of their symbols, -below ... -1, 1 ... above, with zero between them for what is pruned.
        values = np.concatenate([rule.negative[::-1], [0.0], rule.positive]).astype(np.float32)
        self.values = nn.Parameter(torch.from_numpy(values))
        self.register_buffer("index", torch.from_numpy(coded.symbols.astype(np.int64) + self.below))
        # Of what is not zero: the gradients of all zeros would be added up as well, one after the other.
        self.register_buffer("positions", torch.from_numpy(coded.symbols.nonzero()[0]), persistent=False)

    def forward(self, coefficients: Tensor, mask: Tensor) -> Tensor:
        """Quantised coefficients; those given only say on which device."""
        short = self.values + (self.values.half().float() - self.values).detach()
        nonzero = short[self.index[self.positions]]
        return nonzero.new_zeros(mask.shape).index_copy(0, self.positions, nonzero) * mask

    def coded(self, tensor: PrunedTensor) -> CodedTensor:
        """The coded form.

        Raises:
            TrialError: values have left the range of float16.
        """
        values = as_codebook(self.values.detach().double().cpu().numpy(), tensor.plan.name)
        rule = Codebook(values[: self.below][::-1].copy(), values[self.below + 1 :].copy())
        return as_coded(tensor, (self.index.cpu().numpy() - self.below).astype(np.int32), rule)


def trained_quantizer(coded: CodedTensor, tensor: PrunedTensor, dead_zone: float) -> Quantizer | None:
    """The quantiser that continues from `coded`; None where values are stored each on its own."""
    rule = coded.reconstruction
    if isinstance(rule, Steps):
        return StepQuantizer(tensor.bands, rule.steps, dead_zone <= 1, dead_zone)
    return CodebookQuantizer(coded) if isinstance(rule, Codebook) else None


def first_quantizer(tensor: PrunedTensor, deviations: float, per: str) -> StepQuantizer:
    """Steps of so many standard deviations of the tensor's coefficients, to train from: one, or one per band."""
    values = tensor.coefficients.double()
    step = deviations * float(values.std(correction=0))
    if not step:
        # Equal values, such as biases that are all zero, say nothing of how far apart those will be that are trained;
        # scales that are all one must not begin as zeros, from which nothing is learned.
        step = min(deviations, 1.0) * float(values.abs().mean()) or deviations * _STEP_OF_ZEROS
    count = len(tensor.bands) if per == "band" else 1
    return StepQuantizer(tensor.bands, [max(step, _FINEST * float(values.abs().max()), _LEAST)] * count, exact=False)


def coded_as_plain(coded: CodedTensor) -> dict[str, Any]:
    """A coded tensor as tensors and lists, for a checkpoint."""
    rule, symbols = coded.reconstruction, torch.from_numpy(coded.symbols)
    if isinstance(rule, Steps):
        return {"symbols": symbols, "steps": list(rule.steps)}
    if isinstance(rule, Codebook):
        return {"symbols": symbols, "codebook": [torch.from_numpy(part) for part in (rule.negative, rule.positive)]}
    return {"symbols": symbols, "values": torch.from_numpy(rule.values)}


def coded_from_plain(plain: dict[str, Any], tensor: PrunedTensor) -> CodedTensor:
    """Inverse of `coded_as_plain`."""
    rule: Reconstruction
    if "steps" in plain:
        rule = Steps(tuple(plain["steps"]))
    elif "codebook" in plain:
        rule = Codebook(*(part.numpy() for part in plain["codebook"]))
    else:
        rule = Values(plain["values"].numpy())
    return as_coded(tensor, plain["symbols"].numpy(), rule)
