"""The coding of Deep Compression (Han et al. 2016): relative indices and values, each with a Huffman code of its own.

A symbol that is not zero is a pair of the number of zeros before it and its value. The number has 8 bits for
convolutions and 5 for matrices; where more zeros come, a filler (a coded zero) stands for them. Codes are
canonical and at most 16 bits long, so a table is one length per entry.

Per tensor: index bits (1 byte), number of pairs (4 bytes), then for indices and for values: lowest entry (4
bytes, signed), number of entries (4 bytes), size of the table (4 bytes), the table of lengths as a zlib stream,
size of the codes (4 bytes), the codes; integers are little-endian.
"""

import heapq
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wavesweep.codec.bits import Reader
from wavesweep.codec.planes import Plane, by_plane, total_size
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import LARGEST, Symbols

_INDEX_BITS_CONVOLUTION, _INDEX_BITS_MATRIX = 8, 5
_LONGEST = 16
# Bit positions that are followed at once when decoding.
_BLOCK = 1 << 14
_MOST_ENTRIES = 1 << 21
_HEAD, _TABLE, _SIZE = struct.Struct("<BI"), struct.Struct("<iII"), struct.Struct("<I")
Ints = npt.NDArray[np.int64]


def encode(tensors: Sequence[tuple[Sequence[Plane], Sequence[Symbols]]]) -> bytes:
    """Code the bands of tensors."""
    parts = []
    for planes, bands in tensors:
        symbols = np.concatenate([band.reshape(-1) for band in bands]).astype(np.int64)
        index_bits = _INDEX_BITS_CONVOLUTION if planes and planes[0].grid else _INDEX_BITS_MATRIX
        indices, values = _to_pairs(symbols, 1 << index_bits)
        parts += [_HEAD.pack(index_bits, len(indices)), _encode_numbers(indices), _encode_numbers(values)]
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
        index_bits, number = _HEAD.unpack(reader.take(_HEAD.size))
        if index_bits > _LONGEST or number > count:
            raise FileFormatError("a tensor declares more symbols than it has")
        indices, values = _decode_numbers(reader, number), _decode_numbers(reader, number)
        # A pair takes the zeros before it and its own position, fillers included.
        positions = np.cumsum(indices + 1) - 1
        if number and (int(indices.min()) < 0 or int(positions[-1]) >= count):
            raise FileFormatError("a tensor's symbols lie outside it")
        if max(-int(values.min(initial=0)), int(values.max(initial=0))) > LARGEST:
            raise FileFormatError("a symbol is too large")
        symbols = np.zeros(count, np.int32)
        symbols[positions] = values
        decoded.append(by_plane(symbols, planes))
    reader.finish()
    return decoded


def _to_pairs(symbols: Ints, span: int) -> tuple[Ints, Ints]:
    """Zeros before each coded symbol (below `span`), and the symbols; a filler stands for `span` zeros."""
    positions = np.flatnonzero(symbols)
    zeros = np.diff(positions, prepend=-1) - 1
    fillers = zeros // span
    indices = np.full(len(positions) + int(fillers.sum()), span - 1, np.int64)
    values = np.zeros_like(indices)
    own = np.cumsum(fillers + 1) - 1
    indices[own], values[own] = zeros % span, symbols[positions]
    return indices, values


def _encode_numbers(numbers: Ints) -> bytes:
    lowest = int(numbers.min(initial=0))
    counts = np.bincount(numbers - lowest) if numbers.size else np.zeros(0, np.int64)
    if len(counts) > _MOST_ENTRIES:
        raise ValueError("too many different symbols for a Huffman table; use a coarser step or codec=range")
    lengths = code_lengths(counts)
    codes = canonical_codes(lengths)
    table = zlib.compress(lengths.astype(np.uint8).tobytes(), 9)
    size = lengths[numbers - lowest]
    starts = np.cumsum(size) - size
    bits = np.zeros(int(size.sum()), np.uint8)
    code = codes[numbers - lowest]
    for position in range(_LONGEST):
        has = size > position
        bits[starts[has] + position] = (code[has] >> (size[has] - 1 - position)) & 1
    packed = np.packbits(bits).tobytes()
    return b"".join([_TABLE.pack(lowest, len(counts), len(table)), table, _SIZE.pack(len(packed)), packed])


