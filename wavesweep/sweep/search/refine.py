"""Trials close to the best one so far: a number between what is within the limits and what is not, or one other choice.

A sampler spreads its trials over the whole front. Whoever asks for the smallest file at some loss wants the point where
the limit is met, which is halfway between two trials that differ in one number, again and again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import exp, log
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from wavesweep.sweep.search.conditions import Tree, identity
from wavesweep.sweep.search.values import text

# Where nothing lies beyond the best trial's number, the next is so many times as large, or as small.
_STRIDE = 1.6
# Two numbers are not told apart where one is less than so many times the other.
_CLOSE = 1.03


def refined(
    best: FrozenTrial,
    trials: Sequence[FrozenTrial],
    tree: Tree,
    is_within: Callable[[FrozenTrial], bool],
    fixed: Mapping[str, Any],
    pick: Callable[[Sequence[Any]], Any],
) -> dict[str, Any] | None:
    """A part of a point close to that of `best`; None where all are known.

    Args:
        best: the best trial within the limits.
        trials: complete ones.
        tree: the space.
        is_within: whether a trial is within the limits.
        fixed: values that stay as they are.
        pick: one of several.
    """
    known = {identity(trial.params) for trial in trials}
    for key, one in tree.distributions.items():
        if key in best.params and isinstance(one, FloatDistribution) and one.log:
            for value in _numbers(best, trials, key, one, is_within):
                return {**best.params, key: value}
    others = [
        point
        for key, one in tree.distributions.items()
        if key in best.params and key not in fixed
        for value in _neighbours(one, best.params[key])
        if _is_new(point := {**best.params, key: value}, tree, known)
    ]
    return dict(pick(others)) if others else None


def _numbers(
    best: FrozenTrial,
    trials: Sequence[FrozenTrial],
    key: str,
    one: FloatDistribution,
    is_within: Callable[[FrozenTrial], bool],
) -> Iterator[float]:
    """Numbers to try above and below that of the best trial, among trials that differ in nothing else."""

    def rest(trial: FrozenTrial) -> object:
        return identity({name: value for name, value in trial.params.items() if name != key})

    here = best.params[key]
    line = [trial for trial in trials if key in trial.params and rest(trial) == rest(best)]
    for sign, end in ((1, one.high), (-1, one.low)):
        beyond = [trial for trial in line if sign * (trial.params[key] - here) > 0]
        nearest = min(beyond, key=lambda trial: abs(trial.params[key] - here), default=None)
        if nearest is None:
            value = min(here * _STRIDE, end) if sign > 0 else max(here / _STRIDE, end)
        elif is_within(nearest):
            continue  # and no better than the best
        else:
            value = exp((log(here) + log(nearest.params[key])) / 2)
        if max(value, here) > _CLOSE * min(value, here):
            yield float(f"{value:.4g}")


def _neighbours(one: BaseDistribution, value: Any) -> list[Any]:
    if isinstance(one, CategoricalDistribution):
        return [choice for choice in one.choices if text(choice) != text(value)]
    step = getattr(one, "step", None)
    if step is None:
        return []
    return [near for near in (value - step, value + step) if one.low <= near <= one.high]  # type: ignore[attr-defined]


def _is_new(point: Mapping[str, Any], tree: Tree, known: set[Any]) -> bool:
    """Whether no trial has the point; one that lacks a key, which the sampler will choose, is new."""
    reduced = tree.reduced(point)
    return reduced is None or identity(reduced) not in known
