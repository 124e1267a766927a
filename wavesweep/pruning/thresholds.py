"""Threshold rules: how many scores are kept. Each rule is one function.

A rule takes all scores of the scope, shape (n,); its number, if it has one; and the scores of the finest details.
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from wavesweep.pruning.selection import kept_count

# Median absolute deviation of a unit normal variable; Donoho and Johnstone (1994) divide by it.
_NORMAL_MAD = 0.6744897501960817


@dataclass(frozen=True)
class Cut:
    """How many scores are kept, and the threshold between kept and pruned where the rule defines one."""

    kept: int
    threshold: float | None = None


def percentile(scores: Tensor, number: float | None, finest: Tensor) -> Cut:
    """Prune a share of the scores, `number` %."""
    assert number is not None
    return Cut(kept_count(scores.numel(), number))


def energy(scores: Tensor, number: float | None, finest: Tensor) -> Cut:
    """Keep the fewest scores that hold a share of the sum of all squares, `number` from 0 to 1."""
    assert number is not None
    energies = np.sort(scores.numpy().astype(np.float64) ** 2)[::-1].cumsum()
    enough = number * energies[-1]
    return Cut(0 if enough == 0 else int(np.searchsorted(energies, enough * (1 - 1e-12))) + 1)


def absolute(scores: Tensor, number: float | None, finest: Tensor) -> Cut:
    """Keep the scores of at least `number`."""
    assert number is not None
    return Cut(int((scores >= number).sum()), number)


def universal(scores: Tensor, number: float | None, finest: Tensor) -> Cut:
    """Keep what exceeds the noise, which is estimated from the finest details (Donoho and Johnstone 1994)."""
    count = scores.numel()
    sigma = float(finest.median()) / _NORMAL_MAD
    level = sigma * math.sqrt(2 * math.log(count)) if count > 1 else 0.0
    scores = scores[scores > 0]  # without noise the level is 0, which what is zero does not exceed
    return Cut(int((scores >= level).sum()), level)
