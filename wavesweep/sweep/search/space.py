"""The space of a search: from the points that Optuna suggests to overrides, and from values back to points."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from wavesweep.experiment.inputs import input_digests
from wavesweep.settings.effective import getter, needs
from wavesweep.settings.keys import differences, trial_key, without_paths
from wavesweep.settings.quoting import quoted
from wavesweep.settings.rules import check
from wavesweep.settings.schema import VOLATILE, Settings
from wavesweep.sweep.search.conditions import Tree, conditional

# Texts that Hydra's grammar of overrides reads as just that without quotes.
_PLAIN = re.compile(r"(?!(?:null|true|false|inf|nan)$)[a-z][a-z0-9_.-]*", re.IGNORECASE)


@dataclass(frozen=True)
class FixedValue:
    """A key that does not vary: with its plus signs if it has any, its value as text, and the override as given."""

    key: str
    value: str
    line: str


@dataclass(frozen=True)
class Space:
    """What varies, the overrides that stay the same, and which of the keys that vary the user has given."""

    distributions: dict[str, BaseDistribution]
    fixed: tuple[FixedValue, ...]
    given: frozenset[str] = frozenset()

    def lines(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """All overrides of the point with these parameters: those that stay the same, then those that vary."""
        varying = (f"{key}={_written(one, params[key])}" for key, one in self.distributions.items() if key in params)
        return (*(one.line for one in self.fixed), *varying)


@dataclass(frozen=True)
class Points:
    """The points of a space, each the settings that its parameters make; `base` is the first of them.

    A point has the keys that have an effect in it, so its parameters need not be all of the space's. The `probes` have
    every choice, and both ends of every range, between them.
    """

    space: Space
    base: Settings = field(repr=False)
    tree: Tree = field(repr=False)
    probes: tuple[dict[str, Any], ...] = field(repr=False)
    _compose: Callable[[Sequence[str]], Settings] = field(repr=False)

    @classmethod
    def checked(cls, space: Space, compose: Callable[[Sequence[str]], Settings]) -> "Points":
        """The points of a space, where `compose` makes settings of overrides.

        Raises:
            SettingsError: a value, or an end of a range, makes no sense.
        """
        tree = conditional(space.distributions, lambda params: compose(space.lines(params)), space.given)
        found = tree.probes()
        composed = [compose(space.lines(params)) for params in found]
        for settings in composed:
            check(settings)
        return cls(space, composed[0], tree, tuple(found), compose)

    def settings(self, params: Mapping[str, Any]) -> Settings:
        """The settings of the point with these parameters, not checked."""
        return self._compose(self.space.lines(params))

    def notes(self) -> list[str]:
        """A line for each key that the user has given and that no point takes."""
        get = getter(self.base)
        return [
            f"{key}: does not vary; it needs {needs(get, key) or 'a method that transforms'}"
            for key in self.space.distributions
            if key in self.space.given and key not in self.tree.taken
        ]

    def key(self, settings: Settings) -> str:
        """The key of a point's record; the files that it names may differ from those of another point.

        Raises:
            SettingsError: one of them cannot be had.
        """
        return trial_key(settings, input_digests(settings))

    def fixed_settings(self) -> dict[str, str]:
        """All settings that the space leaves alone and that are not the defaults, by key; files by their content."""
        content = without_paths({key: one for key, one in differences(self.base).items() if key not in VOLATILE})
        flat = {f"digest of {name}": digest for name, digest in input_digests(self.base).items()}
        for key, value in content.items():
            nested = value if isinstance(value, dict) else {}
            flat |= {f"{key}.{name}": str(each) for name, each in nested.items()} or {key: str(value)}
        for name, limit in asdict(self.base.search.constraints).items():
            if limit is not None:
                flat[f"search.constraints.{name}"] = str(limit)
        flat = {key: text for key, text in flat.items() if not self._varies(key)}
        # Of a group that varies no setting is the same in all points, except those that are given.
        given = {one.key: one.value for one in self.space.fixed}
        return flat | {key: text for key, text in given.items() if self._varies(key)}

    def _varies(self, key: str) -> bool:
        return any(f"{key}.".startswith(f"{one}.") for one in self.space.distributions)


def _written(one: BaseDistribution, value: Any) -> str:
    """A value as the command line takes it; 40.3, and not 40.300000000000004, is a step of 0.1 above 40.2."""
    if isinstance(one, FloatDistribution) and one.step is not None:
        value = round(value, 10)
    text = "null" if value is None else str(value)
    # A list comes as text too.
    is_plain = not isinstance(value, str) or text.startswith(("[", "{")) or _PLAIN.fullmatch(text)
    return text if is_plain else quoted(text)
