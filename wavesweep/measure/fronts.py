"""Non-dominated points, hypervolume and knee of a front: arrays in, arrays out.

A point dominates another if it is at least as good in every objective and better in one. So equal points do not
dominate each other: all copies of a point on the front are on it. A point with a NaN is neither on the front nor
dominates any other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[Any]  # n points x k objectives


def non_dominated(points: Points, maximize: Sequence[bool]) -> NDArray[np.bool_]:
    """Which points no other point dominates.

    Args:
        points: n x k, one row per point; infinite values are compared as such.
        maximize: per objective, whether more is better.

    Returns:
        n truth values, in the order of `points`.
    """
    costs = _costs(points, maximize)
    mask = np.zeros(len(costs), dtype=bool)
    valid = np.flatnonzero(~np.isnan(costs).any(axis=1))
    if not len(valid):
        return mask
    distinct, group = np.unique(costs[valid], axis=0, return_inverse=True)  # sorted by the first objective, then on
    if distinct.shape[1] == 2:
        # In this order a point is dominated exactly if an earlier one is at least as good in the second objective.
        best_before = np.minimum.accumulate(distinct[:, 1])
        front = np.ones(len(distinct), dtype=bool)
        front[1:] = distinct[1:, 1] < best_before[:-1]
    else:
        front = _front_of_distinct(distinct)
    mask[valid] = front[group.reshape(-1)]
    return mask


def hypervolume(points: Points, maximize: Sequence[bool], reference: Sequence[float]) -> float:
    """Area that the points dominate, bounded by a reference point; two objectives.

    Args:
        points: n x 2; a point that is not better than the reference in both objectives adds nothing.
        maximize: per objective, whether more is better.
        reference: the worst value of interest per objective; a finite number.

    Raises:
        ValueError: there are not two objectives, or the reference is not finite.
    """
    costs = _costs(points, maximize, objectives=2)
    corner = _costs(np.asarray([reference], dtype=float), maximize, objectives=2)[0]
    if not np.isfinite(corner).all():
        raise ValueError(f"the reference point must be finite, not {tuple(reference)}")
    front = costs[non_dominated(costs, (False, False)) & (costs < corner).all(axis=1)]
    if not len(front):
        return 0.0
    front = np.unique(front, axis=0)  # by the first objective ascending, so the second descends
    upper = np.append(corner[1], front[:-1, 1])
    return float(np.sum((corner[0] - front[:, 0]) * (upper - front[:, 1])))


def knee(points: Points, maximize: Sequence[bool]) -> int:
    """Index of the knee of the front of `points`; two objectives.

    The knee is the point of the front that lies farthest from the line through the front's two extreme points, on
    the side of better values, both objectives scaled to 0-1 over the front (I. Das, "On characterizing the 'knee'
    of the Pareto curve based on normal-boundary intersection", Structural Optimization 18, 1999). Where none lies on
    that side, or several are equally far, it is the one of them that is best in the first objective; of copies, the
    first.

    Raises:
        ValueError: there are not two objectives, or no point without NaN or infinity.
    """
    costs = _costs(points, maximize, objectives=2)
    costs = np.where(np.isfinite(costs), costs, np.nan)
    on_front = np.flatnonzero(non_dominated(costs, (False, False)))
    if not len(on_front):
        raise ValueError("a knee needs at least one point of finite numbers")
    front = costs[on_front]
    spread = np.ptp(front, axis=0)
    scaled = (front - front.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    # The extremes are (0, 1) and (1, 0): the distance from their line grows as the sum of both costs falls.
    gain = np.round(1.0 - scaled.sum(axis=1), 12)  # so that rounding does not decide between equal distances
    gain = np.maximum(gain, 0.0)
    candidates = np.flatnonzero(gain == gain.max())
    return int(on_front[candidates[np.argmin(front[candidates, 0])]])


def _front_of_distinct(sorted_costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The front of distinct rows in lexicographic order, in which a row is never dominated by a later one."""
    front = np.zeros(len(sorted_costs), dtype=bool)
    left = np.arange(len(sorted_costs))
    while len(left):
        first = left[0]
        front[first] = True
        left = left[(sorted_costs[left] < sorted_costs[first]).any(axis=1)]
    return front


def _costs(points: Points, maximize: Sequence[bool], objectives: int | None = None) -> NDArray[np.float64]:
    """The points as floats of which less is better in every objective."""
    array = np.asarray(points, dtype=np.float64)
    wanted = len(maximize) if objectives is None else objectives
    if array.ndim != 2 or array.shape[1] != wanted or len(maximize) != wanted or not wanted:
        raise ValueError(
            f"expected n points x {wanted} objectives, got shape {array.shape} and {len(maximize)} directions"
        )
    return array * np.where(list(maximize), -1.0, 1.0) + 0.0  # -0.0 and 0.0 are one value
