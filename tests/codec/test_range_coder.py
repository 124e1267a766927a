"""The range coder: exact inverses, near the entropy, below it where there is structure, the same bytes for ever."""

import hashlib

import numpy as np
import pytest
from bases import wavelet
from cases import case
from examples import assert_same_symbols, band_tensors, planes, scrambled, sparse_symbols
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.codec.planes import Plane
from wavesweep.codec.range_coder import decode, encode
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import LARGEST


def entropy_bytes(symbols):
    counts = np.unique(symbols, return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(counts * np.log2(shares)).sum() / 8)


def size_of(symbols):
    plane = Plane(symbols.shape)
    content = encode([([plane], [symbols.astype(np.int32)])])
    assert_same_symbols(decode(content, [[plane]]), [([plane], [symbols])])
    return len(content)


@settings(deadline=None, max_examples=60)
@given(st.lists(band_tensors(LARGEST), max_size=4))
def test_decoding_inverts_encoding(tensors):
    content = encode(tensors)
    assert_same_symbols(decode(content, [tensor[0] for tensor in tensors]), tensors)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (3, 5), (2, 3, 1, 7)])
def test_constant_tensors_come_back(shape):
    for value in (0, 1, -1, 8, 9, 10, -LARGEST, LARGEST, LARGEST - 1):
        with case(value):
            assert size_of(np.full(shape, value)) < 5000


def test_all_powers_of_two_and_their_neighbours_come_back():
    powers = 1 << np.arange(30)
    values = np.unique(np.concatenate([powers - 1, powers, powers + 1]))
    size_of(np.concatenate([values, -values]).reshape(2, -1))


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, 2**31 - 1])
def test_larger_magnitudes_are_refused_when_encoding(value):
    with pytest.raises(ValueError, match="too large"):
        encode([([Plane((1, 2))], [np.array([[0, value]], np.int32)])])


def test_nothing_costs_nothing():
    assert encode([]) == b""
    assert decode(b"", []) == []
    empty = [([Plane((0, 5))], [np.zeros((0, 5), np.int32)]), ([Plane((4, 0))], [np.zeros((4, 0), np.int32)])]
    assert encode(empty) == b""
    assert_same_symbols(decode(b"", [tensor[0] for tensor in empty]), empty)


def test_a_large_tensor_of_zeros_costs_almost_nothing():
    assert size_of(np.zeros((1024, 1024))) <= 64


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0, 40.0])
def test_laplacian_symbols_cost_their_entropy(scale):
    symbols = np.rint(np.random.default_rng(0).laplace(0, scale, (512, 512)))
    assert size_of(symbols) <= 1.03 * entropy_bytes(symbols) + 64


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_sparse_signs_cost_their_entropy(share):
    generator = np.random.default_rng(1)
    symbols = np.where(generator.random((400, 600)) < share, generator.choice([-1, 1], (400, 600)), 0)
    assert size_of(symbols) <= 1.03 * entropy_bytes(symbols) + 64


def test_rows_and_columns_of_their_own_density_cost_less_than_the_entropy():
    generator = np.random.default_rng(2)
    density = np.outer(generator.random(300) ** 4, generator.random(800) ** 4)
    symbols = np.where(generator.random(density.shape) < density, generator.choice([-1, 1], density.shape), 0)
    assert size_of(symbols) < 0.75 * entropy_bytes(symbols)


def test_rows_of_their_own_magnitude_cost_less_than_the_entropy():
    generator = np.random.default_rng(3)
    scales = 2.0 ** generator.integers(0, 10, (400, 1))
    symbols = np.rint(generator.laplace(0, 1, (400, 500)) * scales)
    assert size_of(symbols) < 0.97 * entropy_bytes(symbols)


def test_parents_that_are_significant_cost_their_children_less():
    basis = wavelet((64, 512), (1,), (3,), "haar", "periodization")
    generator = np.random.default_rng(4)
    heavy = generator.random((64, 64)) < 0.1
    symbols = []
    for band in basis.bands:
        where = np.repeat(heavy, band.shape[1] // 64, axis=1)
        symbols.append((where * generator.integers(-3, 4, band.shape)).astype(np.int32))
    flat = np.concatenate([band.reshape(-1) for band in symbols])
    tensors = [(planes(basis), symbols)]
    content = encode(tensors)
    assert_same_symbols(decode(content, [tensors[0][0]]), tensors)
    assert len(content) < 0.85 * entropy_bytes(flat)


def test_a_file_of_many_alike_tensors_learns_from_the_first():
    tensors = [([Plane((20, 30))], [sparse_symbols((20, 30))]) for _ in range(8)]
    assert len(encode(tensors)) < 8 * len(encode(tensors[:1]))


def test_the_bytes_never_change():
    # Other bytes would mean files that cannot be read by what was released.
    matrix = sparse_symbols((37, 53))
    large = (scrambled(60) % (1 << 31) - (1 << 30)).clip(-LARGEST, LARGEST)
    basis = wavelet((6, 5, 9, 9), (0, 2, 3), (1, 2, 2), "bior2.2", "periodization")
    bands = [sparse_symbols(band.shape, 2 + band.level) for band in basis.bands]
    tensors = [
        ([Plane((37, 53))], [matrix]),
        ([Plane((60,))], [large.astype(np.int32)]),
        (planes(basis), bands),
    ]
    content = encode(tensors)
    assert_same_symbols(decode(content, [tensor[0] for tensor in tensors]), tensors)
    expected = "2740743cb35ebb86b4741891cdd7dc1582a834bf113e14a50c24379568603792"
    assert hashlib.sha256(content).hexdigest() == expected


def test_bytes_that_trail_or_miss_are_refused():
    symbols = sparse_symbols((40, 50), 2)
    all_planes = [[Plane((40, 50))]]
    content = encode([(all_planes[0], [symbols])])
    for broken in (content + b"\1\2\3\4" * 3, content + b"\0" * 12):
        with pytest.raises(FileFormatError):
            decode(broken, all_planes)
    for broken in (content + b"\0", content + b"\1", content[:-1], content[:-4], content[:-8], content[:8]):
        # Ends are so short that other symbols may have just that stream; checksums tell then.
        try:
            found = decode(broken, all_planes)
        except FileFormatError:
            continue
        bands = found[0]
        assert not np.array_equal(bands[0], symbols)
        assert encode([(all_planes[0], bands)]) == broken


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=80), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=3))
def test_any_bytes_decode_or_are_refused(content, shapes):
    all_planes = [[Plane(shape)] for shape in shapes]
    try:
        decoded = decode(content, all_planes)
    except FileFormatError:
        return
    assert [bands[0].shape for bands in decoded] == shapes


def test_large_tensors_are_streams_of_their_own_that_cost_little():
    generator = np.random.default_rng(6)
    symbols = [np.where(generator.random((1100, 1000)) < 0.1, 1, 0).astype(np.int32) for _ in range(3)]
    tensors = [([Plane((1100, 1000))], [one]) for one in symbols]
    content = encode(tensors)
    assert_same_symbols(decode(content, [tensor[0] for tensor in tensors]), tensors)
    assert len(content) <= 1.005 * sum(len(encode([tensor])) for tensor in tensors)
    for broken in (content[:2], content[:-9], content + b"\1" * 9):
        with pytest.raises(FileFormatError):
            decode(broken, [tensor[0] for tensor in tensors])
