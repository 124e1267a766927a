"""A whole network as the bytes of a `.wsz` file, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from wavesweep.codec.container import read_container, write_container
from wavesweep.codec.header import checked_entries, describe
from wavesweep.codec.limits import DEFAULT_LIMITS, Limits
from wavesweep.codec.planes import Plane, planes_of
from wavesweep.codec.tensors import RawTensor, SameTensor, StoredTensor
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import Codebook, CodedTensor, Reconstruction, Steps, Symbols, Values
from wavesweep.settings import registry
from wavesweep.transform.basis import BasisSpec, make_basis


def pack(
    tensors: Sequence[StoredTensor],
    coder: str,
    full_shapes: Mapping[str, Sequence[int]] | None = None,
    made_by: Mapping[str, Any] | None = None,
) -> bytes:
    """The bytes of a file that holds `tensors`.

    `full_shapes` are those of tensors that lost units, by name: what they are in the network of full size. `made_by` is
    kept in the header as it is; it costs bytes, and the record of a trial has it anyway.
    """
    coded = [tensor for tensor in tensors if isinstance(tensor, CodedTensor)]
    content = [(_planes(tensor), tensor.band_symbols()) for tensor in coded]
    stream: bytes = registry.row(registry.Codec, coder).load().encode(content)
    numbers = [part for tensor in tensors for part in _raw_parts(tensor)]
    header: dict[str, Any] = {"coder": coder, "tensors": [describe(tensor) for tensor in tensors]}
    if made_by is not None:
        header["made_by"] = dict(made_by)
    if full_shapes:
        header["full_shapes"] = {name: list(shape) for name, shape in full_shapes.items()}
    return write_container(header, (stream, b"".join(numbers)))


def unpack(content: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[list[StoredTensor], dict[str, Any]]:
    """Tensors and header of a file's bytes.

    Raises:
        FileFormatError: it is damaged, or declares more than `limits` allow a file of its size.
    """
    header, streams = read_container(content, limits.header_bytes)
    entries = checked_entries(header, limits, len(content))
    coder = header.get("coder")
    if not isinstance(coder, str) or coder not in registry.rows(registry.Codec):
        known = ", ".join(registry.rows(registry.Codec))
        raise FileFormatError(f"is coded by {str(coder)[:40]!r}; known are {known}")
    coded = [_empty(entry) for entry in entries if entry["kind"] == "coded"]
    all_planes: list[Sequence[Plane]] = [_planes(tensor) for tensor in coded]
    decoded: list[list[Symbols]] = registry.row(registry.Codec, coder).load().decode(streams[0], all_planes)
    numbers = _Numbers(streams[1])
    tensors: list[StoredTensor] = []
    position = 0
    for entry in entries:
        if entry["kind"] == "coded":
            # Bands are dropped as they are joined, since a tensor may be large.
            bands, decoded[position] = decoded[position], []
            symbols = bands[0].reshape(-1) if len(bands) == 1 else np.concatenate([band.reshape(-1) for band in bands])
            tensor = replace(coded[position], symbols=symbols)
            tensors.append(_coded(tensor, entry["values"], numbers))
            position += 1
        elif entry["kind"] == "raw":
            values = numbers.take(entry["stored"], prod(entry["shape"])).reshape(entry["shape"])
            tensors.append(RawTensor(entry["name"], values, entry["dtype"]))
        else:
            tensors.append(SameTensor(entry["name"], entry["of"]))
    numbers.finish()
    return tensors, header


def _planes(tensor: CodedTensor) -> list[Plane]:
    bands = make_basis(tensor.basis, tensor.view).bands
    return planes_of([(band.level, band.orientation, band.shape) for band in bands])


def _raw_parts(tensor: StoredTensor) -> list[bytes]:
    if isinstance(tensor, RawTensor):
        return [_little_endian(tensor.values)]
    if isinstance(tensor, CodedTensor) and isinstance(tensor.reconstruction, Codebook):
        rule = tensor.reconstruction
        return [_little_endian(part.astype(np.float16)) for part in (rule.negative, rule.positive)]
    if isinstance(tensor, CodedTensor) and isinstance(tensor.reconstruction, Values):
        return [_little_endian(tensor.reconstruction.values)]
    return []


def _little_endian(values: npt.NDArray[Any]) -> bytes:
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


class _Numbers:
    """The stream of raw numbers, taken from the front."""

    def __init__(self, stream: bytes) -> None:
        self._stream, self._start = stream, 0

    def take(self, kind: str, count: int) -> npt.NDArray[Any]:
        """The next `count` numbers."""
        dtype = np.dtype(kind).newbyteorder("<")
        size = dtype.itemsize * count
        if self._start + size > len(self._stream):
            raise FileFormatError("its raw numbers end too early")
        values = np.frombuffer(self._stream, dtype, count, self._start)
        self._start += size
        return values.astype(np.dtype(kind))

    def finish(self) -> None:
        """All numbers must have been taken."""
        if self._start != len(self._stream):
            raise FileFormatError("it has more raw numbers than its tensors")


def _coded(tensor: CodedTensor, values: dict[str, Any], numbers: _Numbers) -> CodedTensor:
    rule: Reconstruction = tensor.reconstruction
    symbols = tensor.symbols
    if "codebook" in values:
        below, above = values["codebook"]
        rule = Codebook(numbers.take("float16", below), numbers.take("float16", above))
        if symbols.size and (int(symbols.min()) < -below or int(symbols.max()) > above):
            raise FileFormatError(f"tensor {tensor.name} has a symbol outside its codebook")
    elif "each" in values:
        rule = Values(numbers.take(values["each"], int(np.count_nonzero(symbols))))
    return replace(tensor, reconstruction=rule)


def _empty(entry: dict[str, Any]) -> CodedTensor:
    steps = Steps(tuple(entry["values"].get("steps", ())))
    basis = BasisSpec(**entry["basis"])
    return CodedTensor(entry["name"], entry["shape"], entry["view"], basis, np.zeros(0, np.int32), steps)
