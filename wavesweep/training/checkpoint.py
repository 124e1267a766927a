"""The files from which a training continues: where it was stopped, or after the epochs that arms share."""

import gzip
import io
from pathlib import Path
from typing import Any, TypedDict, cast

import torch

from wavesweep.runtime.records import write_atomically
from wavesweep.runtime.shapes import Trained, has_shape

# A baseline's training in progress, a retraining in progress, and the network after the epochs that arms share.
BASELINE_CHECKPOINT, CHECKPOINT, TRAINED = "checkpoint.pt", "retraining.pt", "trained.pt.gz"


class DamagedCheckpointError(Exception):
    """A file from which a training was to continue does not fit it; it is removed, and the training starts anew."""


class Checkpoint(TypedDict):
    """A training after an epoch: the network and what trains it, and the learning curve so far.

    `unmeasured` is mean loss and seconds of the last epoch, of which `curve` has no row yet. `strategy` is what the
    strategy keeps besides.
    """

    network: dict[str, Any]
    optimizers: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    unmeasured: tuple[float, float]
    strategy: dict[str, Any]


def write_checkpoint(path: Path, content: Checkpoint) -> None:
    """Write `content`, whole or not at all; compressed if it is to stay: what is pruned is zeros."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    written = buffer.getvalue()
    write_atomically(path, gzip.compress(written, compresslevel=1) if path.name == TRAINED else written)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """What was written; None if there is nothing, or it is damaged or of another version."""
    try:
        written = path.read_bytes()
        buffer = io.BytesIO(gzip.decompress(written) if path.name == TRAINED else written)
        saved = torch.load(buffer, map_location="cpu", weights_only=True)
    except Exception:  # whatever a damaged file makes of unpickling
        return None
    whole = isinstance(saved, dict) and saved.keys() == Checkpoint.__annotations__.keys()
    if not whole or not has_shape({name: saved[name] for name in ("curve", "unmeasured")}, Trained):
        return None
    return cast(Checkpoint, saved)
