"""What a trial of a search is given before its sampler chooses the rest.

First come points to begin with. What takes long, such as retraining, waits until the search knows what is good without
it. And every second trial is close to the best one so far.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from wavesweep.settings.schema import ConstraintSettings, SearchSettings
from wavesweep.sweep.search.conditions import Params, Tree, identity
from wavesweep.sweep.search.limits import best_trials, is_within
from wavesweep.sweep.search.refine import refined
from wavesweep.sweep.search.values import contains, is_choice, parameter


@dataclass(frozen=True)
class Given:
    """Values that a trial is given, and what is noted of it."""

    params: dict[str, Any]
    notes: dict[str, int]


def nothing_given(_trials: Sequence[FrozenTrial], _asked: int) -> Given:
    """Leave all to the sampler."""
    return Given({}, {})


@dataclass(frozen=True)
class Stages:
    """The order of a search.

    Attributes:
        tree: the space.
        start: points to begin with, each a part of a point of the space.
        first: values that all trials of the first stage have.
        length: of the first stage, in trials.
        refines: every second trial is close to the best one.
        limits: that the best trial is within.
        seed: of the search.
    """

    tree: Tree
    start: tuple[Params, ...]
    first: Params
    length: int
    refines: bool
    limits: ConstraintSettings
    seed: int

    @classmethod
    def of(cls, tree: Tree, options: SearchSettings, wanted: int) -> "Stages":
        """Of a search of `wanted` trials: of what its settings name, whatever lies in the space."""
        start = [_inside(tree, point) for point in options.start]
        first = {
            key: value
            for key, value in _inside(tree, options.first_stage.values).items()
            if isinstance(one := tree.distributions[key], CategoricalDistribution) and len(one.choices) > 1
        }
        length = ceil(options.first_stage.share * wanted) if first else 0
        every = {identity(point): point for point in start}
        return cls(tree, tuple(every.values()), first, length, options.refine, options.constraints, options.seed)

    def given(self, trials: Sequence[FrozenTrial], asked: int) -> Given:
        """What the next trial is given, after these trials, of which `asked` count."""
        first = self.first if asked < self.length else {}
        used = {trial.user_attrs["start"] for trial in trials if "start" in trial.user_attrs}
        if (start := self._start(used, first)) is not None:
            return Given({**first, **self.start[start]}, {"start": start})
        complete = [
            trial
            for trial in trials
            if trial.state == TrialState.COMPLETE and all(trial.params.get(key) == first[key] for key in first)
        ]
        best = best_trials(complete, self.limits)[-1].trial if self.refines and asked % 2 else None
        if best is not None:
            pick = Random(f"{self.seed} {len(trials)}").choice
            near = refined(best, complete, self.tree, lambda trial: is_within(trial, self.limits), first, pick)
            if near is not None:
                return Given(near, {"refines": best.number})
        return Given(dict(first), {})

    def _start(self, used: Collection[int], first: Params) -> int | None:
        """The number of the next point to begin with: in the first stage one of that, later first what it had not."""
        left = [index for index in range(len(self.start)) if index not in used]
        if first:
            return next((index for index in left if self._is_of_first(index)), None)
        return min(left, key=self._is_of_first, default=None)

    def _is_of_first(self, index: int) -> bool:
        point = self.start[index]
        return all(key not in point or is_choice(value, point[key]) for key, value in self.first.items())


def _inside(tree: Tree, point: Mapping[str, Any]) -> dict[str, Any]:
    """Of values of keys, those that lie in the space."""
    return {
        key: parameter(tree.distributions[key], value)
        for key, value in point.items()
        if key in tree.distributions and contains(tree.distributions[key], value)
    }
