"""Errors for overrides whose form is wrong, each with the form that would be right."""

import re
import shlex
from collections.abc import Sequence

from wavesweep.errors import SettingsError
from wavesweep.settings.keys import PATHS
from wavesweep.settings.quoting import quoted

# How an override spans several values.
SPAN_FORMS = "must be choice(A,B,...), interval(LOW,HIGH) or range(START,STOP,STEP)"
_PATHS = ("paths.outputs", "paths.data", "search.storage", *(f"{group}.{name}" for group, name in PATHS))


def several_values(line: str) -> SettingsError:
    """The error for an override with several values where there is no sweep."""
    key, _, value = line.partition("=")
    if key in _PATHS and "(" not in value:
        text = f"a comma separates values of a sweep; put a path that has one in quotes: {_in_quotes(key, value)}"
        return SettingsError.from_text(f"{line}: {text}", key)
    text = f"{line}: several values need a sweep; add -m: python -m wavesweep -m {line}"
    return SettingsError.from_text(text, key)


def comma_hint(key: str, arguments: Sequence[str]) -> str:
    """For a path that is refused: that its commas separated values, if they did on the command line."""
    given = [line.partition("=")[2] for line in arguments if line.lstrip("+").startswith(f"{key}=")]
    if key not in _PATHS or not given or "," not in given[-1] or given[-1].startswith(("'", '"')):
        return ""
    return f"; a path with a comma goes in quotes: {_in_quotes(key, given[-1])}"


def _in_quotes(key: str, value: str) -> str:
    """The override with its value quoted for Hydra and for a shell."""
    return shlex.quote(f"{key}={quoted(value)}")


def wrong_call(key: str, line: str, reason: str) -> SettingsError:
    """The error for an override whose value calls a function of Hydra's wrongly."""
    value = line.partition("=")[2]
    if "null" in reason and (found := re.fullmatch(r"choice\((.*)\)", value)):
        remedy = f"write the values alone: {key}={found[1]}"
    elif "no function" in reason:
        remedy = f"{SPAN_FORMS}; a text with parentheses in quotes: {_in_quotes(key, value)}"
    else:
        remedy = SPAN_FORMS
    return SettingsError.from_text(f"{line}: {reason}; {remedy}", key)


def no_place(key: str, value: str) -> SettingsError:
    """The error for a directory or a file of the configuration that is not there."""
    text = "is no file of the configuration; give its directory by --config-dir, and its name without .yaml"
    if key != "--config-name":
        text = "is no directory that can be read; mend the path, or leave it out"
    return SettingsError.from_text(f"{key} {value}: {text}", key)
