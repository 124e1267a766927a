"""An outputs directory: whether it is there, single records in it, and which trials its sweeps asked for."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from wavesweep.errors import WavesweepError
from wavesweep.runtime.records import RESULT_FILE, read_json


class WrongArgumentError(WavesweepError):
    """A user named a directory, a file or a study that cannot be used; nothing was done."""


def checked_outputs(outputs: Path) -> Path:
    """`outputs`, if it is a directory.

    Raises:
        WrongArgumentError: it is none.
    """
    if not outputs.is_dir():
        kind = "is not a directory" if outputs.exists() else "does not exist"
        raise WrongArgumentError(
            f"{outputs} {kind}; give the paths.outputs of your sweeps, or run one first: python -m wavesweep"
        )
    return outputs


def read_record(outputs: Path, key: str) -> dict[str, Any] | None:
    """The record of a trial, or None where it can no longer be read."""
    try:
        record = json.loads((outputs / "runs" / key / RESULT_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def keys_of(outputs: Path, experiments: Collection[str]) -> set[str]:
    """Keys of all trials that sweeps of these experiments asked for, finished or not."""
    found: set[str] = set()
    for path in sorted(outputs.glob("sweeps/*/sweep.json")):
        asked = (read_json(path) or {}).get("experiments")
        if isinstance(asked, dict):
            found.update(*(asked[name] for name in experiments if isinstance(asked.get(name), list)))
    return found
