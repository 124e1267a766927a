"""The index of a checkpoint that lies in several files, as Hugging Face writes them: which tensor is in which file."""

import json
from pathlib import Path, PurePosixPath, PureWindowsPath

from wavesweep.errors import SettingsError

_KEY = "model.checkpoint"


def is_index(path: str) -> bool:
    """Whether a checkpoint is named by the index of its files."""
    return path.endswith(".json")


def files_of_index(path: str) -> dict[Path, list[str]]:
    """The files that an index names, sorted, and the tensors that are in each.

    Raises:
        SettingsError: it cannot be read, is no index, or names a file elsewhere.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(_KEY, path, f"cannot be read ({error.strerror})", "give an existing file") from None
    except (ValueError, RecursionError):
        raise _refusal(path, "it is not JSON") from None
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(file, str) for file in names.values()):
        raise _refusal(path, "it has no weight_map of names and files")
    found: dict[Path, list[str]] = {}
    for name, file in sorted(names.items(), key=lambda item: item[1]):
        if not _is_beside(file):
            raise _refusal(path, f"it names the file {file!r}, which is not beside it")
        found.setdefault(Path(path).parent / file, []).append(name)
    return found


def _is_beside(file: str) -> bool:
    return file not in ("", ".", "..") and PurePosixPath(file).name == file == PureWindowsPath(file).name


def _refusal(path: str, reason: str) -> SettingsError:
    return SettingsError(_KEY, path, "must be the index of a sharded checkpoint", f"{reason}")
