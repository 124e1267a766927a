"""Bases against PyWavelets and SciPy, band by band, and as exact inverses of themselves."""

from itertools import product
from math import prod

import numpy as np
import pytest
import pywt
import scipy.fft
import torch
from bases import dct, identity, rotation, shuffled, wavelet
from cases import case
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.runtime.seeding import derived_seed
from wavesweep.transform.rotation import ROTATION_BLOCK

WAVELETS = pywt.wavelist(kind="discrete")
FAMILIES = sorted({name.rstrip("0123456789.") for name in WAVELETS})
SOME = ["haar", "db2", "sym4", "bior2.2", "rbio3.3", "bior4.4", "coif1"]
# PyWavelets' discrete Meyer filters are cut off, so they alone do not invert exactly.
EXACT = [name for name in WAVELETS if name != "dmey"]


def signal_of(shape):
    return np.random.default_rng(list(shape)).standard_normal(shape)


def max_levels(shape, axes, name):
    return tuple(pywt.dwt_max_level(shape[axis], pywt.Wavelet(name).dec_len) for axis in axes)


def iterated_dwtn(signal, axes, levels, name, mode):
    """(orientation, coefficients) in our order, by PyWavelets' single-level transform of the active axes."""
    details = []
    for level in range(1, max(levels) + 1):
        active = [axis for axis, most in zip(axes, levels, strict=True) if most >= level]
        bands = pywt.dwtn(signal, name, mode, axes=active)
        signal = bands.pop("a" * len(active))
        letters = [dict(zip(active, key, strict=True)) for key in bands]
        names = ["".join(letter.get(axis, "-") for axis in axes) for letter in letters]
        details.append(list(zip(names, bands.values(), strict=True)))
    coarsest = "".join("a" if most == max(levels) else "-" for most in levels)
    return [(coarsest, signal), *(band for bands in reversed(details) for band in bands)]


def assert_bands_equal(signal, axes, levels, name, mode, expected):
    """`expected`: (orientation, coefficients) from the approximation to the finest details."""
    basis = wavelet(signal.shape, axes, levels, name, mode)
    vector = basis.analyse(torch.from_numpy(signal)).numpy()
    assert vector.shape == (basis.count,)
    assert [band.orientation for band in basis.bands] == [orientation for orientation, _ in expected]
    assert [band.shape for band in basis.bands] == [values.shape for _, values in expected]
    sizes = [values.size for _, values in expected]
    assert [band.start for band in basis.bands] == [sum(sizes[:index]) for index in range(len(sizes))]
    flat = np.concatenate([values.ravel() for _, values in expected])
    assert np.linalg.norm(vector - flat) <= 1e-12 * (np.linalg.norm(flat) + np.linalg.norm(signal))
    return basis.bands


def wavedecn(signal, axes, level, name, mode):
    coarse, *details = pywt.wavedecn(signal, name, mode, level=level, axes=axes)
    return [("a" * len(axes), coarse), *(band for bands in details for band in bands.items())]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_axis_is_wavedecn(family):
    for name, length in product(pywt.wavelist(family, kind="discrete"), range(1, 41)):
        signal = signal_of((length,))
        for level in range(1, max_levels((length,), (0,), name)[0] + 1):
            with case(name, length, level):
                expected = wavedecn(signal, (0,), level, name, "periodization")
                bands = assert_bands_equal(signal, (0,), (level,), name, "periodization", expected)
                assert [band.level for band in bands] == [level, *range(level, 0, -1)]
                assert ["d" not in band.orientation for band in bands] == [True] + [False] * level


@pytest.mark.parametrize(
    ("shape", "axes", "level"),
    [((37,), (0,), 2), ((20, 33), (0, 1), 2), ((16, 3, 25), (0, 2), 1), ((5, 16, 9, 18), (1, 3), 2)],
)
def test_several_axes_are_wavedecn_in_every_mode(shape, axes, level):
    for mode, name in product(pywt.Modes.modes, ("haar", "db2", "bior2.2")):
        with case(name, mode):
            signal, most = signal_of(shape), min(level, *max_levels(shape, axes, name))
            expected = wavedecn(signal, axes, most, name, mode)
            assert_bands_equal(signal, axes, (most,) * len(axes), name, mode, expected)


@pytest.mark.parametrize("mode", ["periodization", "symmetric"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((64, 9), (0, 1)), ((40, 300), (0, 1)), ((12, 1, 28, 31), (0, 1, 2, 3)), ((7, 33, 16), (0, 1, 2))],
)
def test_axes_whose_levels_are_used_up_are_left_alone(shape, axes, mode):
    for name in SOME:
        with case(name):
            levels, signal = max_levels(shape, axes, name), signal_of(shape)
            assert len(set(levels)) > 1
            assert_bands_equal(signal, axes, levels, name, mode, iterated_dwtn(signal, axes, levels, name, mode))


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    name=st.sampled_from(WAVELETS),
    mode=st.sampled_from(["periodization", "zero", "periodic"]),
    data=st.data(),
)
def test_any_shape_and_levels_are_those_of_pywavelets(shape, name, mode, data):
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(sorted))
    levels = data.draw(st.lists(st.integers(0, 3), min_size=len(axes), max_size=len(axes)).filter(any))
    signal = signal_of(shape)
    assert_bands_equal(signal, axes, levels, name, mode, iterated_dwtn(signal, axes, levels, name, mode))


