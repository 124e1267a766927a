"""Large tensors are synthesised part by part when they are decoded: the same numbers, in little memory."""

from math import prod

import numpy as np
import pytest
import pywt
import torch
from cases import case
from examples import BASES, RULES, coded
from hostile import memory_of
from hypothesis import given
from hypothesis import strategies as st

from wavesweep.quantization.symbols import CodedTensor, Steps
from wavesweep.transform import by_parts, rotation
from wavesweep.transform.basis import BasisSpec, make_basis

MODES = ["periodization", "zero", "symmetric", "periodic", "smooth"]


@st.composite
def transforms(draw):
    shape = tuple(draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    axes = tuple(axis for axis in range(len(shape)) if draw(st.booleans()))
    wavelet = draw(st.sampled_from(["haar", "db2", "bior2.2", "rbio3.3", "coif2"]))
    most = [pywt.dwt_max_level(shape[axis], pywt.Wavelet(wavelet).dec_len) for axis in axes]
    levels = tuple(draw(st.integers(0, level)) for level in most)
    return shape, BasisSpec("wavelet", axes, wavelet, levels, draw(st.sampled_from(MODES)))


@given(transforms(), st.sampled_from([2, 8, 50]))
def test_a_wavelet_in_parts_gives_the_same_bits_as_in_one_piece(transform, part):
    shape, spec = transform
    basis = make_basis(spec, shape)
    coefficients = torch.randn(basis.count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def read(number, axis, rows):
        band = basis.bands[number]
        return coefficients[band.slice].reshape(band.shape).index_select(axis, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_parts, "PART", part)
        found = basis.synthesise_by_parts(read)
    assert torch.equal(found, basis.synthesise(coefficients).float())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("basis", BASES)
def test_what_is_coded_is_decoded_in_parts_as_in_one_piece(basis, rule, monkeypatch):
    monkeypatch.setattr(by_parts, "PART", 16)
    monkeypatch.setattr(rotation, "PART", 16)
    tensor = coded("w", (17, 12), basis, rule)
    whole = make_basis(tensor.basis, tensor.view).synthesise(torch.from_numpy(tensor.coefficients()))
    exact = (
        {} if basis != "rotation" else {"rtol": 1e-6, "atol": 1e-7}
    )  # a product of fewer columns may be rounded otherwise
    torch.testing.assert_close(tensor.weight(), whole.float(), **({"rtol": 0, "atol": 0} | exact))


LARGE = {
    "one axis": ((1 << 22,), BasisSpec("wavelet", (0,), "db4", (16,), "symmetric")),
    "two axes": ((2048, 2048), BasisSpec("wavelet", (0, 1), "bior2.2", (3, 3), "periodization")),
    "kernels": ((512, 900, 3, 3), BasisSpec("wavelet", (0, 1), "haar", (2, 2), "periodization")),
    "small kernels": ((512, 450, 4, 4), BasisSpec("wavelet", (2, 3), "haar", (2, 1), "periodization")),
    "identity": ((2048, 2048), BasisSpec("identity")),
    "cosines": ((2048, 2048), BasisSpec("dct", (0, 1))),
    "rotation": ((2048, 2048), BasisSpec("rotation", (0, 1))),
}


def test_decoding_takes_at_most_16_bytes_of_memory_per_number_with_the_symbols():
    for name, (shape, spec) in LARGE.items():
        with case(name):
            symbols = np.ones(make_basis(spec, shape).count, np.int32)
            tensor = CodedTensor("w", shape, shape, spec, symbols, Steps((0.5,)))
            decoded, peak_bytes = memory_of(tensor.weight)
            assert decoded.shape == shape
            assert symbols.nbytes + peak_bytes < (64 << 20) + 16 * prod(shape)
