"""What Hydra, OmegaConf and the parser of flags refuse, as plain values: all that depends on the prose of their errors.

A new release candidate may change any of it and then breaks this module alone; tests/cli/test_hydra_errors.py and
tests/cli/test_hydra_internals.py state what is relied on.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)


class Problem(Enum):
    """What Hydra refuses."""

    UNKNOWN_OPTION = auto()  # `key` is the group, `value` the option that it has not, `options` those that it has
    UNKNOWN_KEY = auto()  # `key` is what was given, `inner` the key that OmegaConf does not know, if it says so
    BAD_VALUE = auto()  # `key` cannot be `value`; `text` is OmegaConf's reason
    SEVERAL_VALUES = auto()  # `value` is an argument that needs a sweep
    SYNTAX = auto()  # `value` is an argument that is no override
    BAD_CALL = auto()  # `value` is the argument, which calls a function wrongly; `text` says how
    REFERENCE = auto()  # `key` refers to what is not there; `text` says to what, `inner` is a variable's name
    DELETION = auto()  # `value` is an argument that deletes what is needed
    NO_NAME = auto()  # a group's option is no name; Hydra says neither which group nor which option
    NO_PLACE = auto()  # `key` is the flag or key that names a place of files, `value` the place, which is not there
    CHANGED_SWEEPER = auto()  # points of a sweep choose different sweepers
    EXCLUSIVE_FLAGS = auto()  # `text` names flags of which only one may be given
    OTHER = auto()  # `text` is all that is known; `key` what it is about, if that is


@dataclass(frozen=True)
class HydraProblem:
    """An error of Hydra or OmegaConf as plain values; which of them are filled depends on its kind."""

    kind: Problem
    key: str = ""
    value: str = ""
    options: tuple[str, ...] = ()
    inner: str = ""
    text: str = ""


_SYNTAX = r"no viable alternative|mismatched input|token recognition|extraneous input|missing EQUAL|Lexer"
_CALL = re.compile(r"Error parsing override '(.*?)'\s+(?:\w+ while evaluating '.*?'): (.*)", re.DOTALL)
# Places that are not there, and what names them.
_PLACES = (
    ("--config-dir", r"Additional config directory '(.*)' not found"),
    ("--config-path", r"Primary config directory not found\.\s+Check that the config directory '(.*?)'"),
    ("--config-path", r"Primary config module '(.*?)' not found"),
    ("--config-name", r"Cannot find primary config '(.*?)'"),
    ("hydra.searchpath", r"provider=hydra\.searchpath.*, path=(.*) is not available"),
)
# What functions of Hydra's grammar of overrides, such as interval(1,2), are told, in plain words.
_OF_CALLS = (
    (r"mismatch type argument args\[\d+\]: NoneType is incompatible.*", "null cannot be given to a function"),
    (r"mismatch type argument (\w+): \w+ is incompatible with \S*Union\[int, float\].*", r"\1 must be a number"),
    (r"mismatch type argument (\S+): (\w+) is incompatible with .*", r"\1 cannot be a \2 there"),
    (r"missing a required argument: '(\w+)'.*", r"\1 is missing"),
    (r"Unknown function '(\w+)'.*", r"there is no function \1"),
)

_OF_REFERENCES = (
    (r"Environment variable '(.*?)' not found", r"environment variable \1 not found"),
    (r"Interpolation key '(.*?)' not found", r"key \1 not found"),
    (r"Unsupported interpolation type (\S+)", r"resolver \1 not found"),
    (r"Recursive interpolation detected", r"it refers to itself"),
)


def one_line(error: object) -> str:
    """The text of an error, without line breaks."""
    return " ".join(str(error).split())


def problem_of(error: BaseException) -> HydraProblem:
    """What an error that Hydra raised is about."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.options is not None and "Could not find" in text:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return HydraProblem(Problem.UNKNOWN_OPTION, group, option, tuple(error.options))
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if found := re.search(r"Error merging override (.+)", text):
        return value_problem(found[1], cause)
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(found[1], cause)
    if found := re.search(r"Could not delete from config\. '([^']+)' does not exist", text):
        return HydraProblem(Problem.UNKNOWN_KEY, found[1])
    if found := re.search(r"Ambiguous value for argument '([^']+)'|Sweep parameters '(.+)' requires --multirun", text):
        return HydraProblem(Problem.SEVERAL_VALUES, value=found[1] or found[2])
    if re.search(_SYNTAX, text):
        argument = error.override if isinstance(error, OverrideParseException) else ""
        return HydraProblem(Problem.SYNTAX, value=argument)
    if found := _CALL.search(text):
        return HydraProblem(Problem.BAD_CALL, found[1].partition("=")[0], found[1], text=_of_call(found[2]))
    if "Config group override must be" in text:
        return HydraProblem(Problem.NO_NAME)
    if "'hydra/sweeper' must be selected before the sweep starts" in text:
        return HydraProblem(Problem.CHANGED_SWEEPER)
    if text.startswith(("Only one of --run", "The --resolve flag")):
        return HydraProblem(Problem.EXCLUSIVE_FLAGS, text=text)
    for key, pattern in _PLACES:
        if found := re.search(pattern, text):
            return HydraProblem(Problem.NO_PLACE, key, found[1])
    if isinstance(error, OmegaConfBaseException):
        return _of_omegaconf(error)
    return HydraProblem(Problem.OTHER, text=one_line(re.sub(r"See https?://\S+.*", "", text)))


def value_problem(override: str, cause: BaseException | None) -> HydraProblem:
    """Why OmegaConf does not take the value of an override, given as `key=value`."""
    if override.startswith("~"):
        return HydraProblem(Problem.DELETION, value=override)
    key, _, value = override.partition("=")
    key = key.lstrip("+")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(key, cause)
    return HydraProblem(Problem.BAD_VALUE, key, value, text=one_line(cause))


def _unknown_key(key: str, cause: BaseException | None) -> HydraProblem:
    return HydraProblem(Problem.UNKNOWN_KEY, key, inner=str(getattr(cause, "full_key", None) or ""))


def _of_call(reason: str) -> str:
    reason = one_line(reason.partition("See https://")[0])
    for pattern, plain in _OF_CALLS:
        if re.match(pattern, reason):
            return re.sub(pattern, plain, reason)
    return reason


def _of_omegaconf(error: OmegaConfBaseException) -> HydraProblem:
    """What is wrong with a value in a composed configuration."""
    text, _, rest = str(error).partition("\n")
    place = re.search(r"full_key: (\S+)", rest)  # an error that passed through others has it in its text only
    key = str(error.full_key or (place[1] if place else ""))
    if isinstance(error, InterpolationResolutionError):
        for pattern, plain in _OF_REFERENCES:
            if found := re.search(pattern, text):
                variable = found[1] if "environment" in plain else ""
                return HydraProblem(Problem.REFERENCE, key, inner=variable, text=found.expand(plain))
        return HydraProblem(Problem.REFERENCE, key, text=text)
    if isinstance(error, MissingMandatoryValue):
        return HydraProblem(Problem.BAD_VALUE, key, "???", text="has no value")
    return HydraProblem(Problem.OTHER, key, text=one_line(text))
