"""Integers of a fixed number of bits, packed into bytes, most significant bit first."""

import numpy as np
import numpy.typing as npt

from wavesweep.errors import FileFormatError

# Values unpacked at once; a multiple of 8, so that every piece begins at a byte.
_PIECE = 1 << 20


def pack_bits(values: npt.NDArray[np.integer], width: int) -> bytes:
    """`values`, each in `width` bits (0 to 32), as bytes; the last one is filled with zeros."""
    shifts = np.arange(width - 1, -1, -1, dtype=np.uint64)
    parts = []
    for start in range(0, values.size if width else 0, _PIECE):
        piece = values[start : start + _PIECE].astype(np.uint64)
        parts.append(np.packbits(((piece[:, None] >> shifts) & np.uint64(1)).astype(np.uint8)).tobytes())
    return b"".join(parts)


def packed_size(count: int, width: int) -> int:
    """Bytes that `pack_bits` makes of `count` values."""
    return (count * width + 7) // 8


def unpack_bits(packed: bytes, count: int, width: int) -> npt.NDArray[np.int64]:
    """Inverse of `pack_bits`.

    Raises:
        FileFormatError: `packed` is too short.
    """
    if len(packed) < packed_size(count, width):
        raise FileFormatError("packed numbers are cut off")
    values = np.zeros(count, np.int64)
    for start in range(0, count if width else 0, _PIECE):
        number = min(_PIECE, count - start)
        source = np.frombuffer(packed, np.uint8, packed_size(number, width), start * width // 8)
        bits = np.unpackbits(source, count=number * width).reshape(number, width)
        for column in range(width):
            values[start : start + number] |= bits[:, column].astype(np.int64) << (width - 1 - column)
    return values


class Reader:
    """Takes bytes from the front of a stream."""

    def __init__(self, stream: bytes) -> None:
        self._stream, self._start = stream, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            FileFormatError: there are fewer.
        """
        part = self._stream[self._start : self._start + size]
        if size < 0 or len(part) != size:
            raise FileFormatError("the coefficient stream is cut off")
        self._start += size
        return part

    def finish(self) -> None:
        """All bytes must have been taken."""
        if self._start != len(self._stream):
            raise FileFormatError("the coefficient stream is longer than its tensors")
