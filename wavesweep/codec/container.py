"""The outer shell of a `.wsz` file: magic, version, a checksummed header, checksummed streams.

    offset  size  what
         0     4  magic, 89 57 53 5A
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
from collections.abc import Sequence
from typing import Any

from wavesweep.errors import FileFormatError

MAGIC = b"\x89WSZ"
VERSION = 1
# A header holds some 100 bytes per tensor; this bound is far above any network's. Parsed, JSON takes up to 40 times
# its size.
_MOST_HEADER_BYTES = _MOST_JSON_BYTES = 1 << 22
_PREFIX = struct.Struct("<4sHIII")


def write_container(header: dict[str, Any], streams: Sequence[bytes]) -> bytes:
    """The bytes of a file; "streams" is added to the header."""
    complete = {**header, "streams": [[len(stream), zlib.crc32(stream)] for stream in streams]}
    text = json.dumps(complete, separators=(",", ":"), allow_nan=False).encode()
    packed = zlib.compress(text, 9)
    prefix = _PREFIX.pack(MAGIC, VERSION, len(packed), len(text), zlib.crc32(packed))
    return b"".join([prefix, packed, *streams])


def read_container(content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Header and streams of a file.

    Raises:
        FileFormatError: it is no such file, of another version, truncated or damaged.
    """
    if len(content) < _PREFIX.size or not content.startswith(MAGIC):
        raise FileFormatError("not a wavesweep file (its first bytes differ), or cut off in them")
    _, version, packed_size, text_size, checksum = _PREFIX.unpack_from(content)
    if version != VERSION:
        raise FileFormatError(f"format version {version}; this wavesweep reads version {VERSION}")
    if packed_size > _MOST_HEADER_BYTES or text_size > _MOST_JSON_BYTES:
        raise FileFormatError(f"declares a header of {packed_size} bytes ({text_size} unpacked), more than is allowed")
    packed = content[_PREFIX.size : _PREFIX.size + packed_size]
    if len(packed) != packed_size:
        raise FileFormatError("cut off in its header")
    if zlib.crc32(packed) != checksum:
        raise FileFormatError("its header is damaged (checksum)")
    header = _parse(packed, text_size)
    return header, _streams(header.get("streams"), content, _PREFIX.size + packed_size)


def _parse(packed: bytes, text_size: int) -> dict[str, Any]:
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, text_size + 1)
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise FileFormatError(f"its header cannot be read ({error})") from None
    if len(text) != text_size or not unpacker.eof or unpacker.unused_data or not isinstance(header, dict):
        raise FileFormatError("its header is not of the declared size and form")
    return header


def _streams(entries: object, content: bytes, start: int) -> list[bytes]:
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
