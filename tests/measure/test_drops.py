"""Points lost and their interval: a published example, the exact coverage, and what is stored of the two networks."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavesweep.measure.drops import drop_between, drop_of, packed, with_interval


def test_the_interval_is_that_of_a_published_example():
    # Fagerland, Lydersen and Laake (2014), airway hyper-responsiveness of 21 children: Bonett and Price's interval.
    drop = drop_of(lost=1, gained=7, images=21)
    assert drop.points == pytest.approx(-100 * 6 / 21)
    assert (drop.low, drop.high) == (pytest.approx(-50.8, abs=0.1), pytest.approx(-1.3, abs=0.1))


@pytest.mark.parametrize(("images", "lost", "gained"), [(144, 0.02, 0.01), (144, 0.1, 0.02), (40, 0.05, 0.05)])
def test_intervals_hold_the_true_loss_in_about_95_of_100_cases(images, lost, gained):
    covered = 0.0
    for more in range(images + 1):
        for less in range(images + 1 - more):
            rest = images - more - less
            chance = comb(images, more) * comb(images - more, less)
            probability = chance * lost**more * gained**less * (1 - lost - gained) ** rest
            if probability < 1e-12:
                continue
            drop = drop_of(more, less, images)
            covered += probability * (drop.low <= 100 * (lost - gained) <= drop.high)
    assert 0.945 < covered < 0.995


@given(st.integers(1, 500), st.data())
def test_the_loss_lies_in_its_interval_which_is_never_empty(images, data):
    lost = data.draw(st.integers(0, images))
    gained = data.draw(st.integers(0, images - lost))
    drop, other = drop_of(lost, gained, images), drop_of(gained, lost, images)
    assert -100 <= drop.low <= drop.points <= drop.high <= 100
    assert drop.low < drop.high
    assert (drop.low, drop.high) == (pytest.approx(-other.high), pytest.approx(-other.low))


def test_no_difference_on_few_images_is_no_certainty():
    assert drop_of(0, 0, 144).high == pytest.approx(1.9, abs=0.02)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=70))
def test_differences_are_counted_image_by_image(pairs):
    before, after = (np.array(values) for values in zip(*pairs, strict=True))
    drop = drop_between(packed(before), packed(after), len(pairs))
    assert drop.lost == sum(first and not second for first, second in pairs)
    assert drop.gained == sum(second and not first for first, second in pairs)
    assert drop.images == len(pairs)
    assert drop.points == pytest.approx(100 * (before.mean() - after.mean()))


@pytest.mark.parametrize("before", [None, 7, "", "zz", "ff", "ffffff", ["ff"], "f"])
def test_what_is_not_known_of_the_baseline_gives_no_interval(before):
    assert drop_between(before, packed(np.ones(12, bool)), 12) is None


def test_points_are_shown_with_their_interval_where_it_is_known():
    assert with_interval(0.694, (-0.84, 2.16)) == "0.69 (-0.8 to 2.2)"
    assert with_interval(0.694, None) == "0.69"
