"""From Hydra's composed configuration to `Settings`, and from Hydra's errors to one line."""

import difflib
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from itertools import combinations
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from wavesweep.errors import SettingsError
from wavesweep.settings.rules import check
from wavesweep.settings.schema import LayerOverride, Settings, allowed_text, config_directory

_OWN_CONFIGURATION = "a file of your own begins with defaults: [config, _self_]"
# What to install for a launcher that is not among this package's dependencies.
_LAUNCHER_EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


def settings_from(config: DictConfig) -> Settings:
    """The typed settings of a composed configuration.

    Raises:
        SettingsError: it has a key that the schema does not know (Hydra accepts `+new=1`), or refers to nothing.
    """
    _refuse_unknown(config, "")
    try:
        settings = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise SettingsError.from_text(" ".join(str(error).split())) from None
    if not isinstance(settings, Settings):
        raise SettingsError.from_text(f"the configuration lacks wavesweep's settings; {_OWN_CONFIGURATION}")
    return settings


def compose_settings(overrides: Sequence[str]) -> Settings:
    """The checked settings of a list of overrides, as on the command line.

    Raises:
        SettingsError: a setting is wrong.
    """
    from wavesweep.cli.app import register

    register()
    others = GlobalHydra.instance().hydra  # the caller may be a Hydra application itself
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_directory())):
            settings = settings_from(compose("config", list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        text = explain(error)
        if found := re.match(r"(\S+): several values need a sweep", text):  # whose command line is of no use here
            text = f"{found[1]}: must be one value; call compress for each"
        raise SettingsError.from_text(text) from None
    finally:
        GlobalHydra.instance().hydra = others
    check(settings)
    return settings


class Composer:
    """Composes the points of a sweep.

    Hydra needs some 20 ms to compose a configuration from its files, and OmegaConf some to copy and convert it. Points
    that choose the same options of all groups differ in plain values only, so their common configuration is composed
    and converted once, each value is checked and converted once, and a point is made of copies.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader, self._master = loader, master
        self._groups = set(master.hydra.runtime.choices)
        self._composed: dict[tuple[str, ...], tuple[DictConfig, Settings | None]] = {}
        self._values: dict[tuple[tuple[str, ...], str], Any] = {}

    def settings(self, overrides: list[Override]) -> Settings:
        """The settings of one point, given its parsed overrides."""
        keys = [str(o.key_or_group) for o in overrides if not self._is_plain_value(o)]
        # Of several overrides of one value the last one wins, so those that touch stay together.
        plain = [o for o in overrides if self._is_plain_value(o) and not any(_touch(o.key_or_group, k) for k in keys)]
        others = tuple(str(o.input_line) for o in overrides if o not in plain)
        if others not in self._composed:
            composed = self._loader.load_sweep_config(self._master, list(others))
            with open_dict(composed):
                del composed["hydra"]
            # A value that refers to another one follows it.
            refers = "${" in OmegaConf.to_yaml(composed)
            self._composed[others] = composed, None if refers else settings_from(composed)
        config, common = self._composed[others]
        names = [str(override.key_or_group) for override in plain]
        if common is None or any(_touch(one, other) for one, other in combinations(names, 2)):
            for override in plain:
                config = _updated(config, override)
            return settings_from(config)
        settings = deepcopy(common)
        for name, override in zip(names, plain, strict=True):
            place = others, str(override.input_line)
            if place not in self._values:
                self._values[place] = _value_at(settings_from(_updated(config, override)), name)
            *path, last = name.split(".")
            setattr(_value_at(settings, ".".join(path)), last, deepcopy(self._values[place]))
        return settings

    def _is_plain_value(self, override: Override) -> bool:
        line = str(override.input_line)
        is_change = not (override.is_add() or override.is_force_add() or override.is_delete())
        known = allowed_text(override.key_or_group) is not None
        return is_change and known and override.key_or_group not in self._groups and "${" not in line


def _updated(config: DictConfig, override: Override) -> DictConfig:
    """A copy of `config` with that value."""
    config = config.copy()
    try:
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException as error:
        raise _bad_value(str(override.input_line), error) from None
    return config


def _value_at(settings: Any, key: str) -> Any:
    """What a dotted key of the settings, or of a mapping in them, names."""
    for name in filter(None, key.split(".")):
        settings = settings[name] if isinstance(settings, dict) else getattr(settings, name)
    return settings


def _touch(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def explain(error: BaseException) -> str:
    """One line for an error of Hydra, OmegaConf or wavesweep: the key, the value, what is allowed, what to do."""
    text = str(error)
    # Some of Hydra's own errors are OSErrors too, without an errno.
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None:  # of standard output, say
            return str(error.strerror)
        return f"{error.filename}: {error.strerror}; choose another paths.outputs or mend its permissions"
    if isinstance(error, UnicodeDecodeError):
        return f"a file of the configuration is no text in UTF-8 ({text})"
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if found := re.search(r"Could not find '(\S+)/([^'/]*)'", text):
        options = re.findall(r"^\t(\S+)$", text.partition("Available options")[2].partition("Config search")[0], re.M)
        allowed = f"must be one of {', '.join(options)}"
        if found[1] == "hydra/launcher" and (extra := _LAUNCHER_EXTRAS.get(found[2])):
            allowed = f"needs another package; pip install 'wavesweep[{extra}]', or choose one of {', '.join(options)}"
        return f"{found[1]}={found[2]}: {allowed}"
    if found := re.search(r"Error merging override (.+)", text):
        return str(_bad_value(found[1], cause))
    if found := re.search(r"Could not override '([^']+)'", text):
        return str(_unknown_key(_full_key(found[1], cause)))
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{found[1]}: several values need a sweep; add -m: python -m wavesweep -m {found[1]}"
    if re.search(
        r"no viable alternative|mismatched input|token recognition|extraneous input|missing EQUAL|Lexer", text
    ):
        found = re.search(r"Error when parsing index: \d+, string: (.*?) out of \[", text, re.DOTALL)
        return str(parse_error(found[1] if found else ""))
    return " ".join(re.sub(r"See https?://\S+.*", "", text).split())


def parse_error(argument: str) -> SettingsError:
    """The error for an argument that is no override."""
    text = f"{argument}: cannot be parsed; write key=value; a value with = or other signs in quotes: 'key=\"value\"'"
    return SettingsError.from_text(text, argument)


def _bad_value(override: str, cause: BaseException | None) -> SettingsError:
    key, _, value = override.partition("=")
    key = key.lstrip("+~")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(_full_key(key, cause))
    return SettingsError(key, value, allowed_text(key) or " ".join(str(cause).split()))


def _full_key(key: str, cause: BaseException | None) -> str:
    """The key that does not exist: `key` itself, or one inside the mapping that was given for it."""
    inner = str(getattr(cause, "full_key", None) or key)
    return max(inner, key, key=len) if _touch(inner, key) else f"{key}.{inner}"


def _unknown_key(key: str) -> SettingsError:
    if key.startswith(("layers.overrides.", "layers.overrides[")):
        names = [entry.name for entry in fields(LayerOverride)]
        text = f"{key}: there is no such key; an override has {', '.join(names)}"
        return SettingsError.from_text(text, key)
    close = difflib.get_close_matches(key, _known_keys(Settings), n=1)
    hint = f"did you mean {close[0]}?" if close else "see --help for all keys"
    if close == [key]:  # it exists, but not in this configuration
        hint = _OWN_CONFIGURATION
    return SettingsError.from_text(f"{key}: there is no such key; {hint}", key)


def _known_keys(schema: type, prefix: str = "") -> list[str]:
    keys = []
    for entry in fields(schema):
        keys.append(prefix + entry.name)
        if is_dataclass(entry.type) and isinstance(entry.type, type):
            keys += _known_keys(entry.type, f"{prefix}{entry.name}.")
    return keys


def _refuse_unknown(node: Any, prefix: str) -> None:
    if isinstance(node, ListConfig):
        for item in node:
            _refuse_unknown(item, prefix)
    if not isinstance(node, DictConfig):
        return
    schema = OmegaConf.get_type(node)
    if not is_dataclass(schema):
        return
    known = {entry.name for entry in fields(schema)}
    for name in map(str, node):
        if name not in known:
            raise _unknown_key(f"{prefix}{name}")
        if OmegaConf.is_config(node._get_node(name)):
            _refuse_unknown(node[name], f"{prefix}{name}.")
