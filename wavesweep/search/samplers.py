"""Optuna's samplers by name."""

import warnings
from collections.abc import Mapping
from math import prod

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from wavesweep.errors import SettingsError

Distributions = Mapping[str, BaseDistribution]


def make_sampler(name: str, seed: int, space: Distributions) -> BaseSampler:
    """The sampler `name`; parallel trials count for it as bad ones until they are finished (constant liar).

    Raises:
        SettingsError: it needs a finite space, and a key has an interval.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match name:
            case "tpe":
                return TPESampler(multivariate=True, constant_liar=True, seed=seed)
            case "gp":
                return GPSampler(seed=seed)
            case "nsga2":
                return NSGAIISampler(seed=seed)
            case "nsga3":
                return NSGAIIISampler(seed=seed)
            case "qmc":
                return QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)
            case "random":
                return RandomSampler(seed=seed)
            case "grid":
                return GridSampler({key: _values(name, key, one) for key, one in space.items()}, seed=seed)
            case "brute_force":
                for key, one in space.items():
                    _values(name, key, one)
                return BruteForceSampler(seed=seed)
    raise AssertionError(name)


def points_of(space: Distributions) -> int | None:
    """How many points the space has; None where it has an interval of real numbers."""
    counts = [_count(one) for one in space.values()]
    return None if None in counts else prod(count for count in counts if count is not None)


def _count(one: BaseDistribution) -> int | None:
    if isinstance(one, CategoricalDistribution):
        return len(one.choices)
    if isinstance(one, IntDistribution):
        return (one.high - one.low) // one.step + 1
    assert isinstance(one, FloatDistribution)
    return None if one.step is None else round((one.high - one.low) / one.step) + 1


def _values(sampler: str, key: str, one: BaseDistribution) -> list[str | int | float | bool | None]:
    count = _count(one)
    if isinstance(one, CategoricalDistribution):
        return list(one.choices)
    if isinstance(one, IntDistribution):
        return list(range(one.low, one.high + 1, one.step))
    assert isinstance(one, FloatDistribution)
    if count is None or one.step is None:
        raise SettingsError(
            "search.sampler", sampler, f"needs a finite space, {key} is an interval", f"{key}=range(START,STOP,STEP)"
        )
    return [one.low + index * one.step for index in range(count)]
