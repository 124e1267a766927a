"""Content-addressed keys: what enters them, and how they are made.

A key is the hash of the settings that can change a result. Only settings that differ from the schema's default
enter, so that a setting added later does not change the keys of results that exist. Whoever changes the
meaning of an existing setting, or a default, raises `KEY_VERSION`.
"""

import hashlib
import json
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from wavesweep.settings.schema import VOLATILE, DatasetSettings, Settings, TaskSettings

# Of trials, baselines, compressed variants and points of a scan.
KEY_VERSION = 6
# Settings that are paths: what they name counts, by a digest, and not where it lies.
PATHS = (("model", "checkpoint"), ("dataset", "path"), ("threshold", "sensitivity"))


def hash_of(content: Any) -> str:
    """16 hexadecimal digits of SHA-256 over the canonical JSON of `content`."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def trial_key(settings: Settings, input_digests: dict[str, str] | None = None) -> str:
    """Key of a trial's record.

    `input_digests` stand for files that the settings only name: of a checkpoint the content counts, of a folder
    of images the names and sizes of its files, of a sensitivity table the content; the place of none does.
    """
    content = differences(_of_results(settings))
    for name in VOLATILE:
        content.pop(name, None)
    return hash_of({"version": KEY_VERSION, "settings": without_paths(content), "inputs": input_digests or {}})


def baseline_key(settings: Settings, input_digests: dict[str, str] | None = None) -> str:
    """Key of a trained baseline: the model, its recipe, the data set and the seed."""
    content = {
        "model": differences(settings.model),
        "dataset": differences(_of_results(settings).dataset),
        "seed": settings.seed,
    }
    if task := differences(settings.task):  # not of classification, whose keys are older than tasks
        content["task"] = task
    return hash_of({"version": KEY_VERSION, "baseline": without_paths(content), "inputs": input_digests or {}})


def _of_results(settings: Settings) -> Settings:
    """Without what changes nothing but the time that is taken."""
    return replace(settings, dataset=replace(settings.dataset, workers=DatasetSettings().workers))


def trial_directory(settings: Settings, key: str) -> Path:
    """Where the record of the trial `key` lies."""
    return Path(settings.paths.outputs) / "runs" / key


def study_directory(settings: Settings) -> Path:
    """Where a search leaves what it finds."""
    search = settings.search
    # torchvision's resnet18 is another network than the zoo's.
    source = "" if settings.model.source == "zoo" else f"{settings.model.source}-"
    task = "" if settings.task == TaskSettings() else f"-{settings.task.name}"
    name = search.study or f"{search.name}-{source}{settings.model.name}-{settings.dataset.name}{task}"
    return Path(settings.paths.outputs) / "studies" / name


def without_paths(content: dict[str, Any]) -> dict[str, Any]:
    """`content` without the settings that are replaced by the digest of what they name."""
    for group, name in PATHS:
        if name in content.get(group, {}):
            content[group] = {key: value for key, value in content[group].items() if key != name}
    return content


def differences(node: Any) -> dict[str, Any]:
    """Fields of a settings dataclass that differ from their defaults, nested ones likewise."""
    found: dict[str, Any] = {}
    for entry in fields(node):
        value = getattr(node, entry.name)
        if is_dataclass(value):
            nested = differences(value)
            if nested:
                found[entry.name] = nested
            continue
        if entry.type in (float, "float", float | None) and value is not None:
            value = float(value)  # 90 and 90.0 are one setting; Hydra converts, a Python caller may not
        if value != default_of(entry):
            found[entry.name] = _plain(value)
    return found


def default_of(entry: "Field[Any]") -> Any:
    """The default of a field of a dataclass."""
    return entry.default_factory() if entry.default_factory is not MISSING else entry.default


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return differences(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
