"""From Hydra's overrides, such as `level=range(1,5)`, to the space of a search. It imports Optuna."""

from collections.abc import Sequence

from hydra.core.override_parser.types import Override
from optuna.distributions import BaseDistribution, CategoricalDistribution

from wavesweep.cli.hydra_internals import distribution_of
from wavesweep.cli.remedies import SPAN_FORMS
from wavesweep.errors import SettingsError
from wavesweep.settings.schema import VOLATILE
from wavesweep.sweep.search.space import FixedValue, Space


def parse_space(overrides: Sequence[Override], defaults: int = 0) -> Space:
    """Split overrides into what varies and what is fixed; of several for one key the last one counts.

    Args:
        overrides: of the default space, then the user's.
        defaults: how many are of the default space.

    Raises:
        SettingsError: nothing varies, or a list, interval or range cannot be searched.
    """
    distributions: dict[str, BaseDistribution] = {}
    fixed: dict[str, FixedValue] = {}
    for override in overrides:
        name = override.get_key_element()
        key = name.lstrip("+")
        distributions.pop(key, None)
        fixed.pop(key, None)
        if override.is_delete() or not override.is_sweep_override():
            fixed[key] = FixedValue(name, override.get_value_element_as_str(), str(override.input_line))
        else:
            distributions[key] = _distribution(key, override)
    if not distributions:
        raise SettingsError("search", "pareto", "has nothing to vary", "give a key such as level=choice(1,2,3)")
    given = {override.get_key_element().lstrip("+") for override in overrides[defaults:]}
    return Space(distributions, tuple(fixed.values()), frozenset(given & distributions.keys()))


def _distribution(key: str, override: Override) -> BaseDistribution:
    text = str(override.input_line).partition("=")[2]
    if key.partition(".")[0].partition("/")[0] in (*VOLATILE, "hydra"):
        raise SettingsError(key, text, "cannot be searched", "give it one value")
    try:
        found = distribution_of(override)
    except ValueError as error:
        raise SettingsError(key, text, SPAN_FORMS, str(error)) from None
    if isinstance(found, CategoricalDistribution) and len(set(found.choices)) < len(found.choices):
        raise SettingsError(key, text, "has a value twice", "give each once")
    return found
