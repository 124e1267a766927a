"""Rate-distortion optimised quantisation: symbols that minimise distortion of the outputs + weight x bits.

Coefficients are quantised column by column. The columns still to come compensate the error of each, as the second
moment of the layer's inputs prescribes (optimal brain surgeon, Hassibi and Stork 1993; column by column as in GPTQ,
Frantar et al. 2022). The rows still to come do so too, as the second moment of the outputs' derivatives prescribes
(both at once as in YAQA, Tseng et al. 2025). Each symbol's bits under the coder's own model count against it (as in
CERWU, 2025).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from wavesweep.pruning.prune import PrunedTensor
from wavesweep.quantization.importance import LayerImportance
from wavesweep.quantization.quantize import as_coded, round_to_step, short_number
from wavesweep.quantization.second_order import Block, Feedback, blocks_of
from wavesweep.quantization.symbols import CodedTensor, Steps, Symbols
from wavesweep.settings.effective import WEIGHED_DEAD_ZONE
from wavesweep.settings.schema import QuantizeSettings
from wavesweep.transform.basis import Band

Array = npt.NDArray[np.float64]
# Bands and their symbols to the probability that each symbol is not zero: the coder's model, given from outside.
RateModel = Callable[[Sequence[Band], Sequence[Symbols]], list[Array]]
_ROUNDS = 3
_BLOCK = 64
_LARGEST_CANDIDATE = 1 << 20
_TABLE = 256
# Groups of rows that are quantised one after the other, in the last round.
_GROUPS = 16


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
    weights = [block.row_weights.mean() * block.column_weights.mean() for block in blocks]
    sensitivity = np.average(weights, weights=[block.row_weights.size * block.column_weights.size for block in blocks])
    base = settings.step * scale
    if not sensitivity > 0:  # the outputs do not depend on this layer
        return as_coded(tensor, np.zeros(values.shape, np.int32), Steps((short_number(base),)))
    # Not so fine that the largest value has no candidate.
    finest = float(np.abs(values).max(initial=0)) / (_LARGEST_CANDIDATE >> 1)
    step, price = short_number(max(base / np.sqrt(sensitivity), finest)), settings.rate_weight * base**2
    symbols = round_to_step(values, step, max(settings.dead_zone, WEIGHED_DEAD_ZONE)).astype(np.int64) * free
    for number in range(_ROUNDS):
        found = rates(tensor.bands, [symbols[band.slice].reshape(band.shape).astype(np.int32) for band in tensor.bands])
        likely = np.concatenate([probability.reshape(-1) for probability in found])
        cost = _Cost(step, price, -np.log2(1 - likely), -np.log2(likely), _magnitude_bits(symbols))
        left = values.copy()
        # Earlier rounds only tell what is likely to be zero.
        groups = _GROUPS if number + 1 == _ROUNDS else 1
        for block in blocks:
            block.scatter(_sweep(block, left, free, cost, groups), symbols)
    return as_coded(tensor, symbols.astype(np.int32), Steps((step,)))


@dataclass(frozen=True)
class _Cost:
    """Of symbols: their step, the price of a bit; bits of a zero and of a flag that says not zero, by coefficient; of
    sign and magnitude, by magnitude."""

    step: float
    price: float
    zero: Array
    other: Array
    magnitude: Array

    def of(self, select: Callable[[Array], Array]) -> "_Cost":
        """That of the selected coefficients."""
        return replace(self, zero=select(self.zero), other=select(self.other))


def _sweep(block: Block, left: Array, free: npt.NDArray[np.bool_], cost: _Cost, groups: int) -> npt.NDArray[np.int64]:
    """One pass over a block, its rows in so many groups, whose errors later groups compensate; returns the symbols, and
    adds to `left` what later blocks take up."""
    targets, free, cost = block.gather(left), block.gather(free), cost.of(block.gather)
    rows, columns = block.rows, block.columns
    if rows is None or columns is None:
        return _choose(targets, free, block.row_weights[:, None] * block.column_weights, cost)
    order = np.ix_(rows.order[: rows.count] - rows.carried, columns.order[: columns.count] - columns.carried)
    symbols = np.zeros(targets.shape, np.int64)
    symbols[order] = _sweep_in_order(rows, columns, targets[order], free[order], cost.of(itemgetter(order)), groups)
    errors = targets - symbols * cost.step
    if block.later is not None and rows.carried:
        change = np.zeros((rows.carried, targets.shape[1]))
        change[rows.order[rows.count :]] = rows.compensation(0, rows.count).T @ errors[order[0].ravel()]
        block.later.add(change, left)
    if block.later is not None and columns.carried:
        change = np.zeros((len(targets), columns.carried))
        change[:, columns.order[columns.count :]] = errors[:, order[1].ravel()] @ columns.compensation(0, columns.count)
        block.later.add(change, left)
    return symbols


def _sweep_in_order(
    rows: Feedback, columns: Feedback, targets: Array, free: npt.NDArray[np.bool_], cost: _Cost, groups: int
) -> npt.NDArray[np.int64]:
    """The symbols of rows and columns that are in order.

    A column of one group needs the errors of the columns before, and those of the groups before in the same column. So
    each group runs one column behind the one before, and all of them take a column at a time. `by_columns` has a column
    for each such time, not for each column of the block.
    """
    bounds = np.linspace(0, rows.count, min(rows.count, groups) + 1).astype(int).tolist()
    parts = list(pairwise(bounds))
    behind = np.repeat(np.arange(len(parts)), np.diff(bounds))
    weights = np.concatenate([rows.weights(start, end) for start, end in parts])
    passed_on = [rows.compensation(start, end)[:, : rows.count - end].T for start, end in parts]
    count, times = columns.count, columns.count + len(parts) - 1
    factor, diagonal = columns.factor, np.diag(columns.factor)
    symbols = np.zeros(targets.shape, np.int64)
    by_rows, by_columns = np.zeros((count, rows.count)), np.zeros((rows.count, times))
    for start in range(0, times, _BLOCK):
        end = min(times, start + _BLOCK)
        errors = np.zeros((rows.count, end - start))
        for time in range(start, end):
            active = np.arange(max(0, time - count + 1), min(len(parts), time + 1))
            running = slice(bounds[active[0]], bounds[active[-1] + 1])
            position = (np.arange(running.start, running.stop), time - behind[running])
            wanted = targets[position] + by_rows[position[::-1]]
            target, scale = wanted + by_columns[running, time], diagonal[position[1]]
            chosen = _choose(target, free[position], weights[running] / scale**2, cost.of(itemgetter(position)))
            symbols[position] = chosen
            errors[running, time - start] = error = (target - chosen * cost.step) / scale
            # Beyond its last column nothing of a group is read.
            ahead = np.minimum((time - active)[:, None] + np.arange(1, end - time), count - 1)
            changes = factor[(time - active)[:, None], ahead][behind[running] - active[0]]
            by_columns[running, time + 1 : end] -= error[:, None] * changes
            missed = wanted - chosen * cost.step
            for group in active.tolist():
                first, last = parts[group]
                by_rows[time - group, last:] += passed_on[group] @ missed[first - running.start : last - running.start]
        for group, (first, last) in enumerate(parts):
            done, now = (min(count, max(0, time - group)) for time in (start, end))
            errors_then = errors[first:last, done + group - start : now + group - start]
            by_columns[first:last, now + group : count + group] -= errors_then @ factor[done:now, now:count]
    return symbols


def _choose(values: Array, free: npt.NDArray[np.bool_], weight: Array, cost: _Cost) -> npt.NDArray[np.int64]:
    """The cheapest of zero and the two multiples of the step around each value."""
    size = np.minimum(np.abs(values) / cost.step, _LARGEST_CANDIDATE)
    below = np.floor(size)
    best, cheapest = np.zeros(values.shape), weight * (size * cost.step) ** 2 + cost.price * cost.zero
    for candidate in (below, below + 1):
        bits = cost.other + cost.magnitude[np.minimum(candidate, _TABLE - 1).astype(np.int64)]
        total = weight * ((size - candidate) * cost.step) ** 2 + cost.price * bits
        better = (total < cheapest) & (candidate > 0)
        best, cheapest = np.where(better, candidate, best), np.where(better, total, cheapest)
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
