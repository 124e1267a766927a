"""The outer shell of a `.wsz` file: magic, version, a checksummed header, checksummed streams.

    offset  size  what
         0     4  magic, 89 57 53 5A
         4     2  version, 3
         6     4  CRC-32 of everything after it
        10     -  three sizes: of the compressed header, of stream 0, of stream 1; 7 bits per byte, the lowest first,
                  the top bit set where more follow
                  header: JSON in UTF-8, compressed as a raw deflate stream with a preset dictionary
                  stream 0, stream 1

All integers are unsigned and little-endian. `docs/reference/format.md` describes the header and the streams.
"""

import json
import struct
import sys
import zlib
from typing import Any, NamedTuple

from wavesweep.codec.limits import DEFAULT_LIMITS, beyond
from wavesweep.codec.short_header import DICTIONARY, expand, shorten
from wavesweep.codec.sizes import joined_sizes, read_sizes
from wavesweep.errors import FileFormatError

MAGIC = b"\x89WSZ"
VERSION = 3
_PREFIX = struct.Struct("<4sHI")
_RAW_DEFLATE = -15


class Container(NamedTuple):
    """What a file holds: its header in the long form, and the streams of coefficients and of numbers."""

    header: dict[str, Any]
    streams: tuple[bytes, bytes]


def write_container(header: dict[str, Any], streams: tuple[bytes, bytes]) -> bytes:
    """The bytes of a file."""
    return join(json.dumps(shorten(header), separators=(",", ":"), allow_nan=False).encode(), streams)


def join(text: bytes, streams: tuple[bytes, bytes]) -> bytes:
    """A file whose header is `text`."""
    # In short headers the fixed code is often shorter than a code and its table; zlib does not always see that.
    packed = min((_deflated(text, strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED)), key=len)
    content = b"".join([joined_sizes([len(part) for part in (packed, *streams)]), packed, *streams])
    return _PREFIX.pack(MAGIC, VERSION, zlib.crc32(content)) + content


def read_container(content: bytes, header_bytes: int = DEFAULT_LIMITS.header_bytes) -> Container:
    """Header and streams of a file whose header, packed and unpacked, has at most so many bytes.

    Raises:
        FileFormatError: it is no such file, of another version, truncated or damaged.
    """
    if len(content) < _PREFIX.size or not content.startswith(MAGIC):
        raise FileFormatError("not a wavesweep file (its first bytes differ), or cut off in them")
    _, version, checksum = _PREFIX.unpack_from(content)
    if version != VERSION:
        raise FileFormatError(f"format version {version}; this wavesweep reads version {VERSION}")
    sizes, start = read_sizes(content, _PREFIX.size, 3)
    if sizes[0] > header_bytes:
        raise beyond(f"declares a header of {sizes[0]} bytes", header_bytes, "header_bytes")
    if start + sum(sizes) > len(content):
        raise FileFormatError("cut off: it is shorter than it declares")
    if start + sum(sizes) < len(content):
        raise FileFormatError(f"holds {len(content) - start - sum(sizes)} bytes after its last stream")
    if zlib.crc32(memoryview(content)[_PREFIX.size :]) != checksum:
        raise FileFormatError("is damaged (checksum)")
    edges = start, start + sizes[0], start + sizes[0] + sizes[1]
    parsed = _parse(content[edges[0] : edges[1]], header_bytes)
    return Container(expand(parsed), (content[edges[1] : edges[2]], content[edges[2] :]))


def _deflated(text: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, 9, strategy, DICTIONARY)
    return packer.compress(text) + packer.flush()


def _parse(packed: bytes, most_bytes: int) -> Any:
    """The JSON value of a compressed header."""
    unpacker = zlib.decompressobj(_RAW_DEFLATE, zdict=DICTIONARY)
    try:
        text = unpacker.decompress(packed, min(most_bytes, sys.maxsize - 1) + 1)
        if len(text) > most_bytes:
            raise beyond("has a header that unpacks to too many bytes", most_bytes, "header_bytes")
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise FileFormatError(f"its header cannot be read ({error})") from None
    if not unpacker.eof or unpacker.unused_data:
        raise FileFormatError("its header is not of the declared size and form")
    return header
