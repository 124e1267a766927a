"""Settings as keyword arguments of Python: `compress(model, wavelet="haar", level=2, percentile=90)`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict

from wavesweep.errors import SettingsError
from wavesweep.settings import registry
from wavesweep.settings.quoting import hydra_value

# Of settings that are given most often, names that need no group.
SHORT = {
    "percentile": "threshold.percentile",
    "step": "quantize.step",
    "bits": "quantize.bits",
    "max_drop": "quantize.max_drop",
    "epochs": "retrain.epochs",
}
Options = Mapping[str, Any]


class Keywords(TypedDict, total=False):
    """What an editor completes: settings by their names, groups by the name of an option or as a dict."""

    method: str | Options
    wavelet: str
    level: int | Literal["max"]
    layout: str
    boundary: str
    threshold: str | Options
    percentile: float
    retrain: str | Options
    epochs: int
    quantize: str | Options
    step: float
    bits: int
    max_drop: float
    codec: str | Options
    layers: Options
    shrink: bool
    seed: int
    device: str
    progress: bool


def overrides_of(given: Any, keywords: Options) -> list[str]:
    """Overrides as the command line has them, of a list of them or a dict, and of keyword arguments.

    Raises:
        SettingsError: it is neither, or a setting is given twice.
    """
    if isinstance(given, str):
        raise SettingsError("overrides", given, "must be a list of settings, or a dict", f"give [{given!r}]")
    if isinstance(given, Mapping):
        overrides = list(_overrides(given))
    elif isinstance(given, Sequence) and all(isinstance(override, str) for override in given):
        overrides = list(given)
    else:
        raise SettingsError("overrides", given, "must be a list of settings, such as ['level=2'], or a dict")
    more = list(_overrides(keywords))
    named = {override.partition("=")[0] for override in overrides}
    for override in more:
        key, _, value = override.partition("=")
        if key in named:
            raise SettingsError(key, value, "is given twice", "give it as a keyword argument or in the list")
    return [*overrides, *more]


def _overrides(options: Options) -> Iterator[str]:
    """Groups first, since an option of a group sets its other settings."""
    flat = [pair for name, value in options.items() for pair in _flat(SHORT.get(name, name), value)]
    for key, value in sorted(flat, key=lambda pair: pair[0] not in registry.GROUPS):
        yield f"{key}={hydra_value(value)}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The settings of a group that is given as a dict, by their dotted names; its `name` chooses the option."""
    if not isinstance(value, Mapping) or name.endswith(".arguments"):
        yield name, value
        return
    for key, inner in value.items():
        chooses = key == "name" and name in registry.GROUPS
        yield from _flat(name if chooses else f"{name}.{key}", inner)
