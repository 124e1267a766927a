"""One level along one axis, against PyWavelets: every discrete wavelet, short and odd axes, all modes."""

from itertools import product

import numpy as np
import pytest
import pywt
import torch
from cases import case
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.transform.by_parts import Level
from wavesweep.transform.dwt import analyse_axis
from wavesweep.transform.wavelet import synthesise_levels

WAVELETS = pywt.wavelist(kind="discrete")
FAMILIES = sorted({name.rstrip("0123456789.") for name in WAVELETS})
LENGTHS = range(1, 41)
OTHER_MODES = [mode for mode in pywt.Modes.modes if mode != "periodization"]
# Error per unit of the signal's norm; PyWavelets itself works in the precision of its input.
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-14}


def signal_of(shape, dtype=np.float64):
    return np.random.default_rng(shape).standard_normal(shape).astype(dtype)


def synthesise_axis(approximation, detail, axis, wavelet, mode, length):
    """One level along one axis."""
    after = tuple(approximation.shape)
    level = Level((axis,), (*after[:axis], length, *after[axis + 1 :]), after)
    coefficients = torch.cat([approximation.reshape(-1), detail.reshape(-1)])
    return synthesise_levels(coefficients, wavelet, mode, [level])


def assert_close(ours, expected, scale, dtype=np.float64):
    assert ours.shape == expected.shape
    assert ours.numpy().dtype == expected.dtype == dtype
    assert np.linalg.norm(ours.numpy() - expected) <= TOLERANCE[dtype] * (scale + np.linalg.norm(expected))


def assert_as_pywt(signal, axis, name, mode):
    """Both directions agree with PyWavelets, also for bands that are no transform of any signal."""
    wavelet, dtype = pywt.Wavelet(name), signal.dtype.type
    bands = analyse_axis(torch.from_numpy(signal), axis, wavelet, mode)
    expected_bands = pywt.dwt(signal, wavelet, mode, axis=axis)
    norm = np.linalg.norm(signal) + np.linalg.norm(expected_bands)
    for band, expected in zip(bands, expected_bands, strict=True):
        assert_close(band, expected, norm, dtype)
    noise = [signal_of((*band.shape, part), dtype)[..., 0] for part, band in enumerate(expected_bands, start=1)]
    full = pywt.idwt(*noise, wavelet, mode, axis=axis)
    length = signal.shape[axis]
    expected = full.take(range(length), axis)
    ours = synthesise_axis(*map(torch.from_numpy, noise), axis, wavelet, mode, length)
    assert_close(ours, expected, np.linalg.norm(noise), dtype)


@pytest.mark.parametrize("family", FAMILIES)
def test_periodization_is_that_of_pywavelets(family):
    # Neighbours of a family are the same code with other numbers, so each meets some of the lengths and types.
    names = pywt.wavelist(family, kind="discrete")
    for number, (name, length) in enumerate(product(names, LENGTHS)):
        if len(names) > 3 and number % 3:
            continue
        dtype = (np.float32, np.float64)[number % 2]
        with case(name, length, dtype):
            assert_as_pywt(signal_of((2, length), dtype), 1, name, "periodization")


@pytest.mark.parametrize("mode", OTHER_MODES)
def test_other_modes_are_those_of_pywavelets(mode):
    names = ("haar", "db2", "db7", "sym4", "coif2", "bior2.2", "bior3.1", "rbio3.3", "bior6.8")
    for name, length in product(names, (2, 3, 4, 5, 8, 13, 21, 40)):
        with case(name, length):
            assert_as_pywt(signal_of((2, length)), 1, name, mode)


@settings(deadline=None)
@given(
    name=st.sampled_from(WAVELETS),
    mode=st.sampled_from(OTHER_MODES),
    length=st.integers(2, 40),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_any_wavelet_in_any_mode_is_that_of_pywavelets(name, mode, length, dtype):
    assert_as_pywt(signal_of((length, 3), dtype), 0, name, mode)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    name=st.sampled_from(WAVELETS),
    data=st.data(),
)
def test_every_axis_of_any_tensor_can_be_transformed(shape, name, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    assert_as_pywt(signal_of(tuple(shape)), axis, name, "periodization")


@pytest.mark.parametrize("mode", pywt.Modes.modes)
def test_synthesis_inverts_analysis_at_every_length(mode):
    for name in ("haar", "db4", "sym5", "bior2.2", "bior4.4", "rbio3.3", "bior3.9"):
        wavelet = pywt.Wavelet(name)
        for length in range(2, 41):
            signal = torch.from_numpy(signal_of((length, 2)))
            bands = analyse_axis(signal, 0, wavelet, mode)
            back = synthesise_axis(*bands, 0, wavelet, mode, length)
            error = torch.linalg.vector_norm(back - signal)
            # PyWavelets' filters have about 12 digits.
            assert back.shape == signal.shape
            assert error <= 1e-11 * torch.linalg.vector_norm(torch.cat(bands))


@pytest.mark.parametrize(("name", "taps"), [("haar", 2), ("bior2.2", 6), ("db8", 16)])
def test_number_of_coefficients(name, taps):
    for mode, length in product(pywt.Modes.modes, range(2, 41)):
        count = -(-length // 2) if mode == "periodization" else (length + taps - 1) // 2
        bands = analyse_axis(torch.zeros(length), 0, pywt.Wavelet(name), mode)
        assert [tuple(band.shape) for band in bands] == [(count,), (count,)], (mode, length)


def test_tensors_that_are_not_contiguous_give_the_same_bands():
    signal = torch.from_numpy(signal_of((6, 10)))
    wavelet = pywt.Wavelet("db3")
    strided = analyse_axis(signal.T, 0, wavelet, "periodization")
    plain = analyse_axis(signal.T.contiguous(), 0, wavelet, "periodization")
    assert all(torch.equal(a, b) for a, b in zip(strided, plain, strict=True))
    assert torch.equal(
        synthesise_axis(plain[0].T, plain[1].T, 1, wavelet, "periodization", 10),
        synthesise_axis(*plain, 0, wavelet, "periodization", 10).T,
    )


@pytest.mark.parametrize("mode", ["periodization", "symmetric", "zero"])
@pytest.mark.parametrize(("name", "length"), [("haar", 2), ("haar", 7), ("bior2.2", 12), ("rbio3.3", 9), ("db4", 5)])
def test_synthesis_has_gradients(name, length, mode):
    wavelet = pywt.Wavelet(name)
    bands = [
        band.clone().requires_grad_()
        for band in analyse_axis(torch.from_numpy(signal_of((2, length))), 1, wavelet, mode)
    ]
    assert torch.autograd.gradcheck(lambda a, d: synthesise_axis(a, d, 1, wavelet, mode, length), bands)


@pytest.mark.parametrize("name", ["haar", "sym4", "bior4.4"])
def test_the_gradient_is_the_transposed_synthesis(name):
    wavelet, length = pywt.Wavelet(name), 12
    count = length // 2
    units = np.eye(count)
    zeros = np.zeros((count, count))
    matrix = np.concatenate(
        [
            pywt.idwt(units, zeros, wavelet, "periodization", axis=1),
            pywt.idwt(zeros, units, wavelet, "periodization", axis=1),
        ]
    )
    bands = [torch.zeros(count, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    upstream = signal_of((length,))
    synthesise_axis(*bands, 0, wavelet, "periodization", length).backward(torch.from_numpy(upstream))
    assert_close(torch.cat([band.grad for band in bands]), matrix @ upstream, 1.0)
