"""What a setting may be: one object per field of the schema, which both checks a value and says what is allowed."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wavesweep.settings import registry


@dataclass(frozen=True)
class Constraint:
    """`allows` says whether a value is allowed; `text` (or what it returns, for names that plugins add) says which are.

    With `nullable` the value may be None as well. `hint` gives a remedy for a wrong value.
    """

    allows: Callable[[Any], bool]
    text: str | Callable[[], str]
    nullable: bool = False
    note: str = ""
    hint: Callable[[Any], str] = lambda value: ""

    @property
    def allowed(self) -> str:
        """The text of the error: `must be ...`."""
        text = self.text if isinstance(self.text, str) else self.text()
        text += ", or null" if self.nullable else ""
        return f"{text} ({self.note})" if self.note else text

    def accepts(self, value: Any) -> bool:
        """Whether `value` is allowed."""
        return self.nullable if value is None else self.allows(value)

    def or_null(self) -> "Constraint":
        """The same, or null."""
        return replace(self, nullable=True)

    def with_note(self, note: str) -> "Constraint":
        """The same, with a note in parentheses behind the text."""
        return replace(self, note=note)


def positive() -> Constraint:
    """A finite number > 0."""
    return Constraint(lambda value: _is_number(value) and value > 0, "must be a number > 0")


def at_least(low: float) -> Constraint:
    """A finite number >= `low`."""
    return Constraint(lambda value: _is_number(value) and value >= low, f"must be a number >= {low:g}")


def between(low: float, high: float) -> Constraint:
    """A finite number from `low` to `high`, both included."""
    return Constraint(
        lambda value: _is_number(value) and low <= value <= high, f"must be a number from {low:g} to {high:g}"
    )


def inside(low: float, high: float, includes_low: bool = False) -> Constraint:
    """A number between two limits, of which only the lower one may be included."""
    text = f"from {low:g} to below {high:g}" if includes_low else f"above {low:g} and below {high:g}"
    return Constraint(
        lambda value: _is_number(value) and (low <= value if includes_low else low < value) and value < high,
        f"must be a number {text}",
    )


def integer_from(low: int, high: int | None = None) -> Constraint:
    """An integer >= `low`, or from `low` to `high`."""
    text = f"must be an integer >= {low}" if high is None else f"must be an integer from {low} to {high}"
    return Constraint(lambda value: _is_integer(value) and low <= value and (high is None or value <= high), text)


def integer_below(low: int, power_of_two: int) -> Constraint:
    """An integer >= `low` and below 2 to that power."""
    return Constraint(
        lambda value: _is_integer(value) and low <= value < 1 << power_of_two,
        f"must be an integer >= {low} and below 2**{power_of_two}",
    )


def flag() -> Constraint:
    """True or false."""
    return Constraint(lambda value: isinstance(value, bool), "must be true or false")


def one_of(names: Sequence[Any]) -> Constraint:
    """One of a few values."""
    if len(names) == 2 and not isinstance(names[0], str):
        return Constraint(lambda value: value in names, f"must be {names[0]} or {names[1]}")
    return Constraint(lambda value: value in names, f"must be one of {', '.join(map(str, names))}")


def row_of(kind: type[registry.Row]) -> Constraint:
    """The name of a row of the registry."""
    return Constraint(
        lambda value: value in registry.rows(kind), lambda: f"must be one of {', '.join(registry.rows(kind))}"
    )


def rows_of(kind: type[registry.Row], text: str, count: int | None = None) -> Constraint:
    """A list of different names of rows, `count` of them if that is given; `{}` in the text becomes all names."""
    return Constraint(
        lambda value: (
            len(set(value)) == len(value) == (len(value) if count is None else count)
            and set(value) <= registry.rows(kind).keys()
        ),
        lambda: text.format(", ".join(registry.rows(kind))),
    )


def level() -> Constraint:
    """A level of decomposition: an integer >= 1, or `max`."""
    return Constraint(
        lambda value: value == "max" or (_is_integer(value) and value >= 1),
        "must be an integer >= 1, or max",
        hint=lambda value: "level 0 transforms nothing: use method=magnitude for that",
    )


def wavelet() -> Constraint:
    """The name of a discrete wavelet of PyWavelets."""
    families = "haar, db1-db38, sym2-sym20, coif1-coif17, bior1.1-bior6.8, rbio1.1-rbio6.8, dmey"
    return Constraint(
        lambda value: value in _wavelets(),
        f"must be a discrete wavelet of PyWavelets ({families})",
        hint=lambda value: similar(str(value), _wavelets()) or "see pywt.wavelist(kind='discrete')",
    )


def boundary() -> Constraint:
    """A boundary mode of PyWavelets."""
    return Constraint(
        lambda value: value in _boundary_modes(), lambda: f"must be one of {', '.join(_boundary_modes())}"
    )


def pattern(expression: str, text: str) -> Constraint:
    """A text that a regular expression matches as a whole."""
    return Constraint(lambda value: re.fullmatch(expression, value) is not None, text)


def arguments() -> Constraint:
    """A mapping that JSON can hold."""
    return Constraint(
        lambda value: isinstance(value, dict) and _is_plain(value),
        "must be a mapping that holds texts, finite numbers, true, false, null, lists and mappings",
    )


def any_of_its_type(text: str) -> Constraint:
    """Any value of the field's type (an empty text is none); what it names is looked at where it is used."""
    return Constraint(lambda value: value != "", text)


def each(constraint: Constraint, text: str) -> Constraint:
    """A list of which each item satisfies `constraint`."""
    return Constraint(lambda value: all(constraint.accepts(item) for item in value), text)


def each_row_of(kind: type[registry.Row], text: str) -> Constraint:
    """A list of names of rows; `{}` in the text becomes all names."""
    every = each(row_of(kind), text)
    return replace(every, text=lambda: text.format(", ".join(registry.rows(kind))))


def channels_or_row_of(kind: type[registry.Row], low: float = -math.inf, low_allowed: bool = True) -> Constraint:
    """The name of a row, or a number for each channel, or one for all: above `low`, or from it on."""

    def allows(value: Any) -> bool:
        if isinstance(value, str):
            return value in registry.rows(kind)
        numbers = isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_number, value))
        return numbers and all(one >= low if low_allowed else one > low for one in value)

    above = "" if low == -math.inf else f" > {low:g}"
    return Constraint(
        allows, lambda: f"must be a list of numbers{above}, one per channel, or one of {', '.join(registry.rows(kind))}"
    )


def similar(name: str, names: Sequence[str]) -> str:
    """`did you mean ...?` with the names that resemble `name`; nothing where none does."""
    import difflib

    close = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else ""


def _boundary_modes() -> Sequence[str]:
    import pywt  # here and below: who only reads records needs no wavelet

    modes: Sequence[str] = pywt.Modes.modes
    return modes


def _wavelets() -> Sequence[str]:
    import pywt

    names: Sequence[str] = pywt.wavelist(kind="discrete")
    return names


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(
            isinstance(name, str | int | float | bool | None) and _is_plain(each) for name, each in value.items()
        )
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | bool | int) or _is_number(value)
