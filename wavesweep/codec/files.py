"""Compressed files on disk: writing, reading, and filling a network; nothing is ever unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from torch import Tensor, nn

from wavesweep.codec.header import MOST_ELEMENTS
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import StoredTensor, state_dict
from wavesweep.errors import FileFormatError

Model = TypeVar("Model", bound=nn.Module)


@overload
def load(path: str | Path, model: None = None, *, most_elements: int = ...) -> dict[str, Tensor]: ...
@overload
def load(path: str | Path, model: Model, *, most_elements: int = ...) -> Model: ...
def load(path: str | Path, model: nn.Module | None = None, *, most_elements: int = MOST_ELEMENTS) -> Any:
    """Decode a `.wsz` file.

    Args:
        path: the file.
        model: a network to fill; its tensors' names and shapes must be the file's.
        most_elements: refuse a file that declares more numbers than this.

    Returns:
        The state dict (float32 unless stored otherwise), or `model` with it.

    Raises:
        FileFormatError: the file is damaged or does not fit `model`, which is then left as it was.
        OSError: the file cannot be read.
    """
    state = state_dict(read(path, most_elements)[0])
    if model is None:
        return state
    _check_fit(path, state, model.state_dict())
    model.load_state_dict(state)
    return model


def read(path: str | Path, most_elements: int = MOST_ELEMENTS) -> tuple[list[StoredTensor], dict[str, Any]]:
    """The stored tensors of a file, and its header.

    Raises:
        FileFormatError: the file is damaged; the message names it.
    """
    try:
        return unpack(Path(path).read_bytes(), most_elements)
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None


def _check_fit(path: str | Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    problems = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape),
    }
    text = "; ".join(f"{what}: {', '.join(names[:5])}" for what, names in problems.items() if names)
    if text:
        raise FileFormatError(f"{path}: does not fit the model ({text})")


def tensor_table(tensors: list[StoredTensor]) -> list[dict[str, Any]]:
    """One row per tensor: name, kind, shape, numbers, share of zeros, and how its numbers are stored."""
    rows = []
    for tensor, (name, value) in zip(tensors, state_dict(tensors).items(), strict=True):
        row: dict[str, Any] = {"tensor": name, "shape": "x".join(map(str, value.shape)) or "1"}
        basis = getattr(tensor, "basis", None)
        symbols = getattr(tensor, "symbols", None)
        if basis is not None and symbols is not None:
            row["basis"] = f"{basis.wavelet} {list(basis.levels)}" if basis.wavelet else basis.kind
            row["values"] = type(tensor.reconstruction).__name__.lower()  # type: ignore[union-attr]
            row["numbers"], row["zero"] = symbols.size, float((symbols == 0).mean()) if symbols.size else 0.0
        else:
            stored = getattr(tensor, "values", None)
            row["basis"], row["values"] = "-", f"same as {tensor.of}" if stored is None else str(stored.dtype)  # type: ignore[union-attr]
            row["numbers"], row["zero"] = value.numel(), float((value == 0).float().mean()) if value.numel() else 0.0
        row["dtype"] = str(value.dtype).removeprefix("torch.")
        rows.append(row)
    return rows


def finite(state: Mapping[str, Tensor]) -> bool:
    """Whether all decoded numbers are finite."""
    return all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point())
