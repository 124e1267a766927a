"""Bands as rows and columns, and what lies above them."""

from math import prod

import numpy as np
import pytest
from bases import identity, wavelet

from wavesweep.codec.planes import Plane, planes_of


def bands_of(basis):
    return [(band.level, band.orientation, band.shape) for band in basis.bands]


@pytest.mark.parametrize(
    ("shape", "axes", "levels"),
    [
        ((16,), (0,), (3,)),
        ((17, 23), (0, 1), (2, 2)),
        ((12, 20), (0, 1), (1, 3)),
        ((10, 3, 28, 28), (2, 3), (3, 3)),
        ((6, 1, 9, 13), (0, 1, 2, 3), (1, 0, 2, 2)),
    ],
)
def test_planes_of_wavelet_bands_have_parents(shape, axes, levels):
    basis = wavelet(shape, axes, levels, "haar", "periodization")
    bands = bands_of(basis)
    planes = planes_of(bands)
    assert [plane.shape for plane in planes] == [band.shape for band in basis.bands]
    assert planes[0].parent is None
    for number, (plane, (level, orientation, _)) in enumerate(zip(planes[1:], bands[1:], strict=True), start=1):
        assert plane.parent is not None
        assert plane.parent < number  # else it would not be decoded yet
        coarser = [i for i, (other, name, _) in enumerate(bands) if (other, name) == (level + 1, orientation)]
        assert plane.parent == (coarser[0] if coarser else 0)
        above = planes[plane.parent].shape
        for size, most, index in zip(plane.shape, above, plane.index_maps, strict=True):
            assert len(index) == size
            assert all(0 <= i < most for i in index)
            if most == size:
                assert index == tuple(range(size))
            elif coarser:
                assert index == tuple(i // 2 for i in range(size))


def test_above_takes_the_parent_over_each_symbol():
    planes = planes_of(bands_of(wavelet((8, 5), (0, 1), (2, 2), "haar", "periodization")))
    fine = planes[-1]
    parent = planes[fine.parent]
    values = np.arange(prod(parent.shape)).reshape(parent.shape)
    seen = fine.above(values)
    assert seen.shape == fine.shape
    for row in range(fine.rows):
        for column in range(fine.columns):
            assert seen[row, column] == values[row // 2, min(column // 2, parent.columns - 1)]


def test_planes_of_scalars_and_signals():
    assert planes_of(bands_of(identity(()))) == [Plane((1,))]
    plane = planes_of(bands_of(identity((5, 3, 2, 2))))[0]
    assert (plane.rows, plane.columns, plane.grid) == (5, 12, (3, 2, 2))
    line = planes_of(bands_of(identity((7,))))[0]
    assert (line.rows, line.columns, line.grid) == (7, 1, None)
