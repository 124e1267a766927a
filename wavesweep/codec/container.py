"""The outer shell of a `.wsz` file: magic, version, a checksummed header, checksummed streams.

Version 2, which is written:

    offset  size  what
         0     4  magic, 89 57 53 5A
         4     2  version, 2
         6     4  CRC-32 of everything after it
        10     -  three sizes: of the compressed header, of stream 0, of stream 1; 7 bits per byte, the lowest first,
                  the top bit set where more follow
                  header: JSON in UTF-8, compressed as a raw deflate stream with a preset dictionary
                  stream 0, stream 1

Version 1, which is read:

         4     2  version, 1
         6     4  size of the compressed header
        10     4  size of the header's JSON
        14     4  CRC-32 of the compressed header
        18     n  header: JSON in UTF-8, compressed as a zlib stream
      18+n        streams, one after the other; their sizes and CRC-32s are in the header under "streams"

All integers are unsigned and little-endian. `docs/format.md` describes the header and the streams.
"""

import json
import struct
import zlib
from typing import Any, NamedTuple

from wavesweep.codec.short_header import DICTIONARY, expand, shorten
from wavesweep.errors import FileFormatError

MAGIC = b"\x89WSZ"
VERSION = 2
# A header holds some 100 bytes per tensor; this bound is far above any network's. Parsed, JSON takes up to 40 times
# its size.
_MOST_HEADER_BYTES = _MOST_JSON_BYTES = 1 << 22
# A size has at most this many bytes of 7 bits.
_MOST_SIZE_BYTES = 9
_PREFIX_1 = struct.Struct("<4sHIII")
_PREFIX = struct.Struct("<4sHI")
_RAW_DEFLATE = -15


class Container(NamedTuple):
    """What a file holds: its version, its header in the long form, and the streams of coefficients and of numbers."""

    version: int
    header: dict[str, Any]
    streams: tuple[bytes, bytes]


def write_container(header: dict[str, Any], streams: tuple[bytes, bytes]) -> bytes:
    """The bytes of a file, of the newest version."""
    return join(json.dumps(shorten(header), separators=(",", ":"), allow_nan=False).encode(), streams)


def join(text: bytes, streams: tuple[bytes, bytes]) -> bytes:
    """A file of version 2 whose header is `text`."""
    # In short headers the fixed code is often shorter than a code and its table; zlib does not always see that.
    packed = min((_deflated(text, strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED)), key=len)
    content = b"".join([*(_size(len(part)) for part in (packed, *streams)), packed, *streams])
    return _PREFIX.pack(MAGIC, VERSION, zlib.crc32(content)) + content


def read_container(content: bytes) -> Container:
    """Header and streams of a file.

    Raises:
        FileFormatError: it is no such file, of another version, truncated or damaged.
    """
    if len(content) < _PREFIX.size or not content.startswith(MAGIC):
        raise FileFormatError("not a wavesweep file (its first bytes differ), or cut off in them")
    _, version, checksum = _PREFIX.unpack_from(content)
    if version == 1:
        return _read_1(content)
    if version != VERSION:
        raise FileFormatError(f"format version {version}; this wavesweep reads versions 1 and {VERSION}")
    sizes, start = _sizes(content, _PREFIX.size, 3)
    if sizes[0] > _MOST_HEADER_BYTES:
        raise FileFormatError(f"declares a header of {sizes[0]} bytes, more than is allowed")
    if start + sum(sizes) > len(content):
        raise FileFormatError("cut off: it is shorter than it declares")
    if start + sum(sizes) < len(content):
        raise FileFormatError(f"holds {len(content) - start - sum(sizes)} bytes after its last stream")
    if zlib.crc32(memoryview(content)[_PREFIX.size :]) != checksum:
        raise FileFormatError("is damaged (checksum)")
    edges = start, start + sizes[0], start + sizes[0] + sizes[1]
    unpacker = zlib.decompressobj(_RAW_DEFLATE, zdict=DICTIONARY)
    parsed = _parse(content[edges[0] : edges[1]], unpacker, _MOST_JSON_BYTES)[0]
    return Container(version, expand(parsed), (content[edges[1] : edges[2]], content[edges[2] :]))


def _deflated(text: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, 9, strategy, DICTIONARY)
    return packer.compress(text) + packer.flush()


def _size(size: int) -> bytes:
    parts = []
    while size > 127:
        parts.append(128 | (size & 127))
        size >>= 7
    return bytes([*parts, size])


def _sizes(content: bytes, start: int, number: int) -> tuple[list[int], int]:
    """Sizes from `start` on, and where they end."""
    sizes = []
    for _ in range(number):
        size = 0
        for shift in range(0, 7 * _MOST_SIZE_BYTES, 7):
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


def _read_1(content: bytes) -> Container:
    if len(content) < _PREFIX_1.size:
        raise FileFormatError("cut off in its first bytes")
    _, version, packed_size, text_size, checksum = _PREFIX_1.unpack_from(content)
    if packed_size > _MOST_HEADER_BYTES or text_size > _MOST_JSON_BYTES:
        raise FileFormatError(f"declares a header of {packed_size} bytes ({text_size} unpacked), more than is allowed")
    packed = content[_PREFIX_1.size : _PREFIX_1.size + packed_size]
    if len(packed) != packed_size:
        raise FileFormatError("cut off in its header")
    if zlib.crc32(packed) != checksum:
        raise FileFormatError("its header is damaged (checksum)")
    header, size = _parse(packed, zlib.decompressobj(), text_size)
    if size != text_size or not isinstance(header, dict):
        raise FileFormatError("its header is not of the declared size and form")
    streams = _streams_1(header.pop("streams", None), content, _PREFIX_1.size + packed_size)
    if len(streams) != 2:
        raise FileFormatError(f"has {len(streams)} streams where 2 are expected")
    return Container(version, header, (streams[0], streams[1]))


def _parse(packed: bytes, unpacker: "zlib._Decompress", most: int) -> tuple[Any, int]:
    """The JSON value of a compressed header, and the size of its text."""
    try:
        text = unpacker.decompress(packed, most + 1)
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise FileFormatError(f"its header cannot be read ({error})") from None
    if len(text) > most or not unpacker.eof or unpacker.unused_data:
        raise FileFormatError("its header is not of the declared size and form")
    return header, len(text)


def _streams_1(entries: object, content: bytes, start: int) -> list[bytes]:
    if not isinstance(entries, list):
        raise FileFormatError("its header lists no streams")
    streams = []
    for number, entry in enumerate(entries):
        if not (isinstance(entry, list) and len(entry) == 2 and all(type(n) is int and n >= 0 for n in entry)):
            raise FileFormatError(f"stream {number} is not described by a size and a checksum")
        size, checksum = entry
        stream = content[start : start + size]
        if len(stream) != size:
            raise FileFormatError(f"cut off in stream {number}")
        if zlib.crc32(stream) != checksum:
            raise FileFormatError(f"stream {number} is damaged (checksum)")
        streams.append(stream)
        start += size
    if start != len(content):
        raise FileFormatError(f"holds {len(content) - start} bytes after its last stream")
    return streams
