"""Bases by their kind, as the tests of several rooms need them."""

from wavesweep.transform.basis import BasisSpec, make_basis


def identity(shape):
    return make_basis(BasisSpec("identity"), shape)


def wavelet(shape, axes, levels, name, mode="periodization"):
    return make_basis(BasisSpec("wavelet", tuple(axes), name, tuple(levels), mode), shape)


def dct(shape, axes):
    return make_basis(BasisSpec("dct", tuple(axes)), shape)


def rotation(shape, axes, seed, name):
    return make_basis(BasisSpec("rotation", tuple(axes), seed=seed, name=name), shape)


def shuffled(shape, axes, levels, wavelet, mode, seed, name):
    return make_basis(BasisSpec("shuffled", tuple(axes), wavelet, tuple(levels), mode, seed, name), shape)
