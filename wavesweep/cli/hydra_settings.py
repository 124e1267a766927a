"""What of Hydra's own means something else here, or nothing: it is refused with what to use instead.

Hydra accepts far more than a program makes use of. What it would take without a word, and what would then be ignored,
is found in the composed configuration, before anything is made.
"""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from wavesweep.cli.hydra_internals import directions_of_study
from wavesweep.errors import SettingsError
from wavesweep.runtime.terminal import say_aside
from wavesweep.settings import registry
from wavesweep.settings.schema import Settings, allowed_text, config_directory

# Groups whose options are files of the configuration.
_FILE_GROUPS = ("search", "experiment")
# Mappings whose keys are the user's own, and what Hydra's own configuration lacks by itself: these can be deleted from.
_FREE = ("model.arguments.", "dataset.arguments.", "hydra.callbacks", "hydra.sweeper.params", "hydra.job.env_set.")
_OF_SWEEPS = ("hydra/sweeper", "hydra/launcher", "hydra.sweeper", "hydra.launcher", "hydra.sweep")
_OF_RUNS = ("hydra.run",)
_SET_BY_HYDRA = ("hydra.runtime", "hydra.overrides", "hydra.job.id", "hydra.job.num", "hydra.job.override_dirname")
_RECORDS = "records lie in <paths.outputs>/runs/<key>"
_OUTPUTS = f"{_RECORDS}: use paths.outputs=DIRECTORY"
# Keys of Hydra's that have no effect, and what to do instead.
_UNUSED = {
    "output_subdir": f"leave it out: {_RECORDS}, each with its settings in config.yaml",
    "job.chdir": f"leave it out: {_OUTPUTS}",
}
# Where a sweeper that is not ours says that more is better, and how.
_DIRECTIONS = {"direction": "maximize", "optim.maximize": True, "ax_config.experiment.minimize": False}


def check_hydra(config: DictConfig) -> None:
    """Refuse what a composed configuration has of Hydra's own that would be ignored, or do something unexpected.

    Raises:
        SettingsError: naming the key, and what to do.
    """
    if OmegaConf.get_type(config) is not Settings:
        return  # a configuration of something else, which is refused as such
    hydra = config.hydra
    task, own = _lines(hydra.overrides.task), _lines(hydra.overrides.hydra)
    check_deletions([*task, *own])
    _check_groups([*task, *own])
    sweeps = hydra.mode == RunMode.MULTIRUN
    for line in own:
        _check_override(line, sweeps)
    _check_unused(hydra, sweeps)
    if sweeps:
        _check_search(config)
    if sweeps and not _is_ours(hydra.sweeper):
        _check_direction(hydra)


def _lines(overrides: Any) -> list[str]:
    """Overrides as they were given: those with references as they are written."""
    content = OmegaConf.to_container(overrides, resolve=False)
    return list(map(str, content)) if isinstance(content, list) else []


def check_deletions(lines: Sequence[str]) -> None:
    """Refuse overrides that delete what a trial needs.

    Raises:
        SettingsError: naming the first.
    """
    for line in lines:
        if line.startswith("~") and not line[1:].startswith(_FREE):
            raise deletion_error(line)


def deletion_error(line: str) -> SettingsError:
    """The error for an override that deletes, as `~quantize` does."""
    key = line.lstrip("~").partition("=")[0]
    group = key.partition("@")[0]
    if options := _options(group):
        text = f"a group cannot be deleted; leave it out for its default, or choose {group}={'|'.join(options)}"
    elif key.startswith("hydra"):
        text = "cannot be deleted; leave it out"
    else:
        allowed = allowed_text(key)
        text = f"a setting cannot be deleted; leave it out for its default, or give {key}=VALUE" + (
            f", which {allowed}" if allowed else ""
        )
    return SettingsError.from_text(f"{line}: {text}", key)


def _options(group: str) -> list[str]:
    if group in _FILE_GROUPS:
        names = sorted(file.stem for file in (config_directory() / group).glob("*.yaml"))
        return [*(["null"] if group == "experiment" else []), *names]
    return list(registry.options(group)) if group in registry.GROUPS else []


def _check_groups(lines: Sequence[str]) -> None:
    """Refuse two options of one group: the last one would win, with what else the first one was to change undone."""
    given: dict[str, str] = {}
    for line in lines:
        group, _, option = line.lstrip("+").partition("=")
        if not (_options(group) or group.startswith("hydra/")):
            continue
        if given.setdefault(group, option) != option:
            text = f"{group}={given[group]} {group}={option}: are two options of one group; give one of them"
            raise SettingsError.from_text(text, group)


