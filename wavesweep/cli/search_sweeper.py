"""Hydra's door to the search: it takes the place of the sweeper in `search=pareto`.

Nothing of Optuna is imported before a search begins, as every command loads this module.
"""

from dataclasses import dataclass

from wavesweep.runtime.progress import logging_enabled
from wavesweep.sweep.grid import GridSweeper


@dataclass
class SearchSweeperConfig:
    """Hydra's description of `SearchSweeper`; `params` holds the space."""

    _target_: str = "wavesweep.cli.search_sweeper.SearchSweeper"
    params: dict[str, str] | None = None


class SearchSweeper(GridSweeper):
    """Runs an Optuna study up to `search.n_trials`."""

    def sweep(self, arguments: list[str]) -> None:
        """Search, print the front and write it.

        Raises:
            SettingsError: a setting or the space is wrong; nothing was trained.
            TrialError: some trials failed; all others are kept and shown.
            StoreError: records or the study cannot be written.
        """
        from wavesweep.sweep.search.points import Points
        from wavesweep.sweep.search.run import search

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        points = Points.parsed(self.hydra_context.config_loader, self.config, [*self._parse_config(), *arguments])
        with logging_enabled(points.base.progress):
            search(points, self.launcher)
