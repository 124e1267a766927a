"""From the parameters that a sampler suggests to the settings of a trial."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from wavesweep.checks import check
from wavesweep.compose import Composer
from wavesweep.config import Settings
from wavesweep.search.space import Space, parse_space


@dataclass(frozen=True)
class Points:
    """The points of a space, each the settings that its parameters make."""

    space: Space
    base: Settings = field(repr=False)
    _parser: OverridesParser = field(repr=False)
    _composer: Composer = field(repr=False)

    @classmethod
    def parsed(cls, loader: ConfigLoader, master: DictConfig, lines: Sequence[str]) -> "Points":
        """Those that the overrides `lines` span on top of the configuration `master`.

        Raises:
            SettingsError: nothing varies, or a value, or an end of a range, makes no sense.
        """
        parser = OverridesParser.create(config_loader=loader)
        composer = Composer(loader, master)
        space = parse_space(parser.parse_overrides(list(lines)))
        base = composer.settings(list(space.fixed))
        check(base)
        points = cls(space, base, parser, composer)
        for params in space.probes():
            check(points.settings(params))
        return points

    def settings(self, params: dict[str, Any]) -> Settings:
        """The settings of the point with these parameters, not checked."""
        lines = self.space.overrides(params)
        return self._composer.settings([*self.space.fixed, *map(self._parser.parse_override, lines)])

    def overrides(self, params: dict[str, Any]) -> tuple[str, ...]:
        """All overrides of the point, for a launcher."""
        return (*(str(one.input_line) for one in self.space.fixed), *self.space.overrides(params))
