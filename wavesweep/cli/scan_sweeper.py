"""Hydra's door to the sensitivity scan; it imports nothing heavy, as every command loads it."""

from dataclasses import dataclass, replace

from hydra._internal.core_plugins.basic_launcher import BasicLauncher

from wavesweep.errors import SettingsError
from wavesweep.experiment.inputs import input_digests
from wavesweep.runtime.progress import logging_enabled
from wavesweep.settings.keys import trial_key
from wavesweep.settings.schema import Settings
from wavesweep.sweep.grid import GridSweeper, check_ready


@dataclass
class SensitivitySweeperConfig:
    """Hydra's description of `SensitivitySweeper`; `params` holds the grid of percentiles."""

    _target_: str = "wavesweep.cli.scan_sweeper.SensitivitySweeper"
    params: dict[str, str] | None = None


class SensitivitySweeper(GridSweeper):
    """Runs one scan per combination of all settings but the percentile."""

    def sweep(self, arguments: list[str]) -> None:
        """Measure every point that has no record yet, then print and write the tables.

        Raises:
            SettingsError: a setting is wrong; nothing was trained.
            TrialError: a baseline or a point cannot be computed; all points before are kept.
            StoreError: records cannot be written.
        """
        from wavesweep.sweep.scan import scan

        if not isinstance(self.launcher, BasicLauncher):
            name = type(self.launcher).__name__
            allowed = "runs no sensitivity scan, which is one process's"
            raise SettingsError("hydra/launcher", name, allowed, "leave it out; several processes can share a scan")
        scans: dict[str, dict[float, Settings]] = {}
        for point in self._points(arguments):
            _check_scan(point.settings)
            percentile = float(point.settings.threshold.percentile)
            settings = _of_all_percentiles(point.settings)
            key = trial_key(settings, input_digests(settings))
            scans.setdefault(key, {})[percentile] = settings
        check_ready([next(iter(by_percentile.values())) for by_percentile in scans.values()], None)
        for by_percentile in scans.values():
            settings = next(iter(by_percentile.values()))
            with logging_enabled(settings.progress):
                scan(settings, sorted(by_percentile))


def _check_scan(settings: Settings) -> None:
    """Refuse settings that play no part in a scan and change what its result would mean."""
    wanted: tuple[tuple[str, object, object], ...] = (
        ("threshold.rule", settings.threshold.rule, "percentile"),
        ("threshold.scope", settings.threshold.scope, "layer"),
        ("threshold.allocation", settings.threshold.allocation, "uniform"),
        ("retrain.name", settings.retrain.name, "none"),
        ("shrink", settings.shrink, False),
        ("export", settings.export, "none"),
    )
    for key, value, needed in wanted:
        if value != needed:
            allowed = f"must be {str(needed).lower()} with experiment=sensitivity"
            raise SettingsError(key, value, allowed, "leave it out")
    for override in settings.layers.overrides:
        if override.percentile is not None:
            key = f"layers.overrides[match={override.match}].percentile"
            allowed = "plays no part in a scan of percentiles"
            raise SettingsError(key, override.percentile, allowed, "leave it out, or the tensor by layers.exclude")


def _of_all_percentiles(settings: Settings) -> Settings:
    """The settings that the points of one scan have in common."""
    return replace(settings, threshold=replace(settings.threshold, percentile=0.0, scope="layer"), compare=[])
