"""Deep Compression's coding: optimal code lengths within their limit, exact inverses, hostile tables refused."""

import heapq
import struct
import zlib
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from cases import case
from examples import assert_same_symbols, band_tensors, sparse_symbols
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.codec.huffman import canonical_codes, code_lengths, decode, encode
from wavesweep.codec.planes import Plane
from wavesweep.errors import FileFormatError

MATRIX = Plane((30, 40))
LONGEST = 16


def textbook_cost(counts):
    """Bits of an optimal prefix code: the sum of all inner nodes of Huffman's tree."""
    heap = [int(count) for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        node = heapq.heappop(heap) + heapq.heappop(heap)
        total += node
        heapq.heappush(heap, node)
    return total


def kraft_sum(lengths):
    return sum(1 << (LONGEST - int(length)) for length in lengths if length)


def fibonacci(count):
    numbers = [1, 1]
    while len(numbers) < count:
        numbers.append(numbers[-1] + numbers[-2])
    return np.array(numbers[:count])


@given(st.lists(st.integers(0, 2000), min_size=2, max_size=200))
def test_code_lengths_are_as_short_as_a_textbook_code(numbers):
    counts = np.array(numbers)
    lengths = code_lengths(counts)
    present = np.count_nonzero(counts)
    assert ((lengths > 0) == (counts > 0)).all()
    if present > 1:
        assert lengths.max() <= LONGEST
        assert kraft_sum(lengths) == 1 << LONGEST
        # With counts below 2,000 Huffman's own code is never longer than the limit unless it is very deep.
        assert int((lengths * counts).sum()) == textbook_cost(counts)


@pytest.mark.parametrize("number", [2, 10, 17])
def test_fibonacci_counts_within_the_limit_are_optimal(number):
    counts = fibonacci(number)
    lengths = code_lengths(counts)
    assert lengths.max() == number - 1
    assert int((lengths * counts).sum()) == textbook_cost(counts)


@pytest.mark.parametrize("number", [18, 30, 60, 80])
def test_fibonacci_counts_beyond_the_limit_are_cut_to_it(number):
    counts = fibonacci(number)
    lengths = code_lengths(counts)
    assert lengths.min() >= 1
    assert lengths.max() <= LONGEST
    assert kraft_sum(lengths) == 1 << LONGEST
    assert (np.diff(lengths) <= 0).all()
    # The limit costs little, as only the rarest are affected.
    assert float((lengths * counts).sum()) <= 1.02 * textbook_cost(counts)


def test_few_or_no_different_numbers():
    assert code_lengths(np.zeros(0, np.int64)).tolist() == []
    assert code_lengths(np.zeros(3, np.int64)).tolist() == [0, 0, 0]
    assert code_lengths(np.array([0, 9, 0])).tolist() == [0, 1, 0]
    assert code_lengths(np.ones(1 << LONGEST, np.int64)).tolist() == [LONGEST] * (1 << LONGEST)
    with pytest.raises(ValueError, match="65,536"):
        code_lengths(np.ones((1 << LONGEST) + 1, np.int64))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=100))
def test_no_canonical_code_begins_another(numbers):
    lengths = code_lengths(np.array(numbers))
    codes = canonical_codes(lengths)
    words = [format(code, f"0{size}b") for code, size in zip(codes, lengths, strict=True) if size]
    ordered = sorted(words)
    assert not any(after.startswith(before) for before, after in pairwise(ordered))
    assert sorted(words, key=len) == [word for _, word in sorted((len(word), word) for word in words)]


@settings(deadline=None, max_examples=100)
@given(st.lists(band_tensors(3000), max_size=3))
def test_decoding_inverts_encoding(tensors):
    assert_same_symbols(decode(encode(tensors), [tensor[0] for tensor in tensors]), tensors)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (4, 9), (3, 2, 5, 5), (70_000,)])
def test_constant_tensors_come_back(shape):
    for value in (0, 1, -5, 1 << 20):
        with case(value):
            tensors = [([Plane(shape)], [np.full(shape, value, np.int32)])]
            assert_same_symbols(decode(encode(tensors), [tensors[0][0]]), tensors)


@pytest.mark.parametrize(
    "positions", [(), (0,), (69_999,), (31, 32, 63, 64, 65), (255, 256, 511, 512), (32, 65, 98), (0, 256, 513)]
)
def test_long_runs_of_zeros_come_back(positions):
    symbols = np.zeros(70_000, np.int32)
    symbols[list(positions)] = np.arange(1, len(positions) + 1)
    for shape in ((70, 1000), (70, 10, 10, 10)):
        tensors = [([Plane(shape)], [symbols.reshape(shape)])]
        assert_same_symbols(decode(encode(tensors), [tensors[0][0]]), tensors)


