"""From the parameters that a sampler suggests to the settings of a trial."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from wavesweep.cli.composition import Composer
from wavesweep.experiment.inputs import input_digests
from wavesweep.settings.keys import differences, trial_key, without_paths
from wavesweep.settings.rules import check
from wavesweep.settings.schema import VOLATILE, Settings
from wavesweep.sweep.search.space import Space, parse_space


@dataclass(frozen=True)
class Points:
    """The points of a space, each the settings that its parameters make; `base` is the first of them."""

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
        points = [_settings(composer, parser, space, params) for params in space.probes()]
        for settings in points:
            check(settings)
        return cls(space, points[0], parser, composer)

    def settings(self, params: dict[str, Any]) -> Settings:
        """The settings of the point with these parameters, not checked."""
        return _settings(self._composer, self._parser, self.space, params)

    def key(self, settings: Settings) -> str:
        """The key of a point's record; the files that it names may differ from those of another point.

        Raises:
            SettingsError: one of them cannot be had.
        """
        return trial_key(settings, input_digests(settings))

    def overrides(self, params: dict[str, Any]) -> tuple[str, ...]:
        """All overrides of the point, for a launcher."""
        return (*(str(one.input_line) for one in self.space.fixed), *self.space.overrides(params))

    def fixed_settings(self) -> dict[str, str]:
        """All settings that the space leaves alone and that are not the defaults, by key; files by their content."""
        content = without_paths({key: one for key, one in differences(self.base).items() if key not in VOLATILE})
        flat = {f"digest of {name}": digest for name, digest in input_digests(self.base).items()}
        for key, value in content.items():
            nested = value if isinstance(value, dict) else {}
            flat |= {f"{key}.{name}": str(each) for name, each in nested.items()} or {key: str(value)}
        for name, limit in asdict(self.base.search.constraints).items():
            if limit is not None:
                flat[f"search.constraints.{name}"] = str(limit)
        flat = {key: text for key, text in flat.items() if not self._varies(key)}
        # Of a group that varies no setting is the same in all points, but for those that are given.
        given = {one.get_key_element(): one.get_value_element_as_str() for one in self.space.fixed}
        return flat | {key: text for key, text in given.items() if self._varies(key)}

    def _varies(self, key: str) -> bool:
        return any(f"{key}.".startswith(f"{one}.") for one in self.space.distributions)


def _settings(composer: Composer, parser: OverridesParser, space: Space, params: dict[str, Any]) -> Settings:
    return composer.settings([*space.fixed, *map(parser.parse_override, space.overrides(params))])
