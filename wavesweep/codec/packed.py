"""No entropy coding: symbols in a fixed number of bits, with a bit mask of the zeros where that is smaller.

Per tensor: mode (1 byte: 0 dense, 1 masked), lowest symbol (4 bytes, signed), bits per symbol (1 byte), number of
symbols that are not zero (8 bytes), then the mask (masked only), then the symbols less the lowest; integers are
little-endian.
"""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wavesweep.codec.bits import Reader, pack_bits, packed_size, unpack_bits
from wavesweep.codec.planes import Plane, by_plane, total_size
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import LARGEST, Symbols

_HEAD = struct.Struct("<BiBQ")


def encode(tensors: Sequence[tuple[Sequence[Plane], Sequence[Symbols]]]) -> bytes:
    """Code the bands of tensors."""
    parts = []
    for _, bands in tensors:
        symbols = np.concatenate([band.reshape(-1) for band in bands]).astype(np.int64)
        present = symbols[symbols != 0]
        dense, masked = _width(symbols), _width(present)
        if packed_size(symbols.size, dense) <= packed_size(symbols.size, 1) + packed_size(present.size, masked):
            lowest = int(symbols.min(initial=0))
            parts.append(_HEAD.pack(0, lowest, dense, present.size) + pack_bits(symbols - lowest, dense))
        else:
            lowest = int(present.min(initial=0))
            mask = pack_bits((symbols != 0).astype(np.int64), 1)
            parts.append(_HEAD.pack(1, lowest, masked, present.size) + mask + pack_bits(present - lowest, masked))
    return b"".join(parts)


def decode(stream: bytes, tensors: Sequence[Sequence[Plane]]) -> list[list[Symbols]]:
    """Inverse of `encode`, given the planes.

    Raises:
        FileFormatError: the stream is not one that `encode` makes.
    """
    reader = Reader(stream)
    decoded: list[list[Symbols]] = []
    for planes in tensors:
        count = total_size(planes)
        mode, lowest, width, number = _HEAD.unpack(reader.take(_HEAD.size))
        if mode > 1 or width > 32 or number > count:
            raise FileFormatError("a tensor's packed symbols have an unknown form")
        if mode == 0:
            symbols = unpack_bits(reader.take(packed_size(count, width)), count, width)
            symbols += lowest
        else:
            mask = np.unpackbits(np.frombuffer(reader.take(packed_size(count, 1)), np.uint8), count=count) > 0
            if int(mask.sum()) != number:
                raise FileFormatError("a tensor's mask does not fit the number of its symbols")
            symbols = np.zeros(count, np.int64)
            symbols[mask] = unpack_bits(reader.take(packed_size(number, width)), number, width) + lowest
        if max(-int(symbols.min(initial=0)), int(symbols.max(initial=0))) > LARGEST:
            raise FileFormatError("a symbol is too large")
        decoded.append(by_plane(symbols.astype(np.int32), planes))
    reader.finish()
    return decoded


def _width(symbols: npt.NDArray[np.int64]) -> int:
    return int(int(symbols.max(initial=0)) - int(symbols.min(initial=0))).bit_length() if symbols.size else 0
