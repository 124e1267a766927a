"""The end of a range coder's stream: as few bytes as tell its last symbols apart, and how a reader knows it.

Words are big-endian, so that the least significant bytes come last, and zeros at the end are left off; the coder reads
zeros after its last word.
"""

from math import log2
from typing import Any

import numpy as np
import numpy.typing as npt

from wavesweep.errors import FileFormatError

# Longer streams are not shortened: their few bytes do not matter, and a reader's check codes the symbols once more.
_MOST_TO_SHORTEN = 1 << 15


def bits_written(coder: Any) -> float:
    """Bits that an encoder has used so far, with fractions."""
    position, (_, width) = coder.pos()
    return float(32 * position - log2(width))


def finished(coder: Any) -> bytes:
    """The stream of an encoder."""
    words: npt.NDArray[np.uint32] = coder.get_compressed()
    stream = words.astype(">u4").tobytes()
    if len(stream) > _MOST_TO_SHORTEN:
        return stream.rstrip(b"\0")
    # Any number from `low` on and below `low + width` decodes alike. The sealed words are one; take the roundest.
    position, (lower, width) = coder.pos()
    sealed = int.from_bytes(stream.ljust(4 * position + 8, b"\0"), "big")
    low = sealed - (sealed - lower) % (1 << 64)
    rounded = (-(-low >> shift) << shift for shift in range(64, -1, -8))
    chosen: int = next(number for number in rounded if number < low + width)
    return chosen.to_bytes(4 * position + 8, "big").rstrip(b"\0")


def words_of(stream: bytes) -> npt.NDArray[np.uint32]:
    """The words that a decoder reads.

    Raises:
        FileFormatError: no encoder makes such a stream.
    """
    if stream.endswith(b"\0"):
        raise FileFormatError("the coefficient stream ends with zeros, which are never stored")
    return np.frombuffer(stream + bytes(-len(stream) % 4), ">u4").astype(np.uint32)


def is_short(stream: bytes) -> bool:
    """Whether it must be the very stream that an encoder makes of its symbols."""
    return len(stream) <= _MOST_TO_SHORTEN
