"""Rate-distortion optimised quantisation: symbols that minimise distortion of the outputs + weight x bits.

Coefficients are quantised column by column; the error of each is made good by the columns still to come, as the
second moment of the layer's inputs prescribes (optimal brain surgeon, Hassibi and Stork 1993; column by column as in
GPTQ, Frantar et al. 2022), and each symbol's bits under the coder's own model count against it (as in CERWU, 2025).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from wavesweep.compression.arm import PrunedTensor
from wavesweep.compression.basis import Band
from wavesweep.compression.importance import LayerImportance
from wavesweep.compression.quantize import as_coded, round_to_step, short_number
from wavesweep.compression.second_order import Block, blocks_of
from wavesweep.compression.symbols import CodedTensor, Steps, Symbols
from wavesweep.config import QuantizeSettings

Array = npt.NDArray[np.float64]
# Bands and their symbols to the probability that each symbol is not zero: the coder's model, given from outside.
RateModel = Callable[[Sequence[Band], Sequence[Symbols]], list[Array]]
_ROUNDS = 3
_BLOCK = 64
_LARGEST_CANDIDATE = 1 << 20
_TABLE = 256


def quantize_rate_distortion(
    tensor: PrunedTensor, settings: QuantizeSettings, importance: LayerImportance | None, rates: RateModel, scale: float
) -> CodedTensor:
    """Quantise a tensor so that distortion + `settings.rate_weight` * step^2 * bits is small.

    Args:
        tensor: what was pruned stays zero.
        settings: `step` is in units of the outputs if there is an importance, otherwise of the weights.
        importance: of the layer, or None: all errors count alike.
        rates: the coder's model of how likely each symbol is not zero.
        scale: factor of the step.
    """
    assert settings.step is not None
    values, free = tensor.coefficients.double().numpy(), tensor.mask.numpy()
    blocks = blocks_of(tensor, importance, settings.damping)
    weights = [block.rows.mean() * block.columns.mean() for block in blocks]
    sensitivity = np.average(weights, weights=[block.rows.size * block.columns.size for block in blocks])
    base = settings.step * scale
    step = short_number(base / np.sqrt(sensitivity)) if sensitivity > 0 else short_number(base)
    price = settings.rate_weight * base**2 if sensitivity > 0 else 0.0
    symbols = round_to_step(values, step, max(settings.dead_zone, 1.3)).astype(np.int64) * free
    for _ in range(_ROUNDS):
        found = rates(tensor.bands, [symbols[band.slice].reshape(band.shape).astype(np.int32) for band in tensor.bands])
        likely = np.concatenate([probability.reshape(-1) for probability in found])
        bits = _Bits(-np.log2(1 - likely), -np.log2(likely), _magnitude_bits(symbols))
        left = values.copy()
        for block in blocks:
            block.scatter(_sweep(block, left, free, step, price, bits), symbols)
    return as_coded(tensor, symbols.astype(np.int32), Steps((step,)))


@dataclass(frozen=True)
class _Bits:
    """Bits of a zero and of a flag that says not zero, by coefficient; of sign and magnitude, by magnitude."""

    zero: Array
    other: Array
    magnitude: Array


def _sweep(
    block: Block, left: Array, free: npt.NDArray[np.bool_], step: float, price: float, bits: _Bits
) -> npt.NDArray[np.int64]:
    """One pass over the columns of a block; returns the symbols, and adds to `left` what later blocks take up."""
    targets, free = block.gather(left), block.gather(free)
    zero, other = block.gather(bits.zero), block.gather(bits.other)
    if block.feedback is None:
        weight = block.rows[:, None] * block.columns
        return _choose(targets, free, weight, step, price, zero, other, bits.magnitude)
    order, factor = block.feedback.order, block.feedback.factor
    carried, count = block.carried, len(order) - block.carried
    targets = np.concatenate([np.zeros((len(targets), carried)), targets], axis=1)[:, order]
    symbols = np.zeros((len(targets), count), np.int64)
    for start in range(0, count, _BLOCK):
        end = min(count, start + _BLOCK)
        errors = np.zeros((len(targets), end - start))
        for place in range(start, end):
            column, diagonal = order[place] - carried, factor[place, place]
            chosen = _choose(
                targets[:, place],
                free[:, column],
                block.rows / diagonal**2,
                step,
                price,
                zero[:, column],
                other[:, column],
                bits.magnitude,
            )
            symbols[:, column] = chosen
            error = (targets[:, place] - chosen * step) / diagonal
            targets[:, place + 1 : end] -= np.outer(error, factor[place, place + 1 : end])
            errors[:, place - start] = error
        targets[:, end:] -= errors @ factor[start:end, end:]
    if block.deeper is not None:
        taken = np.empty((len(targets), carried))
        taken[:, order[count:]] = targets[:, count:]
        shape = (len(targets), *block.bands[0].shape[1:])
        left[: block.deeper.count] += block.deeper.analyse(torch.from_numpy(taken).reshape(shape)).numpy()
    return symbols


def _choose(
    values: Array,
    free: npt.NDArray[np.bool_],
    weight: Array,
    step: float,
    price: float,
    bits_zero: Array,
    bits_other: Array,
    magnitude_bits: Array,
) -> npt.NDArray[np.int64]:
    """The cheapest of zero and the two multiples of the step around each value."""
    size = np.minimum(np.abs(values) / step, _LARGEST_CANDIDATE)
    below = np.floor(size)
    best, cheapest = np.zeros(values.shape), weight * (size * step) ** 2 + price * bits_zero
    for candidate in (below, below + 1):
        bits = bits_other + magnitude_bits[np.minimum(candidate, _TABLE - 1).astype(np.int64)]
        cost = weight * ((size - candidate) * step) ** 2 + price * bits
        better = (cost < cheapest) & (candidate > 0)
        best, cheapest = np.where(better, candidate, best), np.where(better, cost, cheapest)
    return (np.sign(values) * best).astype(np.int64) * free


def _magnitude_bits(symbols: npt.NDArray[np.int64]) -> Array:
    """Bits of sign and magnitude, by magnitude, from how often each occurs."""
    counts = np.bincount(np.minimum(np.abs(symbols[symbols != 0]), _TABLE - 1), minlength=_TABLE).astype(np.float64)
    counts += 0.3 * 0.5 ** np.arange(_TABLE) + 1e-9
    counts[0] = 0
    with np.errstate(divide="ignore"):
        bits: Array = 1 - np.log2(counts / counts.sum())
    bits[0] = 0  # never a candidate, but infinity times a price of zero is NaN
    return bits
