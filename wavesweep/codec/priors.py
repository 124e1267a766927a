"""Priors of bands as the range coder's stream has them: two small integers each, and the choice between them.

A prior is the log-odds of a symbol not being zero, in quarters of a nat from -12 on (6 bits), and the mean of the
magnitudes less one, in half octaves from 1/16 on (5 bits).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from wavesweep.quantization.symbols import Prior, Symbols

ODDS_BITS, MEAN_BITS = 6, 5
_LOWEST_ODDS = 48
# Symbols that the mean counts as, and the most that it is in the sum of so many.
_MEAN_WEIGHT = 16
# From so many symbols that are not zero on, a tensor's own priors cannot save what trying them costs in time.
_MOST_TO_TRY = 1 << 12


@dataclass(frozen=True)
class CodedPrior:
    """A prior as it is stored: integers of `ODDS_BITS` and `MEAN_BITS`."""

    odds: int
    mean: int

    def log_odds(self) -> int:
        """Log-odds that a symbol is not zero, in 256ths of a nat."""
        return 64 * (self.odds - _LOWEST_ODDS)

    def first_mean(self) -> tuple[int, int]:
        """Magnitudes less one as if so large a sum of so many had been seen."""
        return isqrt(1 << self.mean), _MEAN_WEIGHT

    def decoded(self) -> Prior:
        """The prior that it stands for."""
        return Prior(1 / (1 + math.exp(-self.log_odds() / 256)), 2 ** (self.mean / 2) / _MEAN_WEIGHT)


def coded_prior(prior: Prior) -> CodedPrior:
    """The nearest prior that can be stored."""
    share = min(max(prior.significant, 1e-9), 1 - 1e-9)
    odds = round(4 * math.log(share / (1 - share))) + _LOWEST_ODDS
    mean = round(2 * math.log2(max(prior.magnitude, 1e-9) * _MEAN_WEIGHT))
    return CodedPrior(min(max(odds, 0), (1 << ODDS_BITS) - 1), min(max(mean, 0), (1 << MEAN_BITS) - 1))


def own_priors(symbols: Sequence[Symbols]) -> tuple[CodedPrior, ...] | None:
    """Priors that fit a tensor's bands, None where there is too much to code for them to matter."""
    if sum(int(np.count_nonzero(band)) for band in symbols) > _MOST_TO_TRY:
        return None
    return tuple(coded_prior(_measured(band)) for band in symbols)


def _measured(band: Symbols) -> Prior:
    number, total = int(np.count_nonzero(band)), int(np.abs(band.astype(np.int64)).sum())
    return Prior((number + 0.5) / (band.size + 1), (total - number) / max(number, 1))