def bases_of(shape, axes, levels, name, mode):
    return {
        "identity": identity(shape),
        "wavelet": wavelet(shape, axes, levels, name, mode),
        "dct": dct(shape, axes),
        "rotation": rotation(shape, axes, 1, "fc1.weight"),
        "shuffled": shuffled(shape, axes, levels, name, mode, 1, "fc1.weight"),
    }


def assert_inverts(basis, shape, tolerance=1e-5):
    signal = torch.from_numpy(signal_of(shape)).float()
    coefficients = basis.analyse(signal)
    back = basis.synthesise(coefficients)
    assert coefficients.shape == (basis.count,)
    assert (coefficients.dtype, back.dtype, back.shape) == (torch.float32, torch.float32, signal.shape)
    assert torch.linalg.vector_norm(back - signal) <= tolerance * torch.linalg.vector_norm(signal)


@pytest.mark.parametrize("mode", pywt.Modes.modes)
def test_every_wavelet_inverts_in_every_mode(mode):
    # One axis and two are the same code for every wavelet, so each meets one of the shapes.
    for number, name in enumerate(EXACT):
        shape = ((97,), (40, 120))[number % 2]
        with case(name, shape):
            axes = tuple(range(len(shape)))
            # More levels let the modes that extrapolate (smooth, antireflect) outgrow single precision.
            levels = tuple(min(3, most) for most in max_levels(shape, axes, name))
            assert_inverts(wavelet(shape, axes, levels, name, mode), shape)


def test_discrete_meyer_inverts_as_well_as_in_pywavelets():
    signal = signal_of((200,)).astype(np.float32)
    expected = pywt.waverecn(pywt.wavedecn(signal, "dmey", "periodization", level=1), "dmey", "periodization")
    basis = wavelet((200,), (0,), (1,), "dmey", "periodization")
    back = basis.synthesise(basis.analyse(torch.from_numpy(signal))).numpy()
    np.testing.assert_allclose(back, expected, atol=1e-5)
    assert_inverts(basis, (200,), tolerance=0.01)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    name=st.sampled_from(SOME),
    mode=st.sampled_from(["periodization", "symmetric", "zero", "periodic", "constant"]),
    data=st.data(),
)
def test_every_basis_inverts_at_any_shape(shape, name, mode, data):
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True).map(lambda a: tuple(sorted(a))))
    levels = data.draw(st.tuples(*(st.integers(0, 2) for _ in axes)))
    for basis in bases_of(shape, axes, levels, name, mode).values():
        assert_inverts(basis, shape)


@pytest.mark.parametrize("kind", ["identity", "wavelet", "dct", "rotation", "shuffled"])
def test_every_basis_is_in_float32_under_autocast(kind):
    basis = bases_of((12, 10), (0, 1), (1, 1), "db2", "periodization")[kind]
    signal = torch.randn(12, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = basis.synthesise(basis.analyse(signal))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, signal, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["identity", "dct", "rotation", "shuffled"])
def test_an_axis_longer_than_a_rotation_block_inverts(kind):
    shape = (ROTATION_BLOCK + 7, 2)
    assert_inverts(bases_of(shape, (0, 1), (3, 0), "bior2.2", "periodization")[kind], shape)


def test_no_axes_is_the_identity():
    signal = torch.arange(6.0).reshape(2, 3)
    for basis in bases_of((2, 3), (), (), "haar", "periodization").values():
        assert torch.equal(basis.analyse(signal), signal.flatten())
        assert [band.shape for band in basis.bands] == [(2, 3)]
        assert basis.bands[0].level == 0


@pytest.mark.parametrize(("shape", "axes"), [((13,), (0,)), ((5, 8), (0, 1)), ((4, 2, 5, 5), (2, 3))])
def test_dct_is_that_of_scipy_and_of_its_definition(shape, axes):
    signal = signal_of(shape)
    vector = dct(shape, axes).analyse(torch.from_numpy(signal)).numpy()
    np.testing.assert_allclose(vector, scipy.fft.dctn(signal, axes=axes, norm="ortho").ravel(), atol=1e-12)
    for axis in axes:
        length = shape[axis]
        k, n = np.ogrid[:length, :length]
        cosines = np.cos(np.pi * k * (2 * n + 1) / (2 * length)) * np.sqrt(np.where(k == 0, 1, 2) / length)
        signal = np.moveaxis(np.tensordot(cosines, signal, (1, axis)), 0, axis)
    np.testing.assert_allclose(vector, signal.ravel(), atol=1e-12)


def test_rotation_keeps_norms_and_angles():
    shape = (30, 3, 8)
    basis = rotation(shape, (0, 2), 5, "conv1.weight")
    one, two = torch.from_numpy(signal_of((2, *shape)))
    a, b = basis.analyse(one), basis.analyse(two)
    assert (a @ a).item() == pytest.approx((one * one).sum().item(), rel=1e-12)
    assert (a @ b).item() == pytest.approx((one * two).sum().item(), rel=1e-10)
    assert (a - one.flatten()).norm() > 0.5 * one.norm()


