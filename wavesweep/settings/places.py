"""Where the records of trials and studies lie under `paths.outputs`."""

from pathlib import Path

from wavesweep.settings.schema import Settings


def trial_directory(settings: Settings, key: str) -> Path:
    """Where the record of the trial `key` lies."""
    return Path(settings.paths.outputs) / "runs" / key


def study_directory(settings: Settings) -> Path:
    """Where a search leaves what it finds."""
    search = settings.search
    # torchvision's resnet18 is another network than the zoo's.
    source = "" if settings.model.source == "zoo" else f"{settings.model.source}-"
    name = search.study or f"{search.name}-{source}{settings.model.name}-{settings.dataset.name}"
    return Path(settings.paths.outputs) / "studies" / name
