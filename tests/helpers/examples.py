"""Small networks and tensors that several tests of the file format look at; all follow from integer arithmetic."""

from math import prod

import numpy as np
from hypothesis import strategies as st

from wavesweep.codec.planes import planes_of
from wavesweep.codec.tensors import RawTensor, SameTensor
from wavesweep.quantization.symbols import Codebook, CodedTensor, Steps, Values
from wavesweep.transform.basis import BasisSpec, make_basis

CODERS = ("range", "huffman", "none")
BASES = {
    "identity": BasisSpec("identity"),
    "wavelet": BasisSpec("wavelet", (0, 1), "bior2.2", (1, 1), "periodization"),
    "symmetric": BasisSpec("wavelet", (1,), "haar", (2,), "symmetric"),
    "dct": BasisSpec("dct", (0, 1)),
    "rotation": BasisSpec("rotation", (0, 1), seed=3, name="w"),
    "shuffled": BasisSpec("shuffled", (0, 1), "haar", (1, 1), "periodization", 3, "w"),
}
RULES = ("one step", "a step each", "codebook", "float16", "float32")


def scrambled(count):
    """Integers below 2**32 that look random, the same in every version of every library."""
    values = np.arange(1, count + 1, dtype=np.uint64)
    for _ in range(3):
        values = (values * np.uint64(747796405) + np.uint64(2891336453)) & np.uint64(0xFFFFFFFF)
        values ^= values >> np.uint64(15)
    return values.astype(np.int64)


def sparse_symbols(shape, sharpness=6):
    """Mostly zeros, both signs, small magnitudes more often than large ones."""
    noise = scrambled(2 * prod(shape))
    first, second = noise[::2] % 1000, noise[1::2]
    magnitudes = np.where(first < 1000 // sharpness, 1 + first % 7 * (first % 3), 0)
    return (np.where(second % 2 == 1, -magnitudes, magnitudes)).astype(np.int32).reshape(shape)


def coded(name, shape, basis, rule, sharpness=6):
    """A coded tensor of that basis (a name of `BASES`) and rule (of `RULES`)."""
    spec = BASES[basis]
    bands = make_basis(spec, shape).bands
    symbols = sparse_symbols((sum(prod(band.shape) for band in bands),), sharpness)
    if rule == "one step":
        reconstruction = Steps((0.0125,))
    elif rule == "a step each":
        reconstruction = Steps(tuple(0.01 + 0.001 * number for number in range(len(bands))))
    elif rule == "codebook":
        reconstruction = Codebook(
            np.arange(1, 20, dtype=np.float16) * np.float16(-0.03), np.arange(1, 20, dtype=np.float16) / 32
        )
    else:
        symbols = (symbols != 0).astype(np.int32)
        numbers = scrambled(int(symbols.sum())) / 2.0**32 - 0.5
        reconstruction = Values(numbers.astype(rule))
    return CodedTensor(name, shape, shape, spec, symbols, reconstruction)


def small_network(basis="wavelet", rule="one step"):
    """A convolution, a matrix, biases, counters, and a tied weight."""
    return [
        coded("conv.weight", (12, 10, 3, 3), basis, rule),
        RawTensor("conv.bias", (np.arange(12) / 8).astype(np.float16), "float32"),
        coded("fc.weight", (10, 17), basis, rule, sharpness=3),
        RawTensor("norm.num_batches_tracked", np.array(77), "int64"),
        SameTensor("head.weight", "fc.weight"),
    ]


def planes(basis):
    """Planes of a basis."""
    return planes_of([(band.level, band.orientation, band.shape) for band in basis.bands])


@st.composite
def band_tensors(draw, largest, shapes=None):
    """(planes, symbols of each band) of a tensor in the identity or a wavelet basis."""
    if shapes is None:
        shapes = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(tuple)
    shape = draw(shapes)
    spec = BasisSpec("identity")
    if 0 not in shape and draw(st.booleans()):
        axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(sorted).map(tuple))
        levels = draw(st.tuples(*(st.integers(0, 2) for _ in axes)).filter(any))
        spec = BasisSpec("wavelet", axes, draw(st.sampled_from(["haar", "bior2.2"])), levels, "periodization")
    basis = make_basis(spec, shape)
    value = st.one_of(st.just(0), st.integers(-2, 2), st.integers(-largest, largest))
    kinds = st.sampled_from(["zero", "few", "any"])
    symbols = []
    for band in basis.bands:
        count, kind = prod(band.shape), draw(kinds)
        numbers = draw(st.lists(value, min_size=min(count, 12), max_size=min(count, 12))) if kind != "zero" else []
        flat = np.zeros(count, np.int32)
        if numbers and kind == "any":
            flat[:] = np.resize(numbers, count)
        else:
            flat[: len(numbers)] = numbers
        symbols.append(flat.reshape(band.shape))
    return planes(basis), symbols


def assert_same_symbols(decoded, tensors):
    """`decoded`, symbols each, is what `tensors`, (planes, symbols) each, hold."""
    assert len(decoded) == len(tensors)
    for found, (_, symbols) in zip(decoded, tensors, strict=True):
        assert len(found) == len(symbols)
        for one, other in zip(found, symbols, strict=True):
            assert one.dtype == np.int32
            np.testing.assert_array_equal(one.reshape(-1), other.reshape(-1))
