"""What an export leaves in the directory of its trial. Nothing here imports PyTorch or onnx."""

from collections.abc import Collection, Mapping
from pathlib import Path

from wavesweep.runtime.records import ONNX_FAILURE, ONNX_FILE, ONNX_RECORD, read_failure, read_json, read_trial
from wavesweep.runtime.shapes import Export
from wavesweep.settings.keys import trial_directory
from wavesweep.settings.schema import Settings


def is_exported(directory: Path) -> bool:
    """Whether the trial of `directory` has its ONNX file and the record of it."""
    return (directory / ONNX_FILE).exists() and read_json(directory / ONNX_RECORD, Export) is not None


def lacks_export(settings: Settings, key: str) -> bool:
    """Whether the trial `key` is done, and what `export` asks for is not there."""
    directory = trial_directory(settings, key)
    return settings.export != "none" and read_trial(directory) is not None and not is_exported(directory)


def export_problems(settings: Settings, keys: Collection[str], said: Mapping[str, str]) -> list[str]:
    """What to say about those of the trials whose export did not succeed, in a text; none where all did.

    Args:
        settings: of one of the trials.
        keys: of all of them.
        said: by key, what ended an attempt now that recorded no failure.
    """
    lacking = [key for key in keys if lacks_export(settings, key)]
    if not lacking:
        return []
    reasons = [reason for key in lacking if (reason := said.get(key) or _failure(settings, key))]
    reason = reasons[0] if reasons else "the process ended without a word"
    return [f"{len(lacking)} of {len(keys)} trials could not be exported ({reason})"]


def _failure(settings: Settings, key: str) -> str | None:
    return read_failure(trial_directory(settings, key) / ONNX_FAILURE)
