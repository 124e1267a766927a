"""The space of a search: from overrides such as `level=range(1,5)` to Optuna's distributions and back."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from wavesweep.errors import SettingsError
from wavesweep.settings.quoting import quoted
from wavesweep.settings.schema import VOLATILE, allowed_text

_FORMS = "must be choice(A,B,...), interval(LOW,HIGH) or range(START,STOP,STEP)"


@dataclass(frozen=True)
class Space:
    """What varies, and the overrides that stay the same."""

    distributions: dict[str, BaseDistribution]
    fixed: tuple[Override, ...]

    def overrides(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The lines that set a point of the space."""
        return tuple(f"{key}={_written(one, params[key])}" for key, one in self.distributions.items())

    def probes(self) -> list[dict[str, Any]]:
        """Points that between them have every choice and both ends of every range."""
        first = {key: _ends(one)[0] for key, one in self.distributions.items()}
        return [first, *({**first, key: end} for key, one in self.distributions.items() for end in _ends(one)[1:])]


def parse_space(overrides: Sequence[Override]) -> Space:
    """Split overrides into what varies and what is fixed; of several for one key the last one counts.

    Raises:
        SettingsError: nothing varies, or a list, interval or range cannot be searched.
    """
    distributions: dict[str, BaseDistribution] = {}
    fixed: dict[str, Override] = {}
    for override in overrides:
        key = override.get_key_element().lstrip("+")
        distributions.pop(key, None)
        fixed.pop(key, None)
        if override.is_delete() or not override.is_sweep_override():
            fixed[key] = override
        else:
            distributions[key] = _distribution(key, override)
    if not distributions:
        raise SettingsError("search", "pareto", "has nothing to vary", "give a key such as level=choice(1,2,3)")
    return Space(distributions, tuple(fixed.values()))


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
    try:
        return one._contains(one.to_internal_repr(value))
    except (TypeError, ValueError):
        return False


def is_choice(choice: object, value: object) -> bool:
    """Whether a setting's value is what a choice sets: 80 is 80.0 where the setting is a float."""
    if isinstance(choice, bool) or not isinstance(choice, int | float):
        return str(choice) == str(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and choice == value


def _distribution(key: str, override: Override) -> BaseDistribution:
    text = str(override.input_line).partition("=")[2]
    if key.partition(".")[0].partition("/")[0] in (*VOLATILE, "hydra"):
        raise SettingsError(key, text, "cannot be searched", "give it one value")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # e.g. a step that does not divide the range
            found = create_optuna_distribution_from_override(override)
    except (ValueError, NotImplementedError, AssertionError, UserWarning) as error:
        raise SettingsError(key, text, _FORMS, " ".join(str(error).split())) from None
    if not isinstance(found, BaseDistribution):
        raise SettingsError(key, text, _FORMS, allowed_text(key) or "")
    if isinstance(found, CategoricalDistribution) and len(set(found.choices)) < len(found.choices):
        raise SettingsError(key, text, "has a value twice", "give each once")
    return found


def _written(one: BaseDistribution, value: Any) -> str:
    """A value as the command line takes it; 40.3, and not 40.300000000000004, is a step of 0.1 above 40.2."""
    if isinstance(one, FloatDistribution) and one.step is not None:
        value = round(value, 10)
    text = "null" if value is None else str(value)
    # A list comes as text too.
    return _as_text(text) if isinstance(value, str) and not text.startswith(("[", "{")) else text


@lru_cache
def _as_text(text: str) -> str:
    """A string so that Hydra reads just that: in quotes where it would be a number, a sweep or an error without."""
    try:
        if OverridesParser.create().parse_override(f"key={text}").value() == text:
            return text
    except HydraException:
        pass
    return quoted(text)


def _ends(one: BaseDistribution) -> list[Any]:
    if isinstance(one, CategoricalDistribution):
        return list(one.choices)
    assert isinstance(one, FloatDistribution | IntDistribution)
    return [one.low, one.high] if one.high != one.low else [one.low]