def _check_override(line: str, sweeps: bool) -> None:
    """Refuse an override of Hydra's own that is of no use in this kind of run."""
    key, _, value = line.lstrip("+~").partition("=")
    if _is_of(key, _SET_BY_HYDRA):
        raise SettingsError(key, value, "is set by Hydra itself", f"leave it out: {_OUTPUTS}")
    if _is_of(key, ("hydra.job.config",)):  # names of directories that are not made here
        raise SettingsError(key, value, "has no effect here", f"leave it out: {_OUTPUTS}")
    if not sweeps and _is_of(key, _OF_SWEEPS):
        raise SettingsError(key, value, "is for sweeps", "add -m, or leave it out")
    if sweeps and _is_of(key, _OF_RUNS):
        raise SettingsError(key, value, "is for single runs", f"leave it out: {_OUTPUTS}")


def _is_of(key: str, keys: Sequence[str]) -> bool:
    return any(key == one or key.startswith((f"{one}.", f"{one}/", f"{one}@")) for one in keys)


def _check_unused(hydra: DictConfig, sweeps: bool) -> None:
    """Refuse values that differ from those of our own configuration, where nothing reads them."""
    default = _default_values()
    for key, remedy in {**_UNUSED, **dict.fromkeys(_unused_directories(hydra, sweeps), _OUTPUTS)}.items():
        value = _raw(hydra, key)
        if key in default and value != default[key]:
            shown = str(value).lower() if isinstance(value, bool) else value
            raise SettingsError(f"hydra.{key}", shown, "has no effect here", remedy)


def _unused_directories(hydra: DictConfig, sweeps: bool) -> Iterator[str]:
    """Of Hydra's directories those in which nothing is written."""
    logs = _text(hydra.job_logging)
    if not sweeps:
        if not _refers(logs, "runtime.output_dir", "run.dir"):
            yield "run.dir"
        return
    if not _refers(logs, "runtime.output_dir", "sweep.subdir"):
        yield "sweep.subdir"
    # Other sweepers write their results there, submitit its logs.
    if _is_ours(hydra.sweeper) and not _refers(logs + _text(hydra.launcher), "runtime.output_dir", "sweep.dir"):
        yield "sweep.dir"


def _refers(text: str, *keys: str) -> bool:
    return any(f"hydra.{key}" in text for key in keys)


def _text(node: Any) -> str:
    return "" if node is None else OmegaConf.to_yaml(node)


@cache
def _default_values() -> dict[str, Any]:
    hydra = OmegaConf.load(config_directory() / "config.yaml").hydra
    keys = ("run.dir", "sweep.dir", "sweep.subdir", "output_subdir", "job.chdir")
    return {key: _raw(hydra, key) for key in keys}


def _raw(hydra: DictConfig, key: str) -> Any:
    """The value of a key as it is written, with references."""
    *path, last = key.split(".")
    node: Any = OmegaConf.select(hydra, ".".join(path)) if path else hydra
    content = OmegaConf.to_container(OmegaConf.masked_copy(node, [last]), resolve=False)
    assert isinstance(content, dict)
    return content[last]


def _is_ours(sweeper: DictConfig) -> bool:
    return str(sweeper.get("_target_", "")).startswith("wavesweep.")


def _check_search(config: DictConfig) -> None:
    """Refuse a search whose sweeper something else has replaced, such as an experiment with one of its own."""
    search, sweeper = config.search.name, config.hydra.runtime.choices.get("hydra/sweeper")
    if search != "none" and sweeper != "search":
        experiment = config.hydra.runtime.choices.get("experiment")
        other = f"experiment={experiment}, or hydra/sweeper={sweeper}," if experiment else f"hydra/sweeper={sweeper}"
        raise SettingsError("search", search, f"is replaced by {other} which chooses another sweeper", "leave one out")


def _check_direction(hydra: DictConfig) -> None:
    """Refuse a sweeper that would look for the worst setting: a trial returns the validation accuracy."""
    name, sweeper = str(hydra.runtime.choices.get("hydra/sweeper")), hydra.sweeper
    more = "must be {}, since a trial returns its validation accuracy"
    remedy = "set it, or use search=pareto, which looks for small files too"
    known = False
    for key, wanted in _DIRECTIONS.items():
        value = OmegaConf.select(sweeper, key)
        if value is None:
            continue
        known = True
        shown = getattr(value, "name", value)
        if shown != wanted and shown != [wanted]:
            raise SettingsError(f"hydra.sweeper.{key}", shown, more.format(str(wanted).lower()), remedy)
    if not known:
        text = f"note: hydra/sweeper={name} is given the validation accuracy of each trial, of which more is better"
        say_aside(text)
    study, storage = sweeper.get("study_name"), sweeper.get("storage")
    if isinstance(study, str) and isinstance(storage, str | os.PathLike):
        before = directions_of_study(study, str(storage))
        if before not in ([], ["maximize"]):
            allowed = f"exists with direction {', '.join(before)}; {more.format('maximize')}"
            raise SettingsError("hydra.sweeper.study_name", study, allowed, "give a new name")
