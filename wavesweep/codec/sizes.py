"""Sizes as files store them: 7 bits per byte, the lowest first, the top bit set where more follow."""

from collections.abc import Sequence

from wavesweep.errors import FileFormatError

# A size has at most this many bytes.
_MOST_BYTES = 9


def joined_sizes(sizes: Sequence[int]) -> bytes:
    """The bytes of several sizes."""
    parts = []
    for size in sizes:
        while size > 127:
            parts.append(128 | (size & 127))
            size >>= 7
        parts.append(size)
    return bytes(parts)


def read_sizes(content: bytes, start: int, number: int) -> tuple[list[int], int]:
    """So many sizes from `start` on, and where they end.

    Raises:
        FileFormatError: they are cut off, or not as `joined_sizes` writes them.
    """
    sizes = []
    for _ in range(number):
        size = 0
        for shift in range(0, 7 * _MOST_BYTES, 7):
            if start >= len(content):
                raise FileFormatError("cut off in its sizes")
            byte = content[start]
            start += 1
            size |= (byte & 127) << shift
            if byte < 128:
                break
        else:
            raise FileFormatError("declares a size beyond all bounds")
        if shift and byte == 0:
            raise FileFormatError("declares a size in more bytes than it needs")
        sizes.append(size)
    return sizes, start
