"""The range coder: exact inverses, near the entropy, below it where there is structure, the same bytes for ever."""

import hashlib

import numpy as np
import pytest
from bases import wavelet
from cases import case
from examples import assert_same_symbols, band_tensors, planes, scrambled, sparse_symbols
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.codec.context import Plane
from wavesweep.codec.priors import CodedPrior, coded_prior
from wavesweep.codec.range_coder import decode, encode
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import LARGEST, Prior


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
    assert not content.endswith(b"\0")
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
    priors = [[Prior(0.1, 0.5)], None, [Prior(0.2, 1.5)] * len(bands)]
    content = encode(tensors, priors)
    assert_same_symbols(decode(content, [tensor[0] for tensor in tensors]), tensors)
    expected = "c91287ae800e67b26e420433991ce7c509e8d071b5143cf1fe86ae6f3315d8c4"
    assert hashlib.sha256(content).hexdigest() == expected


def test_bytes_that_trail_or_miss_are_refused():
    symbols = sparse_symbols((40, 50), 2)
    all_planes = [[Plane((40, 50))]]
    content = encode([(all_planes[0], [symbols])])
    for broken in (content + b"\1\2\3\4" * 3, content + b"\0", content + b"\0" * 12):
        with pytest.raises(FileFormatError):
            decode(broken, all_planes)
    for broken in (content + b"\1", content[:-1], content[:-4], content[:-8], content[:8]):
        # Ends are so short that other symbols may have just that stream; checksums tell then.
        try:
            found = decode(broken, all_planes)
        except FileFormatError:
            continue
        bands = found[0][0]
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
    assert [bands[0].shape for bands, _ in decoded] == shapes


PRIOR = st.builds(
    Prior, st.sampled_from([0.0, 1e-300, 0.001, 0.3, 0.999, 1.0]), st.sampled_from([0.0, 1e-300, 0.2, 5.0, 1e300])
)


@settings(deadline=None, max_examples=50)
@given(st.data(), st.lists(band_tensors(LARGEST), max_size=3))
def test_decoding_inverts_encoding_with_any_priors(data, tensors):
    priors = [data.draw(st.none() | st.lists(PRIOR, min_size=len(p), max_size=len(p))) for p, _ in tensors]
    content = encode(tensors, priors)
    assert len(content) <= len(encode(tensors)) + 1
    found = decode(content, [planes for planes, _ in tensors])
    assert_same_symbols(found, tensors)
    again = [kept for _, kept in found]
    assert encode(tensors, again) == content
    for kept, (bands, _) in zip(again, tensors, strict=True):
        assert kept is None or len(kept) == len(bands)


@given(st.integers(0, 63), st.integers(0, 31))
def test_what_is_stored_of_a_prior_comes_back(odds, mean):
    stored = CodedPrior(odds, mean)
    assert coded_prior(stored.decoded()) == stored
    assert 0 < stored.decoded().significant < 1
    assert min(stored.first_mean()) >= 1


def test_a_good_prior_is_kept_and_saves_bytes_and_a_bad_one_is_not():
    # Many small bands that are all alike: what is known beforehand is a large share of what there is to know.
    generator = np.random.default_rng(5)
    symbols = np.where(generator.random((1, 60)) < 0.5, generator.integers(60, 70, (1, 60)), 0).astype(np.int32)
    planes = [Plane((1, 60))]
    plain = len(encode([(planes, [symbols])]))
    for prior in (Prior(0.5, 64.0), Prior(0.001, 0.1)):
        content = encode([(planes, [symbols])], [[prior]])
        kept = decode(content, [planes])[0][1]
        assert len(content) <= plain
        assert kept is not None
        assert kept[0].significant == pytest.approx(0.5, abs=0.2)


def test_a_prior_that_is_not_kept_costs_nothing():
    symbols = sparse_symbols((60, 50))
    content = encode([([Plane((60, 50))], [symbols])], [[Prior(0.999, 1000.0)]])
    assert content == encode([([Plane((60, 50))], [symbols])])
