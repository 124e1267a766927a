"""Tables of the range coder's arithmetic, and what its contexts expect before anything is coded: integers only."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wavesweep.codec import kernel

Ints = npt.NDArray[np.int32]

# 65,536 / (1 + exp(-x)) at log-odds x from -12 to 12 in quarters, rounded: part of the format.
_KNOTS = (
    1,
    1,
    1,
    1,
    1,
    1,
    2,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    13,
    17,
    22,
    28,
    36,
    47,
    60,
    77,
    98,
    126,
    162,
    208,
    267,
    342,
    439,
    562,
    720,
    922,
    1179,
    1506,
    1921,
    2446,
    3108,
    3938,
    4971,
    6249,
    7812,
    9702,
    11955,
    14595,
    17625,
    21025,
    24743,
    28693,
    32768,
    36843,
    40793,
    44511,
    47911,
    50941,
    53581,
    55834,
    57724,
    59287,
    60565,
    61598,
    62428,
    63090,
    63615,
    64030,
    64357,
    64614,
    64816,
    64974,
    65097,
    65194,
    65269,
    65328,
    65374,
    65410,
    65438,
    65459,
    65476,
    65489,
    65500,
    65508,
    65514,
    65519,
    65523,
    65526,
    65528,
    65530,
    65531,
    65532,
    65533,
    65534,
    65534,
    65535,
    65535,
    65535,
    65535,
    65535,
    65535,
)
_KNOT_STEP = 64
_LARGEST_COUNT = 1008
# How often the contexts' first chances count as seen.
_ODDS_SEEN, _CLUSTER_SEEN, _REFINED_SEEN, _EXPECTED_SEEN = 4, 4, 6, 3
# First weights of the mixers, in hundredths; inputs are in the order of `kernel.code_band`.
_FLAG_WEIGHTS = (0, 20, 20, 15, 10, 20, 20, 0)
_SIGN_WEIGHTS = (35, 35, 35, 35, 35, 0, 0, 0)
_SIZE_WEIGHTS = (0, 50, 30, 20, 0, 0, 0, 0)


class Arithmetic(NamedTuple):
    """See `kernel.code_band`."""

    squash: Ints
    stretch: Ints
    rates: Ints


class Contexts(NamedTuple):
    """What is learned over a stream; see `kernel.code_band`."""

    chances: Ints
    seen: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.int64]


@lru_cache(maxsize=1)
def arithmetic() -> Arithmetic:
    """The tables, for all to read."""
    knots = np.array([*_KNOTS, _KNOTS[-1]], np.int64)
    number, part = np.divmod(np.arange(2 * kernel.LARGEST_ODDS + 2), _KNOT_STEP)
    squash = (knots[number] * (_KNOT_STEP - part) + knots[number + 1] * part + _KNOT_STEP // 2) // _KNOT_STEP
    # The smallest log-odds whose chance is at least this.
    found = np.searchsorted(squash, np.arange(1 << 16)) - kernel.LARGEST_ODDS - 1
    stretch = np.clip(found, -kernel.LARGEST_ODDS, kernel.LARGEST_ODDS)
    rates = 10 * (1 << 16) // (10 * np.arange(_LARGEST_COUNT) + 16)
    return Arithmetic(squash.astype(np.int32), stretch.astype(np.int32), rates.astype(np.int32))


def first_contexts() -> Contexts:
    """Before anything is coded; the caller's own."""
    first = _first_contexts()
    return Contexts(first.chances.copy(), first.seen.copy(), first.weights.copy())


@lru_cache(maxsize=1)
def _first_contexts() -> Contexts:
    chances = np.full(kernel.CONTEXTS, kernel.HALF, np.int32)
    seen = np.zeros(kernel.CONTEXTS, np.uint8)
    for first, until, each, step, shift, count in (
        (kernel.ODDS, kernel.CLUSTER, 8, 128, 64, _ODDS_SEEN),
        (kernel.CLUSTER, kernel.REFINED, 28, 256, 128, _CLUSTER_SEEN),
    ):
        classes = np.arange(until - first) // each
        chances[first:until] = arithmetic().squash[classes * step + shift] << 6
        seen[first:until] = count
    knots = np.arange(kernel.SIGN_NEAR - kernel.REFINED) % kernel.REFINED_KNOTS
    at = np.minimum(knots * kernel.REFINED_STEP, 2 * kernel.LARGEST_ODDS + 1)
    chances[kernel.REFINED : kernel.SIGN_NEAR] = arithmetic().squash[at] << 6
    seen[kernel.REFINED : kernel.SIGN_NEAR] = _REFINED_SEEN
    for index in range(13):
        for expected in range(16):
            chances[kernel.SIZE_EXPECTED + 16 * index + expected] = _longer(index, expected) << 6
    seen[kernel.SIZE_EXPECTED : kernel.SIZE_NEAR] = _EXPECTED_SEEN
    sets = [_FLAG_WEIGHTS] * kernel.SIGN_WEIGHTS
    sets += [_SIGN_WEIGHTS] * (kernel.SIZE_WEIGHTS - kernel.SIGN_WEIGHTS)
    sets += [_SIZE_WEIGHTS] * (kernel.WEIGHT_SETS - kernel.SIZE_WEIGHTS)
    weights = np.array(sets, np.int64).reshape(-1) * (1 << 16) // 100
    return Contexts(chances, seen, weights)


def _longer(exponent: int, expected: int) -> int:
    """Chance in 65,536ths that a magnitude of at least 2**exponent has a further bit, if magnitudes less one are
    geometric with the mean that a class of expected ones stands for."""
    octave = 2 + expected // 2
    sixteenths = max((5 + 2 * (expected % 2)) * (1 << octave) // 4 - 4, 1)
    share = (1 << 16) * sixteenths // (sixteenths + 16)
    for _ in range(exponent):
        share = share * share >> 16
    return min(max(share, 131), (1 << 16) - 131)
