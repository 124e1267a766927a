"""From Hydra's composed configuration to `Settings`, and from Hydra's errors to one line.

Importing this loads neither a sweeper nor a launcher, nor anything of `wavesweep.sweep`: a library call needs none.
"""

import difflib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, lru_cache
from itertools import combinations
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from wavesweep.cli.hydra_errors import HydraProblem, Problem, problem_of, value_problem
from wavesweep.cli.hydra_internals import configuration_loader
from wavesweep.cli.hydra_settings import check_deletions, deletion_error
from wavesweep.cli.options import store_options
from wavesweep.cli.remedies import no_place, several_values, wrong_call
from wavesweep.errors import SettingsError
from wavesweep.settings.registry import GROUPS
from wavesweep.settings.rules import check
from wavesweep.settings.schema import LayerOverride, Settings, allowed_text, config_directory

_OWN_CONFIGURATION = "a file of your own begins with defaults: [config, _self_]"
# What to install for a launcher that is not among this package's dependencies.
_LAUNCHER_EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}


@dataclass
class SweeperOption:
    """Hydra's description of one of our sweepers; `params` may hold a sweep, so that an experiment file can."""

    _target_: str
    params: dict[str, str] | None = None


def register_configuration() -> None:
    """Make the schema, and the sweepers that files of the configuration choose, known to Hydra by their names.

    Once in each of Hydra's stores, since it takes longer than most of what follows in a call of `compress`.
    """
    store = ConfigStore.instance()
    if "schema.yaml" in store.repo:
        return
    schema = OmegaConf.structured(Settings)
    # A factory's arguments are the user's own names, so new keys are welcome in these places.
    for group in (schema.model, schema.dataset, schema.task):
        OmegaConf.set_struct(group.arguments, False)
    store.store(name="schema", node=schema, replace=True)
    store_options()
    for name, sweeper in (("search", "SearchSweeper"), ("sensitivity", "SensitivitySweeper")):
        option = SweeperOption(f"wavesweep.cli.sweepers.{sweeper}")
        store.store(group="hydra/sweeper", name=name, node=option, replace=True)


def compose_settings(overrides: Sequence[str]) -> Settings:
    """The settings that overrides make of the defaults, checked; outside of any Hydra application.

    Raises:
        SettingsError: an override, or what all of them make together, is wrong.
    """
    register_configuration()
    check_deletions(overrides)
    try:
        composer = _composer(ConfigStore.instance())
        settings = _composed_by_hydra(overrides) if composer.has_sweep(overrides) else composer.settings(overrides)
    except (HydraException, OmegaConfBaseException, SettingsError):
        settings = _composed_by_hydra(overrides)  # which takes whatever a sweep does not, and has errors of its own
    check(settings)
    return settings


def _composed_by_hydra(overrides: Sequence[str]) -> Settings:
    try:
        loader = configuration_loader(config_directory())
        config = loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN, from_shell=False)
        with open_dict(config):
            del config["hydra"]
        return settings_from(config)
    except (HydraException, OmegaConfBaseException) as error:
        problem = problem_of(error)
        if problem.kind == Problem.SEVERAL_VALUES:  # there is no command line to add -m to
            text = f"{problem.value}: must be one value; call compress for each"
            raise SettingsError.from_text(text) from None
        raise _settings_error(problem) from None


@lru_cache(maxsize=1)
def _composer(_store: ConfigStore) -> "Composer":
    """Of the defaults alone, for one of Hydra's stores."""
    loader = configuration_loader(config_directory())
    return Composer(loader, loader.load_configuration("config", [], run_mode=RunMode.RUN, from_shell=False))


