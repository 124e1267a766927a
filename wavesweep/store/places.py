"""Where the records of trials and studies lie under `paths.outputs`."""

from pathlib import Path

from wavesweep.config import Settings


def trial_directory(settings: Settings, key: str) -> Path:
    """Where the record of the trial `key` lies."""
    return Path(settings.paths.outputs) / "runs" / key


def study_directory(settings: Settings) -> Path:
    """Where a search leaves what it finds."""
    search = settings.search
    name = search.study or f"{search.name}-{settings.model.name}-{settings.dataset.name}"
    return Path(settings.paths.outputs) / "studies" / name
