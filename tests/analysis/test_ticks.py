"""Ticks of logarithmic axes."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavesweep.analysis.charts.style import log_ticks


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (900, 2_000_000, [1e3, 1e4, 1e5, 1e6]),
        (3_000, 60_000, [5e3, 1e4, 2e4, 5e4]),
        (8_800, 18_000, [9e3, 1.2e4, 1.4e4, 1.6e4]),
        (57_000, 63_500, [5.7e4, 5.9e4, 6.1e4, 6.3e4]),
        (8_300, 11_800, [9e3, 1e4]),
        (0.02, 0.3, [0.02, 0.05, 0.1, 0.2]),
    ],
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(1e-6, 1e8), st.floats(1.2, 1e6))
def test_there_are_two_at_least_and_their_labels_have_room(low, factor):
    ticks = log_ticks(low, low * factor)
    assert len(ticks) >= 2
    assert ticks == sorted(ticks)
    assert low <= ticks[0] <= ticks[-1] <= low * factor
    gaps = [math.log(b / a) / math.log(factor) for a, b in pairwise(ticks)]
    assert min(gaps) > 0.1699
    assert len(ticks) <= 6
