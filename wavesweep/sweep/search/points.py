"""From the parameters that a sampler suggests to the settings of a trial."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wavesweep.experiment.inputs import input_digests
from wavesweep.settings.keys import differences, trial_key, without_paths
from wavesweep.settings.rules import check
from wavesweep.settings.schema import VOLATILE, Settings
from wavesweep.sweep.search.space import Space


@dataclass(frozen=True)
class Points:
    """The points of a space, each the settings that its parameters make; `base` is the first of them."""

    space: Space
    base: Settings = field(repr=False)
    _compose: Callable[[Sequence[str]], Settings] = field(repr=False)

    @classmethod
    def checked(cls, space: Space, compose: Callable[[Sequence[str]], Settings]) -> "Points":
        """The points of a space, where `compose` makes settings of overrides.

        Raises:
            SettingsError: a value, or an end of a range, makes no sense.
        """
        probes = [compose(space.lines(params)) for params in space.probes()]
        for settings in probes:
            check(settings)
        return cls(space, probes[0], compose)

    def settings(self, params: dict[str, Any]) -> Settings:
        """The settings of the point with these parameters, not checked."""
        return self._compose(self.space.lines(params))

    def key(self, settings: Settings) -> str:
        """The key of a point's record; the files that it names may differ from those of another point.

        Raises:
            SettingsError: one of them cannot be had.
        """
        return trial_key(settings, input_digests(settings))

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
        given = {one.key: one.value for one in self.space.fixed}
        return flat | {key: text for key, text in given.items() if self._varies(key)}

    def _varies(self, key: str) -> bool:
        return any(f"{key}.".startswith(f"{one}.") for one in self.space.distributions)
