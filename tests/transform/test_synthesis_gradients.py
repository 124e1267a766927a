"""Gradients through every basis: those of finite differences, and the synthesis matrix transposed."""

from itertools import product

import numpy as np
import pytest
import pywt
import scipy.fft
import torch
from cases import case
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.transform import rotation as rotation_module
from wavesweep.transform.basis import BasisSpec, make_basis
from wavesweep.transform.dct import dct_by_matrices

WAVELETS = pywt.wavelist(kind="discrete")
SPECS = {
    "identity": BasisSpec("identity"),
    "dct": BasisSpec("dct", (0, 1)),
    "dct of columns": BasisSpec("dct", (1,)),
    "rotation": BasisSpec("rotation", (0, 1), seed=3, name="w"),
    "shuffled": BasisSpec("shuffled", (0, 1), "db2", (1, 1), "periodization", 3, "w"),
    "wavelet": BasisSpec("wavelet", (0, 1), "bior2.2", (1, 2), "periodization"),
    "wavelet of rows": BasisSpec("wavelet", (0,), "sym4", (1,), "symmetric"),
}


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def synthesis_matrix(basis, size):
    """Columns are the atoms: what a unit coefficient becomes, without autograd."""
    with torch.no_grad():
        atoms = [basis.synthesise(unit).reshape(-1) for unit in torch.eye(basis.count, dtype=torch.float64)]
    matrix = torch.stack(atoms, 1)
    assert matrix.shape == (size, basis.count)
    return matrix


def assert_adjoint(basis, shape):
    """<synthesise(c), w> = <c, gradient(w)> for any c and w."""
    values, upstream = noise(basis.count, seed=1), noise(*shape, seed=2)
    coefficients = values.clone().requires_grad_()
    signal = basis.synthesise(coefficients)
    assert signal.shape == shape
    (gradient,) = torch.autograd.grad(signal, coefficients, upstream)
    ahead, back = float((signal.detach() * upstream).sum()), float((values * gradient).sum())
    assert abs(ahead - back) <= 1e-12 * max(float(values.norm() * gradient.norm()), 1.0)
    return gradient, upstream


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("shape", [(6, 9), (8, 12)], ids=["odd", "even"])
def test_finite_differences_agree(spec, shape):
    basis = make_basis(spec, shape)
    coefficients = noise(basis.count).requires_grad_()
    assert torch.autograd.gradcheck(basis.synthesise, (coefficients,))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_gradient_is_that_of_the_transposed_matrix(spec):
    shape = (7, 10)
    basis = make_basis(spec, shape)
    gradient, upstream = assert_adjoint(basis, shape)
    assert torch.allclose(gradient, synthesis_matrix(basis, 70).T @ upstream.reshape(-1), atol=1e-12)


@pytest.mark.parametrize("mode", pywt.Modes.modes)
def test_every_mode_and_odd_sizes(mode):
    names = ("haar", "sym4", "rbio3.3", "bior3.1", "dmey")
    for name, shape in product(names, ((5, 13), (16, 3), (2, 2))):
        with case(name, shape):
            basis = make_basis(BasisSpec("wavelet", (0, 1), name, (1, 1), mode), shape)
            gradient, upstream = assert_adjoint(basis, shape)
            if basis.count < 400:
                matrix = synthesis_matrix(basis, upstream.numel())
                assert torch.allclose(gradient, matrix.T @ upstream.reshape(-1), atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(1, 11), min_size=1, max_size=4).map(tuple),
    name=st.sampled_from(WAVELETS),
    mode=st.sampled_from(["periodization", "zero", "symmetric", "periodic", "smooth"]),
    shuffles=st.booleans(),
    data=st.data(),
)
def test_any_shape_axes_and_levels(shape, name, mode, shuffles, data):
    axes = tuple(data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=3, unique=True).map(sorted)))
    levels = tuple(data.draw(st.lists(st.integers(0, 3), min_size=len(axes), max_size=len(axes))))
    kind = "shuffled" if shuffles else "wavelet"
    assert_adjoint(make_basis(BasisSpec(kind, axes, name, levels, mode, 1, "w"), shape), shape)


@settings(deadline=None, max_examples=30)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple),
    kind=st.sampled_from(["dct", "rotation"]),
    data=st.data(),
)
def test_any_shape_of_orthonormal_bases_also_preserves_norms(shape, kind, data):
    axes = tuple(data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, max_size=2, unique=True).map(sorted)))
    gradient, upstream = assert_adjoint(make_basis(BasisSpec(kind, axes, seed=1, name="w"), shape), shape)
    assert float(gradient.norm()) == pytest.approx(float(upstream.norm()), rel=1e-9)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_float32_gradients_are_those_of_float64(spec):
    shape = (12, 20)
    basis = make_basis(spec, shape)
    double, upstream = assert_adjoint(basis, shape)
    coefficients = noise(basis.count).float().requires_grad_()
    (gradient,) = torch.autograd.grad(basis.synthesise(coefficients), coefficients, upstream.float())
    assert gradient.dtype == torch.float32
    assert torch.allclose(gradient.double(), double, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_training_continues_after_an_evaluation_in_inference_mode(spec):
    shape = (14, 10)
    before, after = make_basis(spec, shape), make_basis(spec, shape)
    coefficients = noise(before.count, seed=4).float().requires_grad_()
    with torch.inference_mode():
        before.synthesise(coefficients)
    (found,) = torch.autograd.grad(before.synthesise(coefficients).square().sum(), coefficients)
    (expected,) = torch.autograd.grad(after.synthesise(coefficients).square().sum(), coefficients)
    assert torch.equal(found, expected)
    assert found.any()


def test_the_matrices_of_a_rotation_are_made_once(monkeypatch):
    made = []
    original = rotation_module._orthogonal
    monkeypatch.setattr(rotation_module, "_orthogonal", lambda size, seed: made.append(size) or original(size, seed))
    # More of them than would be remembered between bases; a step of training needs those of all layers.
    bases = [make_basis(BasisSpec("rotation", (0, 1), seed=0, name=str(number)), (5, 7)) for number in range(20)]
    coefficients = noise(35).requires_grad_()
    for _ in range(3):
        sum(basis.synthesise(coefficients) for basis in bases).sum().backward()
    assert sorted(made) == [5] * 20 + [7] * 20


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2)])
def test_the_dct_of_a_gpu_is_that_of_scipy(axes, inverse):
    signal = noise(6, 9, 5, seed=5)
    transform = scipy.fft.idctn if inverse else scipy.fft.dctn
    expected = transform(signal.numpy(), axes=axes, norm="ortho")
    np.testing.assert_allclose(dct_by_matrices(signal, axes, inverse).numpy(), expected, atol=1e-13)
    with torch.autocast("cpu"):  # as precise as the other bases
        found = dct_by_matrices(signal.float(), axes, inverse)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
