"""The space of a search as a tree: which keys a point takes, given the values of those that it has.

A point takes a key that has an effect in it and of which no value is refused in it. Nothing here knows a setting: what
has an effect is asked of `settings.effective`, what is refused of `settings.rules`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

from optuna.distributions import BaseDistribution

from wavesweep.errors import SettingsError
from wavesweep.settings.effective import getter, is_worth_varying
from wavesweep.settings.rules import check
from wavesweep.settings.schema import Settings
from wavesweep.sweep.search.values import all_values, ends, is_finite, text

Params = Mapping[str, Any]
Distributions = Mapping[str, BaseDistribution]
# Parameters by their keys' order, to look up what is known of them.
Point = tuple[tuple[str, Any], ...]
_MOST_KEPT = 1024


class Tree:
    """Points whose keys depend on their values.

    Args:
        distributions: of all keys.
        rule: from the parameters of a point so far, in their order, to the key that it takes next, None where it is
            complete; by default every point takes every key.
    """

    def __init__(self, distributions: Distributions, rule: Callable[[Params], str | None] | None = None) -> None:
        self.distributions = distributions
        self._rule = rule or (lambda params: next((key for key in distributions if key not in params), None))
        self._known: dict[tuple[tuple[str, str], ...], str | None] = {}

    @cached_property
    def taken(self) -> dict[str, BaseDistribution]:
        """The keys that some point takes, as far as `probes` show it."""
        every = {key for params in self._spread() for key in params}
        return {key: one for key, one in self.distributions.items() if key in every}

    @cached_property
    def is_finite(self) -> bool:
        """Whether there are only so many points."""
        return all(map(is_finite, self.taken.values()))

    def following(self, params: Params) -> str | None:
        """The key that a point with these parameters takes next; None where it is complete."""
        place = tuple((key, repr(value)) for key, value in params.items())
        if place not in self._known:
            self._known[place] = self._rule(params)
        return self._known[place]

    def walk(self, choose: Callable[[str], Any], given: Params | None = None) -> dict[str, Any]:
        """A point: `choose` gives the value of each key that it takes beyond those `given`, in their order."""
        params = dict(given or {})
        while (key := self.following(params)) is not None:
            params[key] = choose(key)
        return params

    def reduced(self, values: Params) -> dict[str, Any] | None:
        """The point that these values make, without the keys that it does not take; None where one that it takes is
        not among them."""
        try:
            return self.walk(values.__getitem__)
        except KeyError:
            return None

    def leaves(self, params: Params | None = None) -> Iterator[dict[str, Any]]:
        """All points of a finite tree, in the order of their values."""
        params = dict(params or {})
        key = self.following(params)
        if key is None:
            yield params
            return
        for value in all_values(self.distributions[key]):
            yield from self.leaves({**params, key: value})

    def probes(self) -> list[dict[str, Any]]:
        """Points that between them have every choice and both ends of every range, as far as they are taken.

        A key that none of them takes is set before all others: what is refused then is refused everywhere.
        """
        first = {key: ends(one)[0] for key, one in self.distributions.items()}
        never = [(key, end) for key, one in self.distributions.items() if key not in self.taken for end in ends(one)]
        found = [*self._spread(), *(self.walk(first.__getitem__, {key: end}) for key, end in never)]
        return list({identity(params): params for params in found}.values())

    def _spread(self) -> list[dict[str, Any]]:
        """Points in which one key at a time has another value than its first."""
        first = {key: ends(one)[0] for key, one in self.distributions.items()}
        every = [(key, end) for key, one in self.distributions.items() for end in ends(one)]
        return [self.walk({**first, key: end}.__getitem__) for key, end in every]


def conditional(
    distributions: Distributions, settings_of: Callable[[Params], Settings], given: Collection[str] = ()
) -> Tree:
    """The tree of keys that are settings.

    Args:
        distributions: of all keys.
        settings_of: makes settings of parameters, unchecked.
        given: keys that must vary if they can: others stay as they are where a value of theirs would refuse some of
            the values of these.
    """

    # The same few points are asked about again and again; of a long search not all can be kept.
    @lru_cache(maxsize=_MOST_KEPT)
    def settings_at(point: Point) -> Settings:
        return settings_of(dict(point))

    @lru_cache(maxsize=_MOST_KEPT)
    def is_accepted(point: Point) -> bool:
        return _is_accepted(settings_at(point))

    def accepted(params: Params, key: str) -> list[bool]:
        """Whether each value is, as `quantize=rdo` is not beside `retrain=rate`, which has a quantiser of its own."""
        return [is_accepted(_point({**params, key: value})) for value in ends(distributions[key])]

    def rule(params: Params) -> str | None:
        settings = settings_at(_point(params))
        left = [key for key in distributions if key not in params]
        # A key waits for those that decide whether it has an effect; of keys that wait for each other the first goes.
        while left:
            ready = [key for key in left if not _waits(settings, key, left)] or left[:1]
            for key in ready:
                values = ends(distributions[key])
                if not _has_effect(settings, key, values) or False in accepted(params, key):
                    continue
                others = [] if key in given else [one for one in given if one not in params]
                if not any(
                    {*accepted({**params, key: value}, one)} == {True, False} for one in others for value in values
                ):
                    return key
            left = [key for key in left if key not in ready]
        return None

    return Tree(distributions, rule)


def _point(params: Params) -> Point:
    return tuple(sorted(params.items()))


def identity(params: Params) -> tuple[tuple[str, str], ...]:
    """By which points are compared, whatever the order of their keys."""
    return tuple(sorted((key, text(value)) for key, value in params.items()))


def is_part(name: str, key: str) -> bool:
    """Whether the setting `name` is `key`, or belongs to the group that `key` names."""
    return f"{name}.".startswith(f"{key}.")


def _waits(settings: Settings, key: str, left: Iterable[str]) -> bool:
    read: set[str] = set()
    get = getter(settings)

    def noting(name: str) -> Any:
        read.add(name)
        return get(name)

    is_worth_varying(noting, key)
    return any(is_part(name, other) for other in left if other != key for name in read)


def _has_effect(settings: Settings, key: str, values: Iterable[Any]) -> bool:
    """With some of its values: of a few settings it depends on the value itself."""
    get = getter(settings)
    return any(
        is_worth_varying(lambda name, value=value: value if name == key else get(name), key)  # type: ignore[misc]
        for value in values
    )


def _is_accepted(settings: Settings) -> bool:
    try:
        check(settings)
    except SettingsError:
        return False
    return True