def settings_from(config: DictConfig) -> Settings:
    """The typed settings of a composed configuration.

    Raises:
        SettingsError: it has a key that the schema does not know (Hydra accepts `+new=1`), or refers to nothing.
    """
    _refuse_unknown(config, "")
    try:
        settings = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        problem = problem_of(error)
        raise _settings_error(replace(problem, value=problem.value or _written(config, problem.key))) from None
    if not isinstance(settings, Settings):
        raise SettingsError.from_text(f"the configuration lacks wavesweep's settings; {_OWN_CONFIGURATION}")
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
        self._joins: dict[tuple[str, ...], tuple[DictConfig, Settings] | None] = {}
        self._values: dict[tuple[tuple[str, ...], str], Any] = {}
        self._parse = cache(OverridesParser.create(config_loader=loader).parse_override)

    def settings(self, lines: Sequence[str]) -> Settings:
        """The settings of one point, given its overrides; they are not checked."""
        overrides = [self._parse(line) for line in lines]
        # An option of a group is chosen before any value is set, wherever it stands.
        keys = [str(o.key_or_group) for o in overrides if not (self._is_plain_value(o) or self._is_option(o))]
        # Of several overrides of one value the last one wins, so those that overlap stay together.
        plain = [o for o in overrides if self._is_plain_value(o) and not any(_overlap(o.key_or_group, k) for k in keys)]
        others = tuple(str(o.input_line) for o in overrides if o not in plain)
        has_mapping = any(isinstance(override.value(), dict) for override in plain)
        names = [str(override.key_or_group) for override in plain]
        has_overlap = any(_overlap(one, other) for one, other in combinations(names, 2))
        # What is joined has a configuration without the options, which only single values may be read from.
        joined = None if has_mapping or has_overlap else self._joined(others)
        config, common = joined or self._common(others)
        if common is None or has_overlap:
            for override in plain:
                config = _updated(config, override)
            return settings_from(config)
        settings = deepcopy(common)
        for name, override in zip(names, plain, strict=True):
            # A number or a text becomes the same, whatever the options of groups; what a mapping adds to may differ.
            is_mapping = isinstance(override.value(), dict)
            place = others if is_mapping else (), str(override.input_line)
            if place not in self._values:
                self._values[place] = _value_at(settings_from(_updated(config, override)), name)
            *path, last = name.split(".")
            setattr(_value_at(settings, ".".join(path)), last, deepcopy(self._values[place]))
        return settings

    def has_sweep(self, lines: Sequence[str]) -> bool:
        """Whether one of these overrides has several values."""
        return any(self._parse(line).is_sweep_override() for line in lines)

    def _common(self, others: tuple[str, ...]) -> tuple[DictConfig, Settings | None]:
        """What these overrides make of the master's configuration, and its settings if no value refers to another."""
        if others not in self._composed:
            composed = self._loader.load_sweep_config(self._master, list(others))
            with open_dict(composed):
                del composed["hydra"]
            # A value that refers to another one follows it.
            refers = "${" in OmegaConf.to_yaml(composed)
            self._composed[others] = composed, None if refers else settings_from(composed)
        return self._composed[others]

    def _joined(self, others: tuple[str, ...]) -> tuple[DictConfig, Settings] | None:
        """As `_common`, for options of several groups of which none changes what others set: from one of each.

        A search meets many combinations of few options. The configuration is that without them.
        """
        if others not in self._joins:
            self._joins[others] = self._join(others)
        return self._joins[others]

    def _join(self, others: tuple[str, ...]) -> tuple[DictConfig, Settings] | None:
        parsed = {line: self._parse(line) for line in others}
        # Others, as search=pareto, may set anything, and stay.
        options = {line: str(one.key_or_group) for line, one in parsed.items() if one.key_or_group in GROUPS}
        if len(set(options.values())) < max(2, len(options)) or not all(
            self._is_option(parsed[line]) for line in options
        ):
            return None
        fixed = [line for line in others if line not in options]
        config, base = self._common(tuple(fixed))
        joined = deepcopy(base)
        for line, group in options.items():
            part = self._common(tuple(one for one in others if one in (*fixed, line)))[1]
            if base is None or part is None or replace(part, **{group: getattr(base, group)}) != base:
                return None
            setattr(joined, group, getattr(part, group))
        return None if joined is None else (config, joined)

    def _is_option(self, override: Override) -> bool:
        return override.key_or_group in self._groups and isinstance(override.value(), str)

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
        raise _settings_error(value_problem(str(override.input_line), error)) from None
    return config


def _value_at(settings: Any, key: str) -> Any:
    """What a dotted key of the settings, or of a mapping in them, names."""
    for name in filter(None, key.split(".")):
        settings = settings[name] if isinstance(settings, dict) else getattr(settings, name)
    return settings


def _overlap(one: str, other: str) -> bool:
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
    return str(_settings_error(problem_of(error)))


def syntax_error(argument: str) -> SettingsError:
    """The error for an argument that is no override."""
    text = f"{argument}: cannot be parsed; write key=value; a value with = or other signs in quotes: 'key=\"value\"'"
    return SettingsError.from_text(text, argument)


def _settings_error(problem: HydraProblem) -> SettingsError:
    key, value = problem.key, problem.value
    match problem.kind:
        case Problem.UNKNOWN_OPTION:
            allowed = f"must be one of {', '.join(problem.options)}"
            if key == "hydra/launcher" and (extra := _LAUNCHER_EXTRAS.get(value)):
                install = f"pip install 'wavesweep[{extra}]'"
                allowed = f"needs another package; {install}, or choose one of {', '.join(problem.options)}"
            return SettingsError(key, value, allowed)
        case Problem.BAD_VALUE:
            return SettingsError(key, value, allowed_text(key) or problem.text)
        case Problem.UNKNOWN_KEY:
            return _unknown_key(_full_key(key, problem.inner))
        case Problem.SEVERAL_VALUES:
            return several_values(value)
        case Problem.SYNTAX:
            return syntax_error(value)
        case Problem.BAD_CALL:
            return wrong_call(key, value, problem.text)
        case Problem.DELETION:
            return deletion_error(value)
        case Problem.REFERENCE:
            text = f"{key}={value}: {problem.text}" if value else f"{key}: {problem.text}"
            remedy = f"; set it, or give a default: ${{oc.env:{problem.inner},VALUE}}" if problem.inner else ""
            return SettingsError.from_text(text + remedy, key)
        case Problem.NO_PLACE:
            return no_place(key, value)
        case Problem.CHANGED_SWEEPER:
            text = "search: a command is one search or one grid, so it cannot vary, nor an experiment that chooses it"
            return SettingsError.from_text(f"{text}; give one value", "search")
    return SettingsError.from_text(f"{key}: {problem.text}" if key else problem.text, key)


def _written(config: DictConfig, key: str) -> str:
    """The value of a key as it is written, with references; nothing where there is no such key."""
    node: Any = OmegaConf.to_container(config, resolve=False)
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return ""
        node = node[name]
    return str(node)


def _full_key(key: str, inner: str) -> str:
    """The key that does not exist: `key` itself, or `inner` inside the mapping that was given for it."""
    inner = inner or key
    return max(inner, key, key=len) if _overlap(inner, key) else f"{key}.{inner}"


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
        # What is missing, or refers to another place, has no keys of its own.
        if not (OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name)):
            _refuse_unknown(node[name], f"{prefix}{name}.")
