"""Fronts on data frames: the same as by brute force, per family and per method."""

import numpy as np
import pandas as pd
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st
from records import write_records

from wavesweep.analysis.statistics.pareto import (
    ACCURACY,
    BYTES_AND_ACCURACY,
    SPARSITY,
    front,
    front_hypervolume,
    front_knee,
    fronts_per_family,
    fronts_per_method,
    wavelet_family,
    worst_point,
)
from wavesweep.analysis.table.collect import collect


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    write_records(outputs, 240, seeds=2, settings={"level": 2})
    return collect(outputs).trials


def by_hand(rows):
    """Positions of the rows that none beats in bytes and accuracy."""
    pairs = rows[["stored_bytes", "validation_accuracy"]].to_numpy()
    return {
        i
        for i, (size, accuracy) in enumerate(pairs)
        if not any(s <= size and a >= accuracy and (s < size or a > accuracy) for s, a in pairs)
    }


values = st.one_of(st.none(), st.integers(0, 4))


@settings(deadline=None)
@given(st.lists(st.tuples(values, values), max_size=12))
def test_the_front_of_a_frame_leaves_out_missing_values_and_keeps_copies(pairs):
    rows = pd.DataFrame(pairs, columns=["stored_bytes", "validation_accuracy"], dtype=float)
    rows.index += 100
    whole = rows.dropna()
    expected = whole.iloc[sorted(by_hand(whole))]
    found = front(rows)
    assert set(found.index) == set(expected.index)
    assert found["stored_bytes"].is_monotonic_increasing


def test_the_front_of_a_real_table_and_its_area(trials):
    found = front(trials)
    assert set(found.index) == {trials.index[i] for i in by_hand(trials)}
    reference = worst_point(trials)
    assert front_hypervolume(trials, reference) == pytest.approx(front_hypervolume(found, reference))
    # Monte Carlo over the box between the best and the reference point.
    draws = np.random.default_rng(0).random((4000, 2))
    best = np.array([found["stored_bytes"].min(), found["validation_accuracy"].max()])
    box = draws * (best - reference) + reference
    pairs = found[["stored_bytes", "validation_accuracy"]].to_numpy()
    share = np.mean([((pairs[:, 0] <= x) & (pairs[:, 1] >= y)).any() for x, y in box])
    area = abs(np.prod(best - reference))
    assert front_hypervolume(trials, reference) == pytest.approx(share * area, rel=0.05)


def test_the_knee_is_a_row_of_the_front(trials):
    assert front_knee(trials).name in front(trials).index
    assert front_knee(trials, (SPARSITY, ACCURACY)).name in front(trials, (SPARSITY, ACCURACY)).index


def test_fronts_per_method_and_family_are_those_of_their_rows(trials):
    per_method = fronts_per_method(trials)
    assert list(per_method) == ["magnitude", "random", "wavelet"]
    for method, rows in per_method.items():
        pd.testing.assert_frame_equal(rows, front(trials[trials["method"] == method]))
    per_family = fronts_per_family(trials, BYTES_AND_ACCURACY)
    assert set(per_family) == {"bior", "rbio", "haar", "db", "sym", "coif", "dmey"}
    for family, rows in per_family.items():
        of_family = trials["wavelet"].str.startswith(family) & (trials["method"] == "wavelet")
        pd.testing.assert_frame_equal(rows, front(trials[of_family]))


def test_families_are_those_of_pywavelets():
    names = pywt.wavelist(kind="discrete")
    assert {name: wavelet_family(name) for name in names} == {
        name: pywt.Wavelet(name).short_family_name for name in names
    }
