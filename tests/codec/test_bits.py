"""Packed integers: sizes, exact inverses, streams that are too short."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.codec import bits
from wavesweep.codec.bits import Reader, pack_bits, packed_size, unpack_bits
from wavesweep.errors import FileFormatError


@given(st.integers(0, 32), st.data())
def test_unpacking_inverts_packing(width, data):
    values = np.array(data.draw(st.lists(st.integers(0, (1 << width) - 1), max_size=50)), np.int64)
    packed = pack_bits(values, width)
    assert len(packed) == packed_size(len(values), width) == (len(values) * width + 7) // 8
    np.testing.assert_array_equal(unpack_bits(packed, len(values), width), values)


def test_the_first_bit_is_the_most_significant_one():
    assert pack_bits(np.array([1, 2, 3]), 2) == bytes([0b01101100])
    assert pack_bits(np.array([0xABC, 0xDEF]), 12) == b"\xab\xcd\xef"


@settings(deadline=None)
@given(st.integers(1, 32), st.integers(1, 40))
def test_pieces_join_without_a_seam(width, count):
    values = np.arange(count, dtype=np.int64) * 2654435761 % (1 << width)
    whole = pack_bits(values, width)
    piece, bits._PIECE = bits._PIECE, 8
    try:
        assert pack_bits(values, width) == whole
        np.testing.assert_array_equal(unpack_bits(whole, count, width), values)
    finally:
        bits._PIECE = piece


def test_too_few_bytes_are_refused():
    for size in range(5):
        with pytest.raises(FileFormatError):
            unpack_bits(bytes(size), 10, 4)
    assert unpack_bits(b"", 10, 0).tolist() == [0] * 10


def test_a_reader_gives_each_byte_once():
    reader = Reader(b"abcdef")
    assert reader.take(2) == b"ab"
    assert reader.take(0) == b""
    with pytest.raises(FileFormatError, match="longer"):
        reader.finish()
    for size in (5, -1, 1 << 80):
        with pytest.raises(FileFormatError, match="cut off"):
            reader.take(size)
    assert reader.take(4) == b"cdef"
    reader.finish()
