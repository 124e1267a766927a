"""What a trial of a search is given before its sampler chooses the rest: points to begin with, and no retraining at first.

Retraining takes many times as long as all else, so it waits until the search knows what is good without it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from optuna.distributions import CategoricalDistribution

from wavesweep.settings.schema import SearchSettings
from wavesweep.sweep.search.conditions import Tree, identity
from wavesweep.sweep.search.values import contains, parameter

_RETRAIN, _NONE = "retrain", "none"


@dataclass(frozen=True)
class Stages:
    """The points to begin with, each a part of a point of the space, and how many trials come before retraining."""

    start: tuple[Mapping[str, Any], ...]
    before_retraining: int

    @classmethod
    def of(cls, tree: Tree, options: SearchSettings, wanted: int) -> "Stages":
        """Of a search of `wanted` trials: of each of `search.start` what lies in the space."""
        places = {}
        for point in options.start:
            inside = {
                key: parameter(tree.distributions[key], value)
                for key, value in point.items()
                if key in tree.distributions and contains(tree.distributions[key], value)
            }
            places[identity(inside)] = inside
        one = tree.distributions.get(_RETRAIN)
        waits = isinstance(one, CategoricalDistribution) and _NONE in one.choices and len(one.choices) > 1
        return cls(tuple(places.values()), ceil(options.retrain_from * wanted) if waits else 0)

    def given(self, asked: int, used: Collection[int]) -> tuple[dict[str, Any], int | None]:
        """What the next trial is given, and the number of the point to begin with that it is, if it is one.

        Args:
            asked: how many trials there are.
            used: numbers of the points to begin with that they were.
        """
        retrains = asked >= self.before_retraining
        left = [index for index in range(len(self.start)) if index not in used]
        # Those that retrain come first where they may, and not at all before.
        left = sorted(left, key=lambda index: not self._retrains(index)) if retrains else self._without(left)
        fixed = {} if retrains or not self.before_retraining else {_RETRAIN: _NONE}
        return ({**fixed, **self.start[left[0]]}, left[0]) if left else (fixed, None)

    def _without(self, left: Sequence[int]) -> list[int]:
        return [index for index in left if not self._retrains(index)] if self.before_retraining else list(left)

    def _retrains(self, index: int) -> bool:
        return self.start[index].get(_RETRAIN, _NONE) != _NONE
