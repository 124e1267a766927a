"""Our percentile prunes an exact count; a published rule prunes "at or below the percentile of that tensor"."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from wavesweep.pruning.selection import keep_top, kept_count


def masks_of(magnitudes, percentile):
    """What our rule keeps, and what the published one does."""
    ours = keep_top(torch.from_numpy(magnitudes), kept_count(magnitudes.size, percentile)).numpy()
    return ours, magnitudes > np.percentile(magnitudes, percentile)


@given(count=st.integers(1, 400), percentile=st.integers(0, 1000).map(lambda tenths: tenths / 10))
def test_without_ties_the_two_rules_differ_by_one_weight_at_most(count, percentile):
    magnitudes = np.random.default_rng(count).permutation(count).astype(np.float64)
    ours, published = masks_of(magnitudes, percentile)
    assert np.count_nonzero(ours != published) <= 1


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=60), percentile=st.integers(0, 100))
def test_with_ties_the_published_rule_prunes_all_weights_of_the_edge(values, percentile):
    magnitudes = np.array(values, np.float64)
    ours, published = masks_of(magnitudes, float(percentile))
    different = np.flatnonzero(ours != published)
    if different.size > 1:
        assert np.unique(magnitudes[different]).size == 1
        assert ours[different].all()


def test_where_half_of_the_weights_are_equal_the_published_rule_prunes_them_all():
    magnitudes = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    ours, published = masks_of(magnitudes, 25.0)
    assert ours.tolist() == [True, True, False, False, True, True, True, True]
    assert published.tolist() == [False] * 4 + [True] * 4
