"""All that depends on the inside of Hydra and its plugins, and on the prose of Hydra's errors.

A new release candidate may change any of it and then breaks this module alone; tests/cli/test_hydra_internals.py states
what is relied on. Launchers and sweepers are imported inside functions, so that importing this module imports none.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, setup_globals
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def store_core_sweeper() -> None:
    """Have Hydra's own sweeper store its option now: later, when a worker scans for plugins, it would replace ours."""
    from hydra._internal.core_plugins import basic_sweeper  # noqa: F401


def configuration_loader(directory: Path) -> ConfigLoader:
    """A loader of the configuration in `directory` that belongs to no Hydra application and scans for no plugins.

    `hydra.compose` imports every plugin that is installed. This imports Hydra's own default launcher and sweeper only,
    whose options every configuration of Hydra chooses, and leaves the application that the caller may be alone.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra._internal.core_plugins import basic_launcher, basic_sweeper  # noqa: F401 - they store their options
    from hydra._internal.core_plugins.file_config_source import FileConfigSource
    from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
    from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
    from hydra._internal.sources_registry import SourcesRegistry

    setup_globals()
    for source in (FileConfigSource, ImportlibResourcesConfigSource, StructuredConfigSource):
        SourcesRegistry.instance().register(source)
    search_path = ConfigSearchPathImpl()
    for provider, path in (("hydra", "pkg://hydra.conf"), ("main", str(directory)), ("schema", "structured://")):
        search_path.append(provider, path)
    return ConfigLoaderImpl(search_path)


class Problem(Enum):
    """What Hydra refuses."""

    UNKNOWN_OPTION = auto()  # `key` is the group, `value` the option that it has not, `options` those that it has
    UNKNOWN_KEY = auto()  # `key` is what was given, `inner` the key that OmegaConf does not know, if it says so
    BAD_VALUE = auto()  # `key` cannot be `value`; `text` is OmegaConf's reason
    SEVERAL_VALUES = auto()  # `value` is an argument that needs a sweep
    SYNTAX = auto()  # `value` is an argument that is no override
    NO_NAME = auto()  # a group's option is no name; Hydra says neither which group nor which option
    EXCLUSIVE_FLAGS = auto()  # `text` names flags of which only one may be given
    OTHER = auto()  # `text` is all that is known


@dataclass(frozen=True)
class HydraProblem:
    """An error of Hydra or OmegaConf as plain values; which of them are filled depends on its kind."""

    kind: Problem
    key: str = ""
    value: str = ""
    options: tuple[str, ...] = ()
    inner: str = ""
    text: str = ""


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
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return HydraProblem(Problem.SEVERAL_VALUES, value=found[1])
    if re.search(
        r"no viable alternative|mismatched input|token recognition|extraneous input|missing EQUAL|Lexer", text
    ):
        argument = error.override if isinstance(error, OverrideParseException) else ""
        return HydraProblem(Problem.SYNTAX, value=argument)
    if "Config group override must be" in text:
        return HydraProblem(Problem.NO_NAME)
    if text.startswith("Only one of --run"):
        return HydraProblem(Problem.EXCLUSIVE_FLAGS, text=text)
    return HydraProblem(Problem.OTHER, text=" ".join(re.sub(r"See https?://\S+.*", "", text).split()))


def value_problem(override: str, cause: BaseException | None) -> HydraProblem:
    """Why OmegaConf does not take the value of an override, given as `key=value`."""
    key, _, value = override.partition("=")
    key = key.lstrip("+~")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(key, cause)
    return HydraProblem(Problem.BAD_VALUE, key, value, text=" ".join(str(cause).split()))


def _unknown_key(key: str, cause: BaseException | None) -> HydraProblem:
    return HydraProblem(Problem.UNKNOWN_KEY, key, inner=str(getattr(cause, "full_key", None) or ""))


def distribution_of(override: Override) -> "BaseDistribution":
    """Optuna's distribution for an override that spans several values, as Hydra's Optuna sweeper reads it.

    Raises:
        ValueError: it spans nothing that Optuna can search; one line says why, or nothing.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
    from optuna.distributions import BaseDistribution, CategoricalDistribution

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # e.g. a step that does not divide the range
            found = create_optuna_distribution_from_override(override)
    except (ValueError, NotImplementedError, AssertionError, UserWarning) as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(found, BaseDistribution):
        raise ValueError
    if isinstance(found, CategoricalDistribution):
        # What is no number comes as text, null as well; a shuffled list comes in another order each time.
        choices = list(found.choices)
        for _ in [value for value in override.sweep_iterator() if value is None]:
            choices[choices.index("null")] = None
        return CategoricalDistribution(choices)
    return found


class LauncherKind(Enum):
    """Hydra's launchers, as far as a sweep must tell them apart."""

    IN_PROCESS = auto()
    JOBLIB = auto()
    SUBMITIT_LOCAL = auto()  # processes of this machine, one for each job, all at once
    RAY = auto()
    OTHER = auto()  # e.g. submitit on a Slurm cluster


_KINDS = {
    "BasicLauncher": LauncherKind.IN_PROCESS,
    "JoblibLauncher": LauncherKind.JOBLIB,
    "LocalLauncher": LauncherKind.SUBMITIT_LOCAL,
    "RayLauncher": LauncherKind.RAY,
}


def launcher_kind(launcher: Launcher) -> LauncherKind:
    """Which launcher it is: by the names of its classes, so that no plugin need be there."""
    names = [each.__name__ for each in type(launcher).__mro__]
    return next((_KINDS[name] for name in names if name in _KINDS), LauncherKind.OTHER)


def joblib_workers(launcher: Any) -> int | None:
    """The number of processes that a joblib launcher was told to use; None where it was told none."""
    count: int | None = launcher.joblib["n_jobs"]
    return count


@contextmanager
def joblib_with(launcher: Any, workers: int, initializer: Callable[[], None]) -> Iterator[None]:
    """Have a joblib launcher start so many processes in the block, each of which calls `initializer` first."""
    told = launcher.joblib["n_jobs"]
    launcher.joblib["n_jobs"], launcher.joblib["initializer"] = workers, initializer
    try:
        yield
    finally:
        launcher.joblib["n_jobs"] = told


def quieten_ray(launcher: Any) -> None:
    """Have a Ray launcher print less than it does by itself, and start no dashboard; what is set already stays."""
    given = OmegaConf.to_container(launcher.ray_cfg)
    assert isinstance(given, dict)
    options = {"log_to_driver": False, "logging_level": "warning"}
    if given["init"].get("address") is None:  # a Ray of our own, not a cluster's
        options["include_dashboard"] = False
    launcher.ray_cfg = OmegaConf.create({**given, "init": {**options, **given["init"]}})


def parallel_tasks(launcher: Any) -> int | None:
    """How many tasks of its job array a submitit launcher runs at once; None where it does not say."""
    settings = getattr(launcher, "params", None) or {}
    return int(settings["array_parallelism"]) if settings.get("array_parallelism") else None


def outcome_of(job: JobReturn) -> Any:
    """What a job returned, or the exception that ended it; `job.return_value` would print lines and raise it."""
    return job._return_value
