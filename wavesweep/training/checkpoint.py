"""The files from which a retraining goes on: where it was killed, or where arms that share its beginning part."""

import gzip
import io
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import Tensor

from wavesweep.runtime.records import write_atomically

# A retraining in progress, and the network at the end of what arms share.
CHECKPOINT, TRAINED = "retraining.pt", "trained.pt.gz"


class Checkpoint(TypedDict):
    """A retraining after an epoch: the network and what trains it, the curve so far, and the best epoch.

    `unmeasured` is loss and seconds of the last epoch, which `curve` does not have yet. `quantizers` are coded tensors
    in the form that the last epochs started from, `scale` that of their steps; `best` is validation accuracy, number
    and state dict.
    """

    network: dict[str, Any]
    scale: float
    quantizers: list[Any]
    optimizers: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    unmeasured: tuple[float, float]
    best: tuple[float, int, dict[str, Tensor]] | None


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
    if not isinstance(saved, dict) or saved.keys() != Checkpoint.__annotations__.keys():
        return None
    return cast(Checkpoint, saved)
