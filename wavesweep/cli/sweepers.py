"""Hydra's sweepers: they parse the arguments, compose every point, and hand plain values to `wavesweep.sweep`.

Every command loads this module, so PyTorch and Optuna are imported when a sweep needs them.
"""

from collections.abc import Sequence
from itertools import product

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from wavesweep.cli.composition import Composer, SweeperOption
from wavesweep.cli.jobs import jobs_of
from wavesweep.cli.launchers import sweep_launcher
from wavesweep.cli.tables import show_counts, show_scan, show_search, show_trials
from wavesweep.errors import SettingsError, TrialError
from wavesweep.runtime.progress import logging_enabled
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings.schema import Settings
from wavesweep.sweep.grid import run_grid


class _OwnSweeper(Sweeper):
    """What the three have in common: `params`, a sweep of an experiment file, and how arguments become settings."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self._params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra has made: its loader, the configuration of the command, the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._loader = hydra_context.config_loader
        self._composer = Composer(self._loader, config)
        self._sweep_launcher = sweep_launcher(self.launcher)
        self._jobs = jobs_of(hydra_context, config)

    def _parsed(self, arguments: Sequence[str]) -> list[Override]:
        lines = [*(f"{key}={value}" for key, value in self._params.items()), *arguments]
        return OverridesParser.create(config_loader=self._loader).parse_overrides(lines)

    def _grid(self, arguments: Sequence[str]) -> list[tuple[tuple[str, ...], Settings]]:
        """The overrides of every point of the grid, and the settings they make, not checked."""
        lines = grid_lines(self._parsed(arguments))
        if not lines:
            raise SettingsError("-m", " ".join(arguments), "gives no point", "a list or glob in it is empty")
        return [(point, self._composer.settings(point)) for point in lines]


class GridSweeper(_OwnSweeper):
    """Runs the Cartesian product of all lists of values; takes the place of Hydra's basic sweeper."""

    def sweep(self, arguments: list[str]) -> None:
        """Run all points of the grid and print their table.

        Raises:
            SettingsError: a point's settings are wrong; nothing was trained.
            TrialError: some trials failed; all others are done and shown.
            StoreError: records cannot be written.
        """
        result = run_grid(self._grid(arguments), arguments, self._sweep_launcher, self._jobs)
        show_trials(result.entries, result.settings)
        result.write_table()
        show_counts(result)
        if result.problems:
            raise TrialError(f"{'; '.join(result.problems)}; retry_failed=true runs them again")


class SearchSweeper(_OwnSweeper):
    """Runs an Optuna study up to `search.n_trials`."""

    def sweep(self, arguments: list[str]) -> None:
        """Search, print the front and write it.

        Raises:
            SettingsError: a setting or the space is wrong; nothing was trained.
            TrialError: some trials failed; all others are kept and shown.
            StoreError: records or the study cannot be written.
        """
        from wavesweep.cli.search_space import parse_space
        from wavesweep.sweep.search.run import search
        from wavesweep.sweep.search.space import Points

        space = parse_space(self._parsed(arguments), defaults=len(self._params))
        points = Points.checked(space, self._composer.settings)
        for note in points.notes():
            say_aside(f"note: {note}")
        with logging_enabled(points.base.progress):
            search(points, self._sweep_launcher, show_search, self._jobs)


class SensitivitySweeper(_OwnSweeper):
    """Runs one scan per combination of all settings but the percentile."""

    def sweep(self, arguments: list[str]) -> None:
        """Measure every point that has no record yet, then print and write the tables.

        Raises:
            SettingsError: a setting is wrong; nothing was trained.
            TrialError: a baseline or a point cannot be computed; all points before are kept.
            StoreError: records cannot be written.
        """
        from wavesweep.sweep.scan import run_scans

        if self._sweep_launcher is not None:
            name = type(self.launcher).__name__
            allowed = "runs no sensitivity scan, which is one process's"
            raise SettingsError("hydra/launcher", name, allowed, "leave it out; several processes can share a scan")
        for result in run_scans(self._grid(arguments)):
            show_scan(result)


def register_sweepers() -> None:
    """Make our sweepers known to Hydra; the one for grids is used where none is named."""
    plugins = Plugins.instance()  # Hydra has stored the options of its own sweepers now
    for sweeper in (GridSweeper, SearchSweeper, SensitivitySweeper):
        plugins.register(sweeper)
    grid = SweeperOption(f"{GridSweeper.__module__}.{GridSweeper.__name__}")
    ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=grid, replace=True)


def grid_lines(overrides: Sequence[Override]) -> list[tuple[str, ...]]:
    """All points that overrides span, each as a line per key; of several overrides for one key the last one counts.

    Raises:
        SettingsError: one of them spans an interval, which has no points to list.
    """
    lines: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            lines[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            lines[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            allowed = "has no points that a grid could list"
            raise SettingsError(key, override.get_value_string(), allowed, "give a list or range, or use search=pareto")
    return list(product(*lines.values()))
