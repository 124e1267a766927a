"""Signs and magnitudes of a band's symbols that are not zero, by adaptive tables of tokens.

A symbol's context is the magnitude that its row and its column let expect.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from wavesweep.codec.channel import Channel
from wavesweep.codec.context import Ints, growing, spread
from wavesweep.quantization.symbols import LARGEST, Symbols

# Magnitudes less one below this are tokens of their own; above, a token is an exponent and the bit below the first.
_DIRECT = 8
_TOKENS = _DIRECT + 2 * 28
# Units of expected magnitude: sixteenths.
_UNIT = 16
_CONTEXTS = 18
_FIRST_BATCH = 4
# The mean of magnitudes less one that a band without a prior starts with: a sum and a number of symbols.
FIRST_MEAN = 1, 8
# How many tokens a context's first counts stand for, in 32nds, and the bits of the shares that they are of.
_FIRST_COUNTS, _SHARE_BITS = 1024, 48


def code_values(
    channel: Channel,
    significant: npt.NDArray[np.int8],
    known: Ints | None,
    counts: Ints,
    first_mean: tuple[int, int],
) -> Symbols:
    """The symbols of a band, flat.

    Args:
        channel: encoder or decoder.
        significant: 1 where a symbol is not zero.
        known: the symbols when encoding.
        counts: of tokens, by context; learns.
        first_mean: a sum of magnitudes less one, and their number, that count as seen.
    """
    positions = np.flatnonzero(significant)
    values = np.zeros(significant.size, np.int32)
    if not len(positions):
        return values
    positions = positions[spread(len(positions))]
    truth = None if known is None else known.reshape(-1)[positions]
    negative = channel.bits(1, len(positions), None if truth is None else (truth < 0).astype(np.int64))
    rest = np.zeros(len(positions), np.int32)
    sums = [np.zeros(size, np.int64) for size in significant.shape]
    seen = [np.zeros(size, np.int64) for size in significant.shape]
    total, number = first_mean
    edges = growing(len(positions), _FIRST_BATCH, 2)
    for start, end in pairwise(edges):
        at_row, at_column = np.divmod(positions[start:end], significant.shape[1])
        mean = _UNIT * total // number
        expected = (_UNIT * (sums[0][at_row] + sums[1][at_column]) + 4 * mean) // (
            seen[0][at_row] + seen[1][at_column] + 4
        )
        context = np.minimum(_log2(expected * 2 + 1), len(counts) - 1)
        part = None if truth is None else np.abs(truth[start:end]) - 1
        rest[start:end] = _code_magnitudes(channel, context, part, counts)
        values_here = np.minimum(rest[start:end], 1 << 20)
        for axis, at in enumerate((at_row, at_column)):
            np.add.at(sums[axis], at, values_here)
            np.add.at(seen[axis], at, 1)
        total, number = total + int(values_here.sum()), number + end - start
    values[positions] = np.where(negative > 0, -1 - rest, 1 + rest)
    return values


def _code_magnitudes(channel: Channel, context: Ints, truth: Ints | None, counts: Ints) -> Ints:
    """Magnitudes less one of a batch, given each one's context; `counts` learns."""
    rest = np.zeros(len(context), np.int64)
    for number in np.flatnonzero(np.bincount(context)).tolist():
        members = np.flatnonzero(context == number)
        true = None if truth is None else truth[members]
        tokens = channel.tokens(counts[number], len(members), None if true is None else _token(true))
        counts[number] += 32 * np.bincount(tokens, minlength=_TOKENS)
        found = tokens.copy()
        for token in np.unique(tokens[tokens >= _DIRECT]):
            exponent = 3 + (int(token) - _DIRECT) // 2
            base = (1 << exponent) | (((int(token) - _DIRECT) & 1) << (exponent - 1))
            same = np.flatnonzero(tokens == token)
            low = None if true is None else true[same] - base
            found[same] = base + channel.bits(exponent - 1, len(same), low)
        if int(found.max()) >= LARGEST:
            raise ValueError("a symbol is too large")
        rest[members] = found
    return rest


def _token(rest: Ints) -> Ints:
    exponent = _log2(np.maximum(rest, 1))
    second = (rest >> np.maximum(exponent - 1, 0)) & 1
    return np.where(rest < _DIRECT, rest, _DIRECT + 2 * (exponent - 3) + second)


def _log2(values: Ints) -> Ints:
    """Floor of the binary logarithm of positive integers below 2**52, exact."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def first_counts() -> Ints:
    """Counts of tokens by context before any is coded; the caller's own."""
    return _geometric_counts().copy()


@cache
def _geometric_counts() -> Ints:
    """Prior counts per context: geometric over magnitudes, with the mean that the context stands for."""
    counts = np.ones((_CONTEXTS, _TOKENS), np.int64)
    for context in range(_CONTEXTS):
        # Contexts are octaves of the mean, 3/4 of 2**context sixteenths in their middle. `above[i]` is the share of
        # magnitudes of 2**i and more, 1 for none.
        mean, one = 3 << context, 1 << _SHARE_BITS
        above = [one * mean // (mean + 64)]
        for _ in range(31):
            above.append(above[-1] * above[-1] >> _SHARE_BITS)
        first = [one]
        for _ in range(_DIRECT):
            first.append(first[-1] * above[0] >> _SHARE_BITS)
        edges = first[:-1]
        for exponent in range(3, 3 + (_TOKENS - _DIRECT) // 2):
            edges += [above[exponent], above[exponent] * above[exponent - 1] >> _SHARE_BITS]
        edges.append(above[3 + (_TOKENS - _DIRECT) // 2])
        for token, (here, beyond) in enumerate(pairwise(edges)):
            counts[context, token] += max(0, here - beyond) * _FIRST_COUNTS >> _SHARE_BITS
    return counts
