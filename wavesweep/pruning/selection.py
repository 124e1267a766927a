"""Exact selection: counts and masks.

A threshold rule decides how many coefficients are kept; the score decides which. Counts are exact: ties at the
edge are broken by index, so that masks are nested when the count grows.
"""

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor


def kept_count(count: int, percentile: float) -> int:
    """How many of `count` are left when `percentile` % of them are pruned; a half is pruned."""
    # Exact arithmetic: 99.9 % of 1,000 is 999, whatever the float 99.9 is in binary.
    return count - math.floor(Fraction(repr(percentile)) * count / 100 + Fraction(1, 2))


def keep_top(scores: Tensor, kept: int) -> Tensor:
    """Mask of exactly `kept` highest scores; of equal scores the one with the lower index is kept."""
    count = scores.numel()
    if not 0 <= kept <= count:
        raise ValueError(f"cannot keep {kept} of {count} coefficients")
    if kept in (0, count):
        return torch.full((count,), kept > 0)
    values = scores.numpy()
    edge = np.partition(values, count - kept)[count - kept]
    mask = values > edge
    ties = np.flatnonzero(values == edge)
    mask[ties[: kept - int(mask.sum())]] = True
    return torch.from_numpy(mask)


def keep_top_units(scores: Tensor, sizes: Tensor, kept: int) -> Tensor:
    """Mask over whole units: the best of them while their weights do not exceed `kept` in total."""
    order = torch.argsort(scores, descending=True, stable=True)
    fits = sizes[order].cumsum(0) <= kept
    mask = torch.zeros(len(scores), dtype=torch.bool)
    mask[order[fits]] = True
    return mask


def soften(coefficients: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Soft thresholding (Donoho 1995): every coefficient moves towards zero by the threshold, at most to it.

    `scores` may be weighted magnitudes; a coefficient moves in proportion to its weight.
    """
    share = 1 - threshold / scores.clamp_min(torch.finfo(scores.dtype).tiny)
    return coefficients * share.clamp_(min=0.0)
