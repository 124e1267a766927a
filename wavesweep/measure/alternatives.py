"""What a network takes without wavesweep: as safetensors, compressed with gzip, and quantised to int8."""

import gzip
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from wavesweep.runtime.finite import is_finite


def gzip_bytes(state: Mapping[str, Tensor]) -> int:
    """Size of the state dict as safetensors under gzip at its default level."""
    return len(gzip.compress(_serialised(state), 6, mtime=0))


def dense_file_bytes(state: Mapping[str, Tensor]) -> int:
    """Size of the state dict as a safetensors file."""
    return len(_serialised(state))


def int8_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weight-only int8 quantisation after training: symmetric, one float32 scale per output unit.

    Returns:
        The state dict as the int8 file would give it back, and the sizes of that file, plain and under gzip.
    """
    stored: dict[str, Tensor] = {}
    decoded = dict(state)
    for name, value in state.items():
        is_weight = value.dim() > 1 and value.numel() > 0 and value.is_floating_point()
        if not is_weight or not is_finite(value):  # the mask of an attention is infinite
            stored[name] = value.clone()
            continue
        largest = value.abs().flatten(1).amax(1).clamp_min(1e-30)
        scale = (largest / 127).reshape(-1, *[1] * (value.dim() - 1))
        stored[name] = (value / scale).round().to(torch.int8)
        stored[f"{name}.scale"] = scale.flatten()
        decoded[name] = stored[name].float() * scale
    content = save(stored)
    return decoded, {"bytes": len(content), "gzip_bytes": len(gzip.compress(content, 6, mtime=0))}


def _serialised(state: Mapping[str, Tensor]) -> bytes:
    content: bytes = save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})
    return content
