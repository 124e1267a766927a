"""Optuna's samplers by name, and one that takes each point of a finite space once."""

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import gcd, prod
from random import Random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from wavesweep.errors import SettingsError
from wavesweep.settings import registry

Distributions = Mapping[str, BaseDistribution]


class EachPointOnce(RandomSampler):
    """Takes the points of a finite space in their order, or in a random one.

    Optuna's own two are not for studies that are interrupted: GridSampler numbers the points in an order that its seed
    shuffles, so that another seed leaves points out, and fails with a KeyError after a trial from the queue.
    """

    def __init__(self, space: Distributions, seed: int, shuffled: bool) -> None:
        super().__init__(seed=seed)
        self._space, self._order = space, seed if shuffled else None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it."""
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point; nothing, so that each key is random, when the study has all of them."""
        return unvisited(self._space, study.get_trials(deepcopy=False), self._order) or {}


def make_sampler(name: str, seed: int, begun: Sequence[int], space: Distributions) -> BaseSampler:
    """The sampler `name`; parallel trials count for it as bad ones until they are finished (constant liar).

    Args:
        name: of a `registry.Sampler`.
        seed: of the search.
        begun: what tells this process's part in the search from others: a sampler that begins again with a seed
            repeats its points.
        space: of the search.

    Raises:
        SettingsError: it needs a finite space, and a key has an interval.
    """
    row = registry.row(registry.Sampler, name)
    for key, one in space.items() if row.is_exhaustive else ():
        if _count(one) is None:
            form = f"{key}=range(START,STOP,STEP)"
            raise SettingsError("search.sampler", name, f"needs a finite space, {key} is an interval", form)
    own = int(np.random.SeedSequence([seed, *begun]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler: BaseSampler = row.load()(seed, own, space)
    return sampler


# Each takes the seed of the search, that of this process's part in it, and the space.
def tpe(_seed: int, own_seed: int, _space: Distributions) -> BaseSampler:
    """Multivariate tree-structured Parzen estimator (Bergstra et al. 2011)."""
    return TPESampler(multivariate=True, constant_liar=True, seed=own_seed)


def gp(_seed: int, own_seed: int, _space: Distributions) -> BaseSampler:
    """Gaussian process."""
    return GPSampler(seed=own_seed)


def nsga2(_seed: int, own_seed: int, _space: Distributions) -> BaseSampler:
    """NSGA-II (Deb et al. 2002)."""
    return NSGAIISampler(seed=own_seed)


def nsga3(_seed: int, own_seed: int, _space: Distributions) -> BaseSampler:
    """NSGA-III (Deb and Jain 2014)."""
    return NSGAIIISampler(seed=own_seed)


def qmc(seed: int, own_seed: int, _space: Distributions) -> BaseSampler:
    """A scrambled Sobol sequence: the study counts the points of one sequence, which the search's seed makes."""
    others = RandomSampler(seed=own_seed)
    return QMCSampler(scramble=True, seed=seed, independent_sampler=others, warn_independent_sampling=False)


def random(_seed: int, own_seed: int, _space: Distributions) -> BaseSampler:
    """Independent random points."""
    return RandomSampler(seed=own_seed)


def grid(seed: int, _own_seed: int, space: Distributions) -> BaseSampler:
    """Each point once, in order."""
    return EachPointOnce(space, seed, shuffled=False)


def brute_force(seed: int, _own_seed: int, space: Distributions) -> BaseSampler:
    """Each point once, in random order."""
    return EachPointOnce(space, seed, shuffled=True)


def points_of(space: Distributions) -> int | None:
    """How many points the space has; None where it has an interval of real numbers."""
    counts = [_count(one) for one in space.values()]
    return None if None in counts else prod(count for count in counts if count is not None)


def visited(space: Distributions, trials: Sequence[FrozenTrial]) -> set[tuple[Any, ...]]:
    """The points that trials have, except those of trials that did not end or are tried again."""
    again = tried_again(trials)
    return {
        tuple(_text(trial.params[key]) for key in space)
        for trial in trials
        if trial.params.keys() >= space.keys() and "crash" not in trial.user_attrs and trial.number not in again
    }


def tried_again(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials whose points are in the queue, or came out of it, once more."""
    return {trial.user_attrs["again"] for trial in trials if "again" in trial.user_attrs}


def unvisited(space: Distributions, trials: Sequence[FrozenTrial], order: int | None) -> dict[str, Any] | None:
    """The first point of a finite space that no trial has, in an order that `order` shuffles; None if there is none."""
    known = visited(space, trials)
    values = [_values(one) for one in space.values()]
    for index in _indices(prod(map(len, values)), order):
        point = []
        for choices in reversed(values):
            index, place = divmod(index, len(choices))
            point.append(choices[place])
        if tuple(map(_text, reversed(point))) not in known:
            return dict(zip(space, reversed(point), strict=True))
    return None


def _indices(count: int, order: int | None) -> Iterator[int]:
    """All of range(count): as they are, or by steps of a number that has no factor in common with it."""
    if order is None:
        yield from range(count)
        return
    random = Random(order)
    start, about = random.randrange(count), random.randrange(count)
    step = next(one for one in itertools.count(about + 1) if gcd(one, count) == 1)
    for index in range(count):
        yield (start + index * step) % count


def _text(value: object) -> str:
    """By which values of one key are compared, after rounding."""
    return repr(round(value, 10)) if isinstance(value, float) else repr(value)


def _count(one: BaseDistribution) -> int | None:
    if isinstance(one, CategoricalDistribution):
        return len(one.choices)
    if isinstance(one, IntDistribution):
        return (one.high - one.low) // one.step + 1
    assert isinstance(one, FloatDistribution)
    if one.low == one.high:
        return 1
    return None if one.step is None else round((one.high - one.low) / one.step) + 1


def _values(one: BaseDistribution) -> list[Any]:
    """All values of a finite distribution, as Optuna computes them."""
    if isinstance(one, CategoricalDistribution):
        return list(one.choices)
    if isinstance(one, IntDistribution):
        return list(range(one.low, one.high + 1, one.step))
    assert isinstance(one, FloatDistribution)
    count = _count(one)
    assert count is not None
    return [min(one.low + index * (one.step or 0.0), one.high) for index in range(count)]
