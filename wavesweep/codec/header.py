"""The tensor entries of a file's header: made from tensors, and checked to the last number before they are believed."""

import sys
from collections.abc import Mapping
from functools import cache
from math import prod
from typing import Any

import pywt
from torch import Tensor

from wavesweep.codec.limits import Budget, Limits
from wavesweep.codec.tensors import RawTensor, SameTensor, StoredTensor
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import Codebook, Steps
from wavesweep.settings import registry
from wavesweep.transform.basis import BasisSpec, make_basis

_MOST_AXES = 8
_FLOATS = ("float16", "float32")
_NUMPY = {
    **{name: name for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")},
    "bool": "bool",
}
# bfloat16 has no numpy type; its numbers are stored as float32.
_TORCH = (*_NUMPY, "bfloat16")


def unstorable(state: Mapping[str, object]) -> str | None:
    """Which entry of a state dict no file can hold, and why; None if all can be stored."""
    for name, value in state.items():
        if not isinstance(value, Tensor):
            return f"{name!r} is no tensor"
        if str(value.dtype).removeprefix("torch.") not in _TORCH:
            return f"{name!r} is of {str(value.dtype).removeprefix('torch.')}; known are {', '.join(_TORCH)}"
        if value.dim() > _MOST_AXES:
            return f"{name!r} has {value.dim()} axes; at most {_MOST_AXES} are known"
        if not _is_name(name):
            return f"the name {name!r} has characters that cannot be printed, or more than 500"
    return None


def describe(tensor: StoredTensor) -> dict[str, Any]:
    """The header's entry of a tensor."""
    if isinstance(tensor, SameTensor):
        return {"kind": "same", "name": tensor.name, "of": tensor.of}
    if isinstance(tensor, RawTensor):
        shape = list(tensor.values.shape)
        return {
            "kind": "raw",
            "name": tensor.name,
            "shape": shape,
            "stored": str(tensor.values.dtype),
            "dtype": tensor.dtype,
        }
    basis = {key: value for key, value in vars(tensor.basis).items() if value not in ("", (), 0)}
    entry: dict[str, Any] = {"kind": "coded", "name": tensor.name, "shape": tensor.shape, "basis": basis}
    if tensor.view != tensor.shape:
        entry["view"] = tensor.view
    rule = tensor.reconstruction
    if isinstance(rule, Steps):
        return entry | {"values": {"steps": rule.steps}}
    if isinstance(rule, Codebook):
        return entry | {"values": {"codebook": [len(rule.negative), len(rule.positive)]}}
    return entry | {"values": {"each": str(rule.values.dtype)}}


def checked_entries(header: dict[str, Any], limits: Limits, size_bytes: int) -> list[dict[str, Any]]:
    """The header's tensor entries once everything in them is known to be sound.

    Raises:
        FileFormatError: something is not, or they declare more than `limits` allow a file of `size_bytes`.
    """
    entries = header.get("tensors")
    if not isinstance(entries, list):
        raise FileFormatError("its header lists no tensors")
    checked: list[dict[str, Any]] = []
    names: dict[str, int] = {}  # and how many numbers each has
    budget = Budget(limits, size_bytes)
    for entry in entries:
        if not isinstance(entry, dict) or not _is_name(entry.get("name")) or entry["name"] in names:
            raise FileFormatError("its header has a tensor without a proper name, or a name twice")
        name = entry["name"]
        kind = entry.get("kind")
        if kind == "same":
            if not _is_name(entry.get("of")) or entry["of"] not in names:
                raise FileFormatError(f"tensor {name} is the same as one that does not come before it")
            count = names[entry["of"]]  # a copy for whoever decodes it
            budget.take(count)
        elif kind in ("raw", "coded"):
            entry = {**entry, "shape": _shape(entry.get("shape"), name, budget)}
            if kind == "raw":
                count = prod(entry["shape"])
                budget.take(count)
                if entry.get("stored") not in tuple(_NUMPY) or entry.get("dtype") not in _TORCH:
                    raise FileFormatError(f"tensor {name} is of an unknown type")
            else:
                entry, count = _checked_coded(entry, name, budget)
        else:
            raise FileFormatError(f"tensor {name} is of an unknown kind")
        names[name] = count
        checked.append(entry)
    budget.finish()
    return checked


def _checked_coded(entry: dict[str, Any], name: str, budget: Budget) -> tuple[dict[str, Any], int]:
    view = _shape(entry.get("view", entry["shape"]), name, budget)
    if prod(view) != prod(entry["shape"]):
        raise FileFormatError(f"tensor {name} has a view of another size than its shape")
    basis = _checked_basis(entry.get("basis"), view, name)
    # Before the bands are listed, as they are in a basis.
    splits = [sum(most > level for most in basis["levels"]) for level in range(max(basis["levels"], default=0))]
    budget.check_bands(name, 1 + sum((1 << axes) - 1 for axes in splits))
    made = make_basis(BasisSpec(**basis), view)
    bands = made.bands
    count = sum(prod(band.shape) for band in bands)
    budget.take(count, len(bands))
    budget.take_matrices(made.random_matrices)
    values = entry.get("values")
    if not isinstance(values, dict) or len(values) != 1:
        raise FileFormatError(f"tensor {name} does not say what its symbols stand for")
    steps, book = values.get("steps"), values.get("codebook")
    sound = (
        (isinstance(steps, list) and len(steps) in (1, len(bands)) and all(_is_number(step) for step in steps))
        or (isinstance(book, list) and len(book) == 2 and all(type(n) is int and 0 <= n <= 1 << 20 for n in book))
        or values.get("each") in _FLOATS
    )
    if not sound:
        raise FileFormatError(f"tensor {name} does not say what its symbols stand for")
    return {**entry, "view": view, "basis": basis}, count


def _checked_basis(basis: object, view: tuple[int, ...], name: str) -> dict[str, Any]:
    error = FileFormatError(f"tensor {name} has an unknown or broken basis")
    kinds = registry.rows(registry.Basis)
    if not isinstance(basis, dict) or basis.get("kind") not in tuple(kinds):
        raise error
    kind = kinds[basis["kind"]]
    # Older files have a name for each basis that has a seed.
    if basis.keys() - {"kind", *kind.stores, *(("name",) if kind.is_seeded else ())}:
        raise error
    axes, levels = basis.get("axes", []), basis.get("levels", [])
    lists = isinstance(axes, list) and isinstance(levels, list)
    if not lists or not all(type(n) is int for n in [*axes, *levels]):
        raise error
    if len(set(axes)) != len(axes) or any(not 0 <= axis < len(view) for axis in axes):
        raise error
    if type(basis.get("seed", 0)) is not int or not _is_name(basis.get("name", "")):
        raise error
    if kind.has_levels:
        known = basis.get("wavelet") in _wavelets() and basis.get("mode") in pywt.Modes.modes
        # More levels than an axis allows, or on a huge filter, would only make the padding grow.
        if not known or len(levels) != len(axes):
            raise error
        taps = _taps(basis["wavelet"])
        for axis, level in zip(axes, levels, strict=True):
            if not 0 <= level <= pywt.dwt_max_level(view[axis], taps):
                raise error
        if not any(levels):
            raise error
    return {**basis, "axes": tuple(axes), "levels": tuple(levels)}


@cache
def _wavelets() -> tuple[str, ...]:
    return tuple(pywt.wavelist(kind="discrete"))


@cache
def _taps(wavelet: str) -> int:
    return int(pywt.Wavelet(wavelet).dec_len)


def _shape(shape: Any, name: str, budget: Budget) -> tuple[int, ...]:
    if (
        not isinstance(shape, list | tuple)
        or len(shape) > _MOST_AXES
        or not all(type(n) is int and n >= 0 for n in shape)
    ):
        raise FileFormatError(f"tensor {name} has no sound shape")
    # An axis of length 0 must not hide others that are huge.
    budget.check_numbers(prod(max(n, 1) for n in shape))
    return tuple(shape)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= sys.float_info.max  # type: ignore[operator]


def _is_name(value: object) -> bool:
    """Whether it can be the name of a tensor, and be shown in an error of one line."""
    return isinstance(value, str) and len(value) <= 500 and value.isprintable()
