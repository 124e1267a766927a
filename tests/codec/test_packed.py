"""Symbols of a fixed width: exact inverses, the smaller of two forms, broken heads refused."""

import struct

import numpy as np
import pytest
from cases import case
from examples import assert_same_symbols, band_tensors, sparse_symbols
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.codec.packed import decode, encode
from wavesweep.codec.planes import Plane
from wavesweep.errors import FileFormatError

HEAD = 14
PLANE = Plane((30, 40))


@settings(deadline=None, max_examples=100)
@given(st.lists(band_tensors((1 << 30) - 1), max_size=3))
def test_decoding_inverts_encoding(tensors):
    assert_same_symbols(decode(encode(tensors), [tensor[0] for tensor in tensors]), tensors)


def sized(symbols):
    plane = Plane(symbols.shape)
    content = encode([([plane], [symbols.astype(np.int32)])])
    assert_same_symbols(decode(content, [[plane]]), [([plane], [symbols])])
    return len(content)


def test_dense_symbols_cost_the_bits_of_their_range():
    assert sized(np.zeros((100, 100))) == HEAD
    assert sized(np.full((100, 100), -7)) == HEAD + 10_000 * 3 // 8  # the range includes zero
    assert sized(np.arange(10_000).reshape(100, 100) % 256 - 128) == HEAD + 10_000
    assert sized(np.arange(10_000).reshape(100, 100) % 257) == HEAD + 10_000 * 9 // 8
    assert sized(np.zeros((0, 7))) == HEAD


def test_sparse_symbols_cost_a_mask_and_their_own_bits():
    symbols = np.zeros(8000)
    symbols[::80] = np.arange(100) % 4 + 5
    # The width counts from zero, so 8 needs four bits.
    assert sized(symbols.reshape(80, 100)) == HEAD + 1000 + 50


@given(st.floats(0, 1), st.integers(1, 12))
def test_the_smaller_form_is_taken(share, width):
    generator = np.random.default_rng(0)
    symbols = np.where(generator.random((50, 40)) < share, generator.integers(1, 1 << width, (50, 40)), 0)
    present = np.count_nonzero(symbols)
    bits = int(symbols.max()).bit_length()
    dense, masked = (2000 * bits + 7) // 8, 250 + (present * bits + 7) // 8
    assert sized(symbols) == HEAD + min(dense, masked)


def head(mode=0, lowest=0, width=1, number=0):
    return struct.pack("<BiBQ", mode, lowest, width, number)


HOSTILE = {
    "nothing": b"",
    "mode": head(mode=2) + bytes(150),
    "width": head(width=33) + bytes(4950),
    "number": head(mode=1, number=1201) + bytes(600),
    "huge number": head(mode=1, number=2**64 - 1) + bytes(600),
    "mask without symbols": head(mode=1, number=1) + bytes(151),
    "mask with more symbols": head(mode=1, number=0) + b"\xff" * 150,
    "cut off": head() + bytes(149),
    "trailing": head() + bytes(151),
}


def test_hostile_streams_are_refused():
    for name, content in HOSTILE.items():
        with case(name), pytest.raises(FileFormatError):
            decode(content, [[PLANE]])


def test_symbols_beyond_32_bits_are_refused():
    content = head(lowest=2**31 - 1, width=32, number=1200) + b"\xff" * 4800
    with pytest.raises(FileFormatError):
        decode(content, [[PLANE]])


def test_every_truncation_is_refused():
    for sharpness in (1, 20):
        content = encode([([PLANE], [sparse_symbols((30, 40), sharpness)])])
        for size in range(len(content)):
            with pytest.raises(FileFormatError):
                decode(content[:size], [[PLANE]])
