"""Synthesis in float32, by products with small matrices, is that of float64, and so are its gradients."""

from itertools import product
from math import prod

import pytest
import pywt
import torch
from cases import case
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.transform import matrices
from wavesweep.transform.basis import BasisSpec, make_basis
from wavesweep.transform.dwt import join_axis, join_axis_adjoint

WAVELETS = pywt.wavelist(kind="discrete")
MODES = ["periodization", "zero", "symmetric", "periodic", "smooth"]
# Each way of `join_axis_fast`, by limits that leave no other.
NEVER = {"_FEW_PRODUCTS": 0, "_FEW_NUMBERS": 0}
WAYS = {
    "as it is": {},
    "one matrix": {"_FEW_PRODUCTS": 10**9, "_FEW_PLANES": 10**9},
    "tiles": {**NEVER, "_NARROW": 12},
    "short tiles": {**NEVER, "_NARROW": 12, "_LEAST": 1, "_MOST": 12},
    "sums": {**NEVER, "_NARROW": 0},
}


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_as_float64(found, expected, scale):
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert float((found.double() - expected).norm()) <= 1e-5 * float(expected.norm() + scale)


def check_axis(outer, before, length, after, name, mode):
    wavelet = pywt.Wavelet(name)
    count = pywt.dwt_coeff_len(length, wavelet.dec_len, mode)
    bands, gradient = noise(outer, 2, before, count, after), noise(outer, before, length, after, seed=1)
    expected = join_axis(bands, wavelet, mode, length), join_axis_adjoint(gradient, wavelet, mode, count)
    ahead = matrices.join_axis_fast(bands.float(), wavelet, mode, length)
    back = matrices.join_axis_fast_adjoint(gradient.float(), wavelet, mode, count)
    assert_as_float64(ahead, expected[0], bands.norm())
    assert_as_float64(back, expected[1], gradient.norm())
    difference = float((ahead.double() * gradient).sum() - (bands * back.double()).sum())
    assert abs(difference) <= 1e-5 * float(bands.norm() * back.norm() + ahead.norm() * gradient.norm())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_every_way_is_that_of_float64(mode, way, monkeypatch):
    for limit, value in WAYS[way].items():
        monkeypatch.setattr(matrices, limit, value)
    names = ("haar", "db2", "db3", "bior2.2", "rbio3.3", "bior3.1", "dmey")
    for name, *sizes in product(names, (1, 2), (1, 3), (1, 2, 5, 41), (1, 3, 12)):
        with case(name, *sizes):
            check_axis(*sizes, name, mode)


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(1, 300), st.integers(1, 20)),
    name=st.sampled_from(WAVELETS),
    mode=st.sampled_from(MODES),
)
def test_any_axis_is_that_of_float64(sizes, name, mode):
    check_axis(*sizes, name, mode)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    name=st.sampled_from(WAVELETS),
    mode=st.sampled_from(MODES),
    shuffles=st.booleans(),
    data=st.data(),
)
def test_any_transform_in_float32_is_that_of_float64(shape, name, mode, shuffles, data):
    axes = tuple(data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(sorted)))
    levels = tuple(data.draw(st.lists(st.integers(0, 3), min_size=len(axes), max_size=len(axes))))
    if prod(shape) > 5_000:
        levels = tuple(min(level, 1) for level in levels)
    basis = make_basis(BasisSpec("shuffled" if shuffles else "wavelet", axes, name, levels, mode, 1, "w"), shape)
    values, upstream = noise(basis.count), noise(*shape, seed=1)
    found = []
    for dtype in (torch.float64, torch.float32):
        coefficients = values.to(dtype, copy=True).requires_grad_()
        signal = basis.synthesise(coefficients)
        signal.backward(upstream.to(dtype))
        found.append((signal.detach(), coefficients.grad))
    for double, single in zip(*found, strict=True):
        # Biorthogonal synthesis of noise grows by a factor at each level, and its rounding with it.
        assert_as_float64(single, double, values.norm())


def test_autocast_leaves_the_synthesis_in_float32():
    basis = make_basis(BasisSpec("wavelet", (0, 1), "bior2.2", (2, 2), "periodization"), (24, 40))
    values, upstream = noise(basis.count).float(), noise(24, 40, seed=1).float()
    found = []
    for enabled in (False, True):
        coefficients = values.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            signal = basis.synthesise(coefficients)
            signal.backward(upstream)
        found += [signal.detach(), coefficients.grad]
    assert all(torch.equal(a, b) for a, b in zip(found[:2], found[2:], strict=True))
