"""Reading a compressed file, and what can be told of its tensors; nothing is ever unpickled."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wavesweep.codec.limits import DEFAULT_LIMITS, Limits
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import RawTensor, SameTensor, StoredTensor, state_dict
from wavesweep.errors import FileFormatError
from wavesweep.runtime.finite import is_storable


def read(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> tuple[list[StoredTensor], dict[str, Any]]:
    """The stored tensors of a file, and its header.

    Raises:
        FileFormatError: the file is damaged, or declares more than `limits` allow; the message names it.
    """
    try:
        return unpack(Path(path).read_bytes(), limits)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None


def raw_bytes(header: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each tensor that is stored number by number, by name, from the header of a file."""
    return {
        entry["name"]: int(prod(entry["shape"])) * int(np.dtype(entry["stored"]).itemsize)
        for entry in header["tensors"]
        if entry["kind"] == "raw"
    }


def tensor_table(tensors: list[StoredTensor]) -> list[dict[str, Any]]:
    """One row per tensor: name, shape, basis, how its numbers are stored, how many, and the share of zeros."""
    return [
        {
            "tensor": name,
            "shape": "x".join(map(str, value.shape)) or "1",
            **_stored_as(tensor, value),
            "dtype": str(value.dtype).removeprefix("torch."),
        }
        for tensor, (name, value) in zip(tensors, state_dict(tensors).items(), strict=True)
    ]


def _stored_as(tensor: StoredTensor, value: Tensor) -> dict[str, Any]:
    basis, values, numbers = "-", "", (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(tensor, SameTensor):
        values = f"same as {tensor.of}"
    elif isinstance(tensor, RawTensor):
        values = str(tensor.values.dtype)
    else:
        basis = " ".join([tensor.basis.wavelet or tensor.basis.kind, *map(str, tensor.basis.levels)])
        values, numbers = type(tensor.reconstruction).__name__.lower(), tensor.symbols
    zero = float((numbers == 0).mean()) if numbers.size else 0.0
    return {"basis": basis, "values": values, "numbers": numbers.size, "zero": zero}


def finite(state: Mapping[str, Tensor]) -> bool:
    """Whether all decoded numbers are finite, or infinite where a mask may be."""
    return all(is_storable(value) for value in state.values() if value.is_floating_point())
