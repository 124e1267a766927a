"""From the settings of a record to the command that runs its trial again."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache, lru_cache
from typing import Any

import yaml

from wavesweep.settings.quoting import hydra_value
from wavesweep.settings.registry import GROUPS, options
from wavesweep.settings.schema import VOLATILE, Settings, config_directory

# Settings of where and how a trial ran that a rerun needs as well.
_NEEDED = frozenset({"paths.data", "device"})


class UnknownSettingsError(ValueError):
    """The record has settings that this version of wavesweep does not know."""


def command(settings: Mapping[str, Any]) -> str:
    """The command line, quoted for a shell, that composes to `settings` (those of a record, nested).

    `paths.outputs` is left out: where the record lies, the trial would be found and not computed again.

    Raises:
        UnknownSettingsError: this version does not know some of them.
    """
    return " ".join(["python", "-m", "wavesweep", *map(shlex.quote, overrides(settings))])


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """The overrides of `command`: options of groups first, then single values.

    Raises:
        UnknownSettingsError: this version does not know some of the settings.
    """
    wanted = flat(settings)
    if unknown := sorted(wanted.keys() - _defaults().keys()):
        raise UnknownSettingsError(f"this version of wavesweep does not know {', '.join(unknown)}")
    options, values = [], []
    for group in GROUPS:
        inside = {name: value for name, value in wanted.items() if name.startswith(f"{group}.")}
        option, left = _option(group, json.dumps(inside))
        if option != _default_option(group):
            options.append(f"{group}={option}")
        values += [(name, inside[name]) for name in left]
    for name, value in wanted.items():
        top = name.partition(".")[0]
        if top not in GROUPS and (top not in VOLATILE or name in _NEEDED) and value != _defaults()[name]:
            values.append((name, value))
    return options + [f"{name}={hydra_value(value)}" for name, value in values]


def differences(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, by dotted names, that are not what the command line has by default."""
    defaults = _defaults()
    return {
        name: value
        for name, value in flat(settings).items()
        if name.partition(".")[0] not in VOLATILE and (name not in defaults or value != defaults[name])
    }


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their dotted names; the arguments of a factory are one value."""
    found: dict[str, Any] = {}

    def visit(tree: Mapping[str, Any], prefix: str) -> None:
        for name, value in tree.items():
            if isinstance(value, Mapping) and f"{prefix}{name}" not in ("model.arguments", "dataset.arguments"):
                visit(value, f"{prefix}{name}.")
            else:
                found[prefix + name] = value

    visit(settings, "")
    return found


@lru_cache(maxsize=10_000)
def _option(group: str, settings: str) -> tuple[str, list[str]]:
    """The option of the group that leaves the fewest values to set, and the names of these; `settings` as JSON."""
    wanted = json.loads(settings)
    naming = f"{group}.rule" if group == "threshold" else f"{group}.name"
    best: tuple[tuple[bool, int, bool, str], str, list[str]] | None = None
    for option, values in _options(group).items():
        composed = {**_defaults(), **values}
        left = [name for name, value in wanted.items() if value != composed[name]]
        cost = (naming in left, len(left), option != composed[naming], option)
        if best is None or cost < best[0]:
            best = (cost, option, left)
    assert best is not None
    return best[1], best[2]


@cache
def _defaults() -> dict[str, Any]:
    return flat(asdict(Settings()))


@cache
def _options(group: str) -> dict[str, dict[str, Any]]:
    """What each option of a group sets, by dotted names."""
    return {name: flat({group: option.option}) for name, option in sorted(options(group).items())}


@cache
def _default_option(group: str) -> str:
    config = yaml.safe_load((config_directory() / "config.yaml").read_text(encoding="utf-8"))
    return next(str(entry[group]) for entry in config["defaults"] if isinstance(entry, dict) and group in entry)