def test_rotation_follows_from_seed_and_name_alone():
    def rotated(seed, name):
        return rotation((24, 5), (0, 1), seed, name).analyse(torch.from_numpy(signal_of((24, 5))))

    first = rotated(0, "a")
    assert torch.equal(first, rotated(0, "a"))
    assert all((first - other).norm() > 0.1 * first.norm() for other in (rotated(1, "a"), rotated(0, "b")))


def test_axes_have_matrices_of_their_own_and_blocks_of_an_axis_share_one():
    basis = rotation((12, 12), (0, 1), 0, "fc1.weight")
    rows = basis.analyse(torch.eye(12)).reshape(12, 12)
    assert (rows - torch.eye(12)).norm() > 1  # A I B^T is the identity only where A and B are equal
    long = rotation((2 * ROTATION_BLOCK + 3,), (0,), 0, "fc1.weight")
    units = torch.zeros(2 * ROTATION_BLOCK + 3)
    units[[0, ROTATION_BLOCK]] = 1
    first, second, rest = torch.split(long.analyse(units), ROTATION_BLOCK)
    assert torch.equal(first, second)
    assert not rest.any()


def test_shuffled_is_the_same_transform_of_a_permuted_signal():
    shape, axes, levels = (12, 5, 16), (0, 2), (2, 2)
    numbers = torch.arange(prod(shape))
    order = shuffled(shape, axes, (0, 0), "sym4", "periodization", 3, "w").analyse(numbers.reshape(shape))
    assert torch.equal(order.sort().values, numbers)
    assert not torch.equal(order, numbers)
    signal = torch.from_numpy(signal_of(shape))
    permuted = signal.flatten()[order].reshape(shape)
    found = shuffled(shape, axes, levels, "sym4", "periodization", 3, "w").analyse(signal)
    assert torch.equal(found, wavelet(shape, axes, levels, "sym4", "periodization").analyse(permuted))
    for seed, name in ((4, "w"), (3, "v")):
        other = shuffled(shape, axes, levels, "sym4", "periodization", seed, name)
        assert not torch.equal(found, other.analyse(signal))


def test_seeds_differ_by_purpose_and_tensor():
    seeds = {derived_seed(*parts) for parts in product((0, 1), ("rotation", "random"), "ab")}
    assert len(seeds) == 8
    assert derived_seed(0, "random", "fc1.weight") == derived_seed(0, "random", "fc1.weight")


@pytest.mark.parametrize(
    ("shape", "level", "name", "mode", "times"),
    [
        ((64, 576), 3, "bior2.2", "symmetric", 1.13),
        ((64, 576), 3, "bior4.4", "symmetric", 1.25),
        ((64, 576), 4, "bior5.5", "symmetric", 1.36),
        ((64, 576), 3, "bior2.2", "periodization", 1),
        ((3, 3), 1, "haar", "symmetric", 1.78),
        ((3, 3), 1, "bior2.2", "symmetric", 7.11),
    ],
)
def test_boundary_modes_cost_coefficients(shape, level, name, mode, times):
    basis = wavelet(shape, (0, 1), (level, level), name, mode)
    assert basis.count / prod(shape) == pytest.approx(times, abs=0.01)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_periodization_grows_by_one_per_odd_length(level):
    assert wavelet((33,), (0,), (level,), "db2", "periodization").count == 33 + level
    assert wavelet((32,), (0,), (level,), "db2", "periodization").count == 32


def norm_in_the_middle(basis, band):
    coefficients = torch.zeros(basis.count, dtype=torch.float64)
    middle = tuple(size // 2 for size in band.shape)
    coefficients[band.slice].view(band.shape)[middle] = 1
    return torch.linalg.vector_norm(basis.synthesise(coefficients)).item()


@pytest.mark.parametrize("level", [1, 2, 4])
def test_atom_norm_is_the_norm_of_a_synthesised_unit(level):
    for name in WAVELETS:
        basis = wavelet((4096,), (0,), (level,), name, "periodization")
        for band in basis.bands:
            with case(name, band.level, band.orientation):
                assert band.atom_norm == pytest.approx(norm_in_the_middle(basis, band), rel=1e-9)


@pytest.mark.parametrize("name", SOME)
def test_atom_norms_of_several_axes_multiply(name):
    basis = wavelet((96, 256, 2), (0, 1, 2), (1, 3, 0), name, "periodization")
    for band in basis.bands:
        assert band.atom_norm == pytest.approx(norm_in_the_middle(basis, band), rel=1e-9)


def test_atoms_of_orthogonal_wavelets_have_norm_one():
    for name in (name for name in EXACT if pywt.Wavelet(name).orthogonal):
        with case(name):
            bands = wavelet((512, 512), (0, 1), (3, 2), name, "periodization").bands
            assert [band.atom_norm for band in bands] == pytest.approx([1] * len(bands), abs=1e-7)
