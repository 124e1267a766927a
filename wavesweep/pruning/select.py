"""Scores, counts and masks: which coefficients are kept.

A threshold rule decides how many coefficients are kept; the score decides which. Counts are exact: ties at the
edge are broken by index, so that masks are nested when the count grows.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from wavesweep.settings.schema import ThresholdSettings
from wavesweep.transform.basis import Band, derived_seed

# Median absolute deviation of a unit normal variable; Donoho and Johnstone (1994) divide by it.
_NORMAL_MAD = 0.6744897501960817


@dataclass(frozen=True)
class Cut:
    """How many scores are kept, and the threshold between kept and pruned where the rule defines one."""

    kept: int
    threshold: float | None = None


def magnitude_scores(coefficients: Tensor, bands: tuple[Band, ...], atom_norm: bool) -> Tensor:
    """|coefficient|, times the norm of its synthesis atom if `atom_norm` (as JPEG 2000 ranks them)."""
    scores = coefficients.abs()
    if atom_norm:
        for band in bands:
            scores[band.slice] *= band.atom_norm
    return scores


def random_scores(count: int, seed: int, name: str) -> Tensor:
    """Uniform scores that follow from the seed and the tensor's name alone, so masks are nested."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "random", name))
    return torch.rand(count, generator=generator)


def unit_scores(weight: Tensor, axis: int = 0) -> Tensor:
    """L2 norm of each output unit (row of a linear layer, filter of a convolution): shape (out,).

    `axis` is the one that counts the units: 0, and 1 for a transposed convolution.
    """
    norms: Tensor = torch.linalg.vector_norm(weight.movedim(axis, 0).flatten(1), dim=1)
    return norms


def cut(scores: Tensor, threshold: ThresholdSettings, percentile: float, finest: Tensor) -> Cut:
    """How many of `scores` the threshold rule keeps.

    Args:
        scores: all scores of the scope, shape (n,).
        threshold: the rule and its numbers.
        percentile: share to prune in %, for the rule `percentile`.
        finest: scores of the finest details, from which `universal` estimates the noise.
    """
    count = scores.numel()
    if threshold.rule == "percentile":
        return Cut(kept_count(count, percentile))
    if threshold.rule == "energy":
        energies = np.sort(scores.numpy().astype(np.float64) ** 2)[::-1].cumsum()
        enough = threshold.energy * energies[-1]
        return Cut(0 if enough == 0 else int(np.searchsorted(energies, enough * (1 - 1e-12))) + 1)
    level = threshold.value
    if threshold.rule == "universal":
        sigma = float(finest.median()) / _NORMAL_MAD
        level = sigma * math.sqrt(2 * math.log(count)) if count > 1 else 0.0
        scores = scores[scores > 0]  # without noise the level is 0, which what is zero does not exceed
    return Cut(int((scores >= level).sum()), level)


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
