"""All that depends on the inside of Hydra and its plugins; the prose of its errors is in `hydra_errors`.

A new release candidate may change any of it and then breaks this module alone; tests/cli/test_hydra_internals.py states
what is relied on. Launchers and sweepers are imported inside functions, so that importing this module imports none.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

HydraCallbacks = Callbacks


def store_core_sweeper() -> None:
    """Have Hydra's own sweeper store its option now: later, when a worker scans for plugins, it would replace ours."""
    from hydra._internal.core_plugins import basic_sweeper  # noqa: F401


def store_maximising_optuna() -> None:
    """Have the plugin's own Optuna sweeper maximise where no direction is given: a trial returns its accuracy."""
    from hydra_plugins.hydra_optuna_sweeper.config import Direction, OptunaSweeperConf

    option = OptunaSweeperConf(direction=Direction.maximize)
    ConfigStore.instance().store(group="hydra/sweeper", name="optuna", node=option, replace=True)


def directions_of_study(name: str, storage: str) -> list[str]:
    """The directions of an Optuna study that exists; none of one that does not, or cannot be read."""
    import optuna

    try:
        return [one.name.lower() for one in optuna.load_study(study_name=name, storage=storage).directions]
    except Exception:  # of a database there are many; the sweeper itself meets it again
        return []


@contextmanager
def callbacks_made_by(make: "type[HydraCallbacks]") -> Iterator[None]:
    """In the block a run or a sweep of Hydra gives its composed configuration to `make`, for its callbacks."""
    from hydra._internal import hydra as application

    with patch.object(application, "Callbacks", make):
        yield


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


def flags_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Hydra's flags in the arguments of a command line.

    Raises:
        ValueError: one is unknown or lacks its value; argparse's reason in one line.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    # By itself argparse prints its usage and leaves.
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(arguments)


def known_flags() -> list[str]:
    """All of Hydra's flags, as they are written."""
    from hydra._internal.utils import get_args_parser

    return [name for action in get_args_parser()._actions for name in action.option_strings]


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
