"""An outputs directory: whether it is there, single records in it, and which trials its sweeps asked for."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from wavesweep.errors import StoreError, WavesweepError
from wavesweep.runtime.records import damage, read_json, read_trial
from wavesweep.runtime.shapes import Sweep


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
        return read_trial(outputs / "runs" / key)
    except StoreError:
        return None


def keys_of(outputs: Path, experiments: Collection[str]) -> set[str]:
    """Keys of all trials that sweeps of these experiments asked for, finished or not."""
    found: set[str] = set()
    for path in _sweeps(outputs):
        asked = (read_json(path, Sweep) or {}).get("experiments", {})
        found.update(*(asked[name] for name in experiments if name in asked))
    return found


def damaged_sweeps(outputs: Path) -> list[str]:
    """A line for each sweep of which it cannot be read which trials it asked for."""
    found = ((path, damage(path, Sweep)) for path in _sweeps(outputs))
    return [
        f"{path} is damaged ({reason}); the command of that sweep, given again, writes it anew"
        for path, reason in found
        if reason is not None
    ]


def _sweeps(outputs: Path) -> list[Path]:
    return sorted(outputs.glob("sweeps/*/sweep.json"))