def _decode_numbers(reader: Reader, number: int) -> Ints:
    lowest, entries, table_size = _TABLE.unpack(reader.take(_TABLE.size))
    if entries > _MOST_ENTRIES:
        raise FileFormatError("a Huffman table is too large")
    lengths = _read_table(reader.take(table_size), entries)
    packed = reader.take(_SIZE.unpack(reader.take(_SIZE.size))[0])
    if not number:
        return np.zeros(0, np.int64)
    entry_of, length_of = _lookup(lengths)
    stream = np.frombuffer(packed + b"\0\0\0", np.uint8).astype(np.uint32)
    end, at, found, total = 8 * len(packed), 0, [], 0
    while total < number:
        if at >= end:
            raise FileFormatError("Huffman codes are cut off")
        block = np.arange(at, min(at + _BLOCK, end))
        byte = block >> 3
        window = ((stream[byte] << 16) | (stream[byte + 1] << 8) | stream[byte + 2]) >> (8 - (block & 7)).astype(
            np.uint32
        )
        window &= 0xFFFF
        starts = _follow(length_of[window])
        if int(length_of[window[starts]].min()) == 0:
            starts = starts[: int(np.argmin(length_of[window[starts]]))]
            if total + len(starts) < number:
                raise FileFormatError("Huffman codes hold one that the table does not have")
        found.append(entry_of[window[starts]])
        total += len(starts)
        at += int(starts[-1]) + int(length_of[window[starts[-1]]])
    numbers: Ints = np.concatenate(found)[:number]
    if len(packed) != (int(lengths[numbers].sum(dtype=np.int64)) + 7) // 8:
        raise FileFormatError("Huffman codes are followed by more")
    values: Ints = numbers + lowest
    return values


def _follow(lengths: Ints) -> Ints:
    """Positions 0, lengths[0], ... within the block, by doubling: all at once instead of one after the other."""
    count = len(lengths)
    jump = np.minimum(np.arange(count) + np.maximum(lengths, 1), count)
    jump = np.append(jump, count)
    starts = np.zeros(1, np.int64)
    while starts[-1] < count:
        starts = np.concatenate([starts, jump[starts]])
        jump = jump[jump]
    return starts[starts < count]


def _read_table(table: bytes, entries: int) -> npt.NDArray[np.uint8]:
    try:
        unpacker = zlib.decompressobj()
        lengths = np.frombuffer(unpacker.decompress(table, entries + 1), np.uint8)
    except zlib.error as error:
        raise FileFormatError(f"a Huffman table cannot be read ({error})") from None
    if len(lengths) != entries or not unpacker.eof or int(lengths.max(initial=0)) > _LONGEST:
        raise FileFormatError("a Huffman table is broken")
    # Kraft's inequality: more codes than fit would overwrite each other.
    counts = np.bincount(lengths, minlength=_LONGEST + 1)[1:].tolist()
    if sum(count << (_LONGEST - length) for length, count in enumerate(counts, 1)) > 1 << _LONGEST:
        raise FileFormatError("a Huffman table has too many codes")
    return lengths


def code_lengths(counts: npt.NDArray[np.integer]) -> Ints:
    """Lengths of a Huffman code (Huffman 1952) for these counts, at most 16 bits; 0 where the count is 0."""
    counts = counts.astype(np.int64)
    present = np.flatnonzero(counts)
    lengths = np.zeros(len(counts), np.int64)
    if len(present) == 1:
        lengths[present] = 1
        return lengths
    if len(present) > 1 << _LONGEST:
        raise ValueError("more than 65,536 different symbols for Huffman codes; use a coarser step or codec=range")
    weights = counts[present]
    while len(present):
        depths: Ints = _depths(weights)
        if int(depths.max()) <= _LONGEST:
            lengths[present] = depths
            break
        weights = (weights + 1) // 2  # flatter counts give shorter longest codes
    return lengths


def _depths(weights: npt.NDArray[np.integer]) -> Ints:
    heap = [(int(weight), index) for index, weight in enumerate(weights)]
    heapq.heapify(heap)
    parents: dict[int, int] = {}
    following = len(weights)
    while len(heap) > 1:
        (first, one), (second, other) = heapq.heappop(heap), heapq.heappop(heap)
        parents[one] = parents[other] = following
        heapq.heappush(heap, (first + second, following))
        following += 1
    depths = np.zeros(following, np.int64)
    for node in range(following - 2, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return depths[: len(weights)]


def canonical_codes(lengths: Ints) -> Ints:
    """Codes that follow from the lengths alone: shorter first, equal lengths by index."""
    order = np.lexsort((np.arange(len(lengths)), lengths))
    order = order[lengths[order] > 0]
    sizes = lengths[order]
    # The code is the sum of the shares 2**-length of all before it, read at its own length.
    shares = 1 << (_LONGEST - sizes)
    codes = np.zeros(len(lengths), np.int64)
    codes[order] = (np.cumsum(shares) - shares) >> (_LONGEST - sizes)
    return codes


def _lookup(table: npt.NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """For each 16 bits that may come next: the entry, and the length of its code (0: none)."""
    # At most 65,536 entries have codes, however many the table declares.
    present = np.flatnonzero(table)
    lengths = table[present].astype(np.int64)
    codes = canonical_codes(lengths)
    entry_of, length_of = np.zeros(1 << _LONGEST, np.int64), np.zeros(1 << _LONGEST, np.int64)
    order = np.argsort(codes << (_LONGEST - lengths), kind="stable")
    shares = 1 << (_LONGEST - lengths[order])
    filled = int(shares.sum())
    entry_of[:filled] = np.repeat(present[order], shares)
    length_of[:filled] = np.repeat(lengths[order], shares)
    return entry_of, length_of
