"""Optuna's samplers by name, and one that takes each point of a finite space once."""

import warnings
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
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
from wavesweep.sweep.search.conditions import Tree, identity
from wavesweep.sweep.search.values import all_values, is_finite

# After so many random points that the study has, the next is the first that it has not.
_RANDOM_WALKS = 50


class EachPointOnce(RandomSampler):
    """Takes the points of a finite space in their order, or in a random one.

    Optuna's own two are not for studies that are interrupted: GridSampler numbers the points in an order that its seed
    shuffles, so that another seed leaves points out, and fails with a KeyError after a trial from the queue.
    """

    def __init__(self, tree: Tree, seed: int, shuffled: bool) -> None:
        super().__init__(seed=seed)
        self._tree, self._seed = tree, seed if shuffled else None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All of it."""
        return dict(self._tree.distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point; nothing, so that each key is random, when the study has all of them."""
        return unvisited(self._tree, study.get_trials(deepcopy=False), self._seed) or {}


def make_sampler(name: str, seed: int, begun: Sequence[int], tree: Tree) -> BaseSampler:
    """The sampler `name`; parallel trials count for it as bad ones until they are finished (constant liar).

    Args:
        name: of a `registry.Sampler`.
        seed: of the search.
        begun: what tells this process's part in the search from others: a sampler that begins again with a seed
            repeats its points.
        tree: the space of the search.

    Raises:
        SettingsError: it needs a finite space, and a key has an interval.
    """
    row = registry.row(registry.Sampler, name)
    for key, one in tree.taken.items() if row.is_exhaustive else ():
        if not is_finite(one):
            form = f"{key}=range(START,STOP,STEP)"
            raise SettingsError("search.sampler", name, f"needs a finite space, {key} is an interval", form)
    own = int(np.random.SeedSequence([seed, *begun]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler: BaseSampler = row.load()(seed, own, tree)
    return sampler


# Each takes the seed of the search, that of this process's part in it, and the space.
def tpe(_seed: int, own_seed: int, _tree: Tree) -> BaseSampler:
    """Multivariate tree-structured Parzen estimator (Bergstra et al. 2011); keys that go together make a group."""
    return TPESampler(multivariate=True, group=True, constant_liar=True, seed=own_seed)


def gp(_seed: int, own_seed: int, _tree: Tree) -> BaseSampler:
    """Gaussian process."""
    return GPSampler(seed=own_seed)


def nsga2(_seed: int, own_seed: int, _tree: Tree) -> BaseSampler:
    """NSGA-II (Deb et al. 2002)."""
    return NSGAIISampler(seed=own_seed)


def nsga3(_seed: int, own_seed: int, _tree: Tree) -> BaseSampler:
    """NSGA-III (Deb and Jain 2014)."""
    return NSGAIIISampler(seed=own_seed)


def qmc(seed: int, own_seed: int, _tree: Tree) -> BaseSampler:
    """A scrambled Sobol sequence: the study counts the points of one sequence, which the search's seed makes."""
    others = RandomSampler(seed=own_seed)
    return QMCSampler(scramble=True, seed=seed, independent_sampler=others, warn_independent_sampling=False)


def random(_seed: int, own_seed: int, _tree: Tree) -> BaseSampler:
    """Independent random points."""
    return RandomSampler(seed=own_seed)


def grid(seed: int, _own_seed: int, tree: Tree) -> BaseSampler:
    """Each point once, in order."""
    return EachPointOnce(tree, seed, shuffled=False)


def brute_force(seed: int, _own_seed: int, tree: Tree) -> BaseSampler:
    """Each point once, in random order."""
    return EachPointOnce(tree, seed, shuffled=True)


def visited(trials: Sequence[FrozenTrial]) -> set[tuple[tuple[str, str], ...]]:
    """The points that trials have, by `identity`, except those of trials that did not end or are tried again."""
    again = tried_again(trials)
    return {
        identity(trial.params)
        for trial in trials
        if trial.params and "crash" not in trial.user_attrs and trial.number not in again
    }


def tried_again(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials whose points are in the queue, or came out of it, once more."""
    return {trial.user_attrs["again"] for trial in trials if "again" in trial.user_attrs}


def unvisited(tree: Tree, trials: Sequence[FrozenTrial], seed: int | None) -> dict[str, Any] | None:
    """A point of a finite tree that no trial has: the first one, or for a seed a random one; None if there is none."""
    known = visited(trials)
    random = Random(f"{seed} {len(trials)}")
    for _ in range(0 if seed is None else _RANDOM_WALKS):
        point = tree.walk(lambda key: random.choice(all_values(tree.distributions[key])))
        if identity(point) not in known:
            return point
    return next((point for point in tree.leaves() if identity(point) not in known), None)
