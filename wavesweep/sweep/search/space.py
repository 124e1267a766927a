"""The space of a search: from the points that Optuna suggests to overrides, and from values back to points."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from wavesweep.experiment.inputs import input_digests
from wavesweep.settings.keys import differences, trial_key, without_paths
from wavesweep.settings.quoting import quoted
from wavesweep.settings.rules import check
from wavesweep.settings.schema import VOLATILE, Settings

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
    """What varies, and the overrides that stay the same."""

    distributions: dict[str, BaseDistribution]
    fixed: tuple[FixedValue, ...]

    def lines(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """All overrides of the point with these parameters: those that stay the same, then those that vary."""
        varying = (f"{key}={_written(one, params[key])}" for key, one in self.distributions.items())
        return (*(one.line for one in self.fixed), *varying)

    def probes(self) -> list[dict[str, Any]]:
        """Points that between them have every choice and both ends of every range."""
        first = {key: _ends(one)[0] for key, one in self.distributions.items()}
        return [first, *({**first, key: end} for key, one in self.distributions.items() for end in _ends(one)[1:])]


@dataclass(frozen=True)
class Points:
    """The points of a space, each the settings that its parameters make; `base` is the first of them."""

    space: Space
    base: Settings = field(repr=False)
    _compose: Callable[[Sequence[str]], Settings] = field(repr=False)

    @classmethod
    def checked(cls, space: Space, compose: Callable[[Sequence[str]], Settings]) -> "Points":
        """The points of a space, where `compose` makes settings of overrides.

        Raises:
            SettingsError: a value, or an end of a range, makes no sense.
        """
        probes = [compose(space.lines(params)) for params in space.probes()]
        for settings in probes:
            check(settings)
        return cls(space, probes[0], compose)

    def settings(self, params: dict[str, Any]) -> Settings:
        """The settings of the point with these parameters, not checked."""
        return self._compose(self.space.lines(params))

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


def text_of(one: BaseDistribution) -> str:
    """A distribution as it is written on the command line."""
    if isinstance(one, CategoricalDistribution):
        return f"choice({','.join(map(str, one.choices))})"
    assert isinstance(one, FloatDistribution | IntDistribution)
    if one.log:
        return f"tag(log,interval({one.low},{one.high}))"
    if one.step is None or (isinstance(one, IntDistribution) and one.step == 1):
        return f"interval({one.low},{one.high})"
    return f"range({one.low},{one.high},{one.step}), its end included"


def contains(one: BaseDistribution, value: object) -> bool:
    """Whether a setting's value is one that the distribution can give."""
    if isinstance(one, CategoricalDistribution):
        return any(is_choice(each, value) for each in one.choices)
    assert isinstance(one, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    steps = (value - one.low) / one.step if one.step else 0.0
    return one.low <= value <= one.high and abs(steps - round(steps)) < 1e-8


def is_choice(choice: object, value: object) -> bool:
    """Whether a setting's value is what a choice sets: 80 is 80.0 where the setting is a float."""
    if isinstance(choice, bool) or not isinstance(choice, int | float):
        return str(choice) == str(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and choice == value


def _written(one: BaseDistribution, value: Any) -> str:
    """A value as the command line takes it; 40.3, and not 40.300000000000004, is a step of 0.1 above 40.2."""
    if isinstance(one, FloatDistribution) and one.step is not None:
        value = round(value, 10)
    text = "null" if value is None else str(value)
    # A list comes as text too.
    is_plain = not isinstance(value, str) or text.startswith(("[", "{")) or _PLAIN.fullmatch(text)
    return text if is_plain else quoted(text)


def _ends(one: BaseDistribution) -> list[Any]:
    if isinstance(one, CategoricalDistribution):
        return list(one.choices)
    assert isinstance(one, FloatDistribution | IntDistribution)
    return [one.low, one.high] if one.high != one.low else [one.low]
