"""The file from which a killed retraining goes on."""

import io
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import Tensor

from wavesweep.store.records import write_atomically

CHECKPOINT = "retraining.pt"


class Checkpoint(TypedDict):
    """A retraining after an epoch: the network and what trains it, the curve so far, and the best epoch.

    `quantizers` are coded tensors in the form that the last epochs started from, `scale` that of their steps; `best` is
    validation accuracy, number and state dict.
    """

    network: dict[str, Any]
    scale: float
    quantizers: list[Any]
    optimizers: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    best: tuple[float, int, dict[str, Tensor]] | None


def write_checkpoint(path: Path, content: Checkpoint) -> None:
    """Write `content`, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path) -> Checkpoint | None:
    """What was written; None if there is nothing, or it is damaged or of another version."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # whatever a damaged file makes of unpickling
        return None
    if not isinstance(saved, dict) or saved.keys() != Checkpoint.__annotations__.keys():
        return None
    return cast(Checkpoint, saved)
