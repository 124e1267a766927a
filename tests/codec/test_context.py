"""The range coder's model: exact tables, batches and planes that any machine computes alike."""

import hashlib
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from bases import identity, wavelet
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.codec.context import (
    LOG_ODDS,
    ONE,
    PROBABILITY,
    Batch,
    Plane,
    Significance,
    Tables,
    batches,
    growing,
    planes_of,
    spread,
)
from wavesweep.codec.range_coder import significance_probabilities

SIZES = st.integers(0, 70)


def bands_of(basis):
    return [(band.level, band.orientation, band.shape) for band in basis.bands]


@given(SIZES, SIZES)
def test_batches_cover_each_symbol_once(rows, columns):
    seen = np.zeros((rows, columns), int)
    for batch in batches(rows, columns):
        assert batch.rows.size
        assert batch.columns.size
        seen[batch.where] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 1), (300, 784), (1, 1_000_000)])
def test_the_number_of_batches_grows_with_the_logarithm(rows, columns):
    number = len(batches(rows, columns))
    assert number <= (2 * np.log2(rows) + 1) * (2 * np.log2(columns) + 1)


@given(st.integers(0, 5000))
def test_spread_is_a_permutation(count):
    order = spread(count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_every_beginning_of_spread_is_spread():
    for count in (100, 1000):
        beginning = np.sort(spread(count)[: count // 4])
        gaps = np.diff(beginning, prepend=-1, append=count)
        assert gaps.max() <= 10


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_doubling_edges_double(count, first):
    edges = growing(count, first, 2)
    assert edges[0] == 0
    assert edges[-1] == count
    assert edges == sorted(set(edges))
    assert all(edge == first << number for number, edge in enumerate(edges[1:-1]))


@given(st.integers(0, 10_000), st.integers(2, 64))
def test_other_edges_grow_by_half(count, first):
    edges = growing(count, first, 1)
    assert (edges[0], edges[-1]) == (0, count)
    assert all(later == earlier * 3 // 2 for earlier, later in pairwise(edges[1:-1]))


def test_the_tables_are_what_files_were_made_with():
    # A file made with other tables would not decode, so these never change within a version of the format.
    digest = hashlib.sha256(LOG_ODDS.astype("<i8").tobytes() + PROBABILITY.astype("<i8").tobytes()).hexdigest()
    assert digest == "a5e8da71a6a5b5bbebb5b4a4221777cf26cc8091aa6b69e618c3a4d47f6f51fe"
    assert (LOG_ODDS.dtype, PROBABILITY.dtype) == (np.int64, np.int64)
    assert (LOG_ODDS.shape, PROBABILITY.shape) == ((ONE,), (2 * 3071 + 1,))


def test_no_library_can_round_an_entry_of_the_tables_differently():
    centres = (np.arange(ONE, dtype=np.longdouble) + 0.5) / ONE
    odds = np.arange(-3071, 3072, dtype=np.longdouble) / 256
    exact = [(np.log(centres / (1 - centres)) * 256, LOG_ODDS), (ONE / (1 + np.exp(-odds)), PROBABILITY)]
    for values, table in exact:
        clipped = np.clip(values, table.min(), table.max())
        assert (np.abs(clipped - table) < 0.5).all()
        # Double precision errs by less than 1e-9 here; a tie further away than that cannot tip.
        from_tie = np.abs(values - np.floor(values) - 0.5)
        assert from_tie[(values > table.min()) & (values < table.max())].min() > 1e-7


def test_the_tables_are_monotonic_and_symmetric():
    assert (np.diff(LOG_ODDS) >= 0).all()
    assert (np.diff(PROBABILITY) >= 0).all()
    assert (-LOG_ODDS[::-1] == LOG_ODDS).all()
    assert (PROBABILITY + PROBABILITY[::-1] == ONE).all()
    assert (PROBABILITY.min(), PROBABILITY.max()) == (4, ONE - 4)


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


@settings(deadline=None, max_examples=50)
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple),
    share=st.sampled_from([0, 1, 50, 99, 100]),
    seed=st.integers(0, 1 << 32),
)
def test_probabilities_stay_inside_and_above_zero(shape, share, seed):
    axes = tuple(range(len(shape)))
    basis = wavelet(shape, axes, (1,) * len(axes), "haar", "periodization")
    planes = planes_of(bands_of(basis))
    generator = np.random.default_rng(seed)
    symbols = [
        (generator.integers(0, 100, band.shape) < share).astype(np.int32) * generator.integers(1, 9, band.shape)
        for band in basis.bands
    ]
    for found, band in zip(significance_probabilities(planes, symbols), basis.bands, strict=True):
        assert found.shape == band.shape
        assert ((found >= 4) & (found <= ONE - 4)).all()


def test_long_runs_push_probabilities_to_the_edges_and_no_further():
    for value in (0, 1):
        plane = Plane((4096, 256))
        found = significance_probabilities([plane], [np.full((4096, 256), value, np.int32)])[0]
        assert 4 <= found.min() <= found.max() <= ONE - 4
        last = found[-1, -1] if value == 0 else ONE - found[-1, -1]
        assert last < ONE // 100


def test_learning_makes_a_dense_row_likelier():
    plane = Plane((40, 60))
    model = Significance(plane, Tables(), None, None)
    symbols = np.zeros((40, 60), np.int64)
    symbols[7] = 1
    for batch in batches(40, 60):
        model.code(batch, lambda piece, _: symbols[piece.where])
    found = {}
    model.code(Batch(np.arange(40), np.arange(60)), lambda _, expected: found.setdefault("all", expected) * 0)
    assert found["all"][7].min() > 4 * np.delete(found["all"], 7, axis=0).max()