@pytest.mark.parametrize(("shape", "bits"), [((700,), 5), ((20, 35), 5), ((20, 7, 5), 8), ((5, 4, 7, 5), 8)])
def test_matrices_have_5_index_bits_and_convolutions_8(shape, bits):
    symbols = np.zeros(700, np.int32)
    symbols[600] = 1
    content = encode([([Plane(shape)], [symbols.reshape(shape)])])
    index_bits, pairs = struct.unpack_from("<BI", content)
    assert index_bits == bits
    assert pairs == 600 // (1 << bits) + 1  # a filler for each full run of zeros, and the symbol itself


def test_codes_longer_than_a_block_of_the_decoder_come_back():
    symbols = sparse_symbols((500, 400), 2)
    tensors = [([Plane((500, 400))], [symbols])]
    content = encode(tensors)
    assert len(content) > 3 << 11
    assert_same_symbols(decode(content, [tensors[0][0]]), tensors)


def test_the_size_is_near_the_entropy_of_values_and_gaps():
    symbols = sparse_symbols((300, 400))
    flat = symbols.reshape(-1)
    gaps = np.diff(np.flatnonzero(flat), prepend=-1) - 1
    bits = 0.0
    for numbers in (gaps % 32, flat[flat != 0]):
        counts = np.unique(numbers, return_counts=True)[1]
        bits -= (counts * np.log2(counts / counts.sum())).sum()
    assert len(encode([([Plane((300, 400))], [symbols])])) <= 1.05 * bits / 8 + 200


def test_too_many_different_symbols_are_refused_in_one_line():
    for symbols in (np.array([[-(1 << 25), 1]], np.int32), np.arange(1, 70_000, dtype=np.int32)[None]):
        with pytest.raises(ValueError, match="codec=range") as caught:
            encode([([Plane(symbols.shape)], [symbols])])
        assert "\n" not in str(caught.value)


def numbers_part(lowest=0, entries=None, table=b"\1\1", codes=b"\x55" * 2):
    packed = zlib.compress(table)
    head = struct.pack("<iII", lowest, len(table) if entries is None else entries, len(packed))
    return head + packed + struct.pack("<I", len(codes)) + codes


def stream(indices=None, values=None, bits=5, pairs=10):
    return struct.pack("<BI", bits, pairs) + (indices or numbers_part()) + (values or numbers_part(lowest=1))


def test_a_stream_made_by_hand_decodes():
    symbols = decode(stream(), [[MATRIX]])[0][0][0]
    assert np.count_nonzero(symbols) == 10
    assert set(np.unique(symbols)) == {0, 1, 2}


HOSTILE = {
    "nothing": b"",
    "too many pairs": stream(pairs=MATRIX.rows * MATRIX.columns + 1),
    "more pairs than codes": stream(pairs=1000),
    "index bits": stream(bits=200),
    "negative gaps": stream(indices=numbers_part(lowest=-5)),
    "gaps beyond the tensor": stream(indices=numbers_part(lowest=2**31 - 1)),
    "huge number of entries": stream(values=numbers_part(entries=2**32 - 1)),
    "fewer entries than declared": stream(values=numbers_part(entries=3)),
    "more entries than declared": stream(values=numbers_part(entries=1)),
    "lengths beyond the limit": stream(values=numbers_part(table=b"\x11\1")),
    "overfull": stream(values=numbers_part(table=b"\1\1\1")),
    "overfull by far": stream(values=numbers_part(table=b"\1" * 100_000)),
    "no codes at all": stream(values=numbers_part(table=b"\0\0")),
    "empty table": stream(values=numbers_part(table=b"")),
    "a code that is not there": stream(values=numbers_part(table=b"\2\2", codes=b"\xff" * 40)),
    "no zlib": struct.pack("<BI", 5, 10) + struct.pack("<iII", 0, 2, 4) + b"abcd" + struct.pack("<I", 0),
    "trailing": stream() + b"\0",
    "more codes than pairs": stream(values=numbers_part(lowest=1, codes=b"\x55" * 3)),
    "size beyond the end": stream()[:-6] + struct.pack("<I", 2**32 - 1),
}


def test_hostile_streams_are_refused():
    for name, content in HOSTILE.items():
        with case(name), pytest.raises(FileFormatError):
            decode(content, [[MATRIX]])


def test_every_truncation_is_refused():
    content = encode([([MATRIX], [sparse_symbols((30, 40))])])
    for size in range(len(content)):
        with pytest.raises(FileFormatError):
            decode(content[:size], [[MATRIX]])


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_edit_decodes_or_is_refused(data):
    content = bytearray(encode([([MATRIX], [sparse_symbols((30, 40))])]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(60, len(content) - 1)))] = data.draw(st.integers(0, 255))
    with suppress(FileFormatError):
        assert decode(bytes(content), [[MATRIX]])[0][0].shape == (30, 40)
