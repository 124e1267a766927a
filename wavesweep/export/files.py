"""What an export leaves in the directory of its trial. Nothing here imports PyTorch or onnx."""

from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from wavesweep.config import Settings
from wavesweep.errors import SettingsError
from wavesweep.store.places import trial_directory
from wavesweep.store.records import RESULT_FILE, read_json

# The record is written after the file, and the failure in its place.
ONNX_FILE, ONNX_RECORD, ONNX_FAILURE = "model.onnx", "onnx.json", "onnx_failure.json"


def is_exported(directory: Path) -> bool:
    """Whether the trial of `directory` has its ONNX file and the record of it."""
    return (directory / ONNX_FILE).exists() and (directory / ONNX_RECORD).exists()


def lacks_export(settings: Settings, key: str) -> bool:
    """Whether the trial `key` is done, and what `export` asks for is not there."""
    directory = trial_directory(settings, key)
    return settings.export != "none" and (directory / RESULT_FILE).exists() and not is_exported(directory)


def export_problems(settings: Settings, keys: Collection[str]) -> list[str]:
    """What to say about those of the trials whose export did not succeed, in a text; none where all did."""
    lacking = [key for key in keys if lacks_export(settings, key)]
    if not lacking:
        return []
    failure = read_json(trial_directory(settings, lacking[0]) / ONNX_FAILURE)
    reason = failure["reason"] if failure else "the process ended without a word"
    return [f"{len(lacking)} of {len(keys)} trials could not be exported ({reason})"]


def check_packages() -> None:
    """Refuse an export where a package that it needs is absent.

    Raises:
        SettingsError: naming it.
    """
    if missing := _missing_packages():
        allowed = f"needs packages that are not installed ({', '.join(missing)})"
        raise SettingsError("export", "onnx", allowed, "pip install 'wavesweep[onnx]'")


@lru_cache  # a sweep asks for each of its points
def _missing_packages() -> tuple[str, ...]:
    return tuple(name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None)
