"""The values of Optuna's distributions: how many, which, and how they are written and compared."""

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial


def suggested(trial: Trial, key: str, one: BaseDistribution) -> Any:
    """The value of `key` that the trial's sampler suggests."""
    if isinstance(one, CategoricalDistribution):
        return trial.suggest_categorical(key, one.choices)
    if isinstance(one, IntDistribution):
        return trial.suggest_int(key, one.low, one.high, step=one.step, log=one.log)
    assert isinstance(one, FloatDistribution)
    return trial.suggest_float(key, one.low, one.high, step=one.step, log=one.log)


def ends(one: BaseDistribution) -> list[Any]:
    """Every choice, or both ends of a range."""
    if isinstance(one, CategoricalDistribution):
        return list(one.choices)
    assert isinstance(one, FloatDistribution | IntDistribution)
    return [one.low, one.high] if one.high != one.low else [one.low]


def is_finite(one: BaseDistribution) -> bool:
    """Whether it has only so many values: not an interval of real numbers."""
    return not isinstance(one, FloatDistribution) or one.step is not None or one.low == one.high


def all_values(one: BaseDistribution) -> list[Any]:
    """All values of a finite distribution, as Optuna computes them; of an interval of real numbers its ends."""
    if isinstance(one, IntDistribution):
        return list(range(one.low, one.high + 1, one.step))
    if not isinstance(one, FloatDistribution) or one.step is None:
        return ends(one)
    count = round((one.high - one.low) / one.step) + 1
    return [min(one.low + index * one.step, one.high) for index in range(count)]


def text(value: object) -> str:
    """By which values of one key are compared, after rounding."""
    return repr(round(value, 10)) if isinstance(value, float) else repr(value)


def text_of(one: BaseDistribution) -> str:
    """A distribution as it is written on the command line."""
    if isinstance(one, CategoricalDistribution):
        return f"choice({','.join('null' if choice is None else str(choice) for choice in one.choices)})"
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


def parameter(one: BaseDistribution, value: object) -> Any:
    """A setting's value that the distribution contains, as a trial has it: the choice that sets it, or the number."""
    choice = next((each for each in getattr(one, "choices", ()) if is_choice(each, value)), value)
    return one.to_external_repr(one.to_internal_repr(choice))
