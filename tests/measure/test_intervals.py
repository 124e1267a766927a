"""The paired bootstrap: the interval of a mean is that of statistics, and what cannot be compared has none."""

import numpy as np
import pytest
import torch

from wavesweep.measure.intervals import interval, read_statistics, write_statistics
from wavesweep.tasks import mean_metric
from wavesweep.tasks.usual import Regression

METRIC = mean_metric("error", lambda found, wanted: (found - wanted).abs(), maximize=False)


def rows(values):
    return METRIC.statistics(torch.as_tensor(values), torch.zeros(len(values))).numpy()


def test_the_interval_of_a_mean_is_that_of_the_paired_differences():
    rng = np.random.default_rng(0)
    before = rng.uniform(1, 2, 400)
    after = before + rng.normal(0.1, 0.2, 400)
    low, high = interval(rows(before), rows(after), METRIC.result, -1.0)
    mean, half = (after - before).mean(), 1.96 * (after - before).std() / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)
    # Of the examples of one network alone the interval would be three times as wide.
    assert high - low < before.std() / 20 * 3


def test_equal_networks_lose_nothing_for_certain():
    values = rows(np.arange(10.0))
    assert interval(values, values, METRIC.result, 1.0) == (0.0, 0.0)


def test_what_is_of_other_examples_has_no_interval():
    assert interval(rows(np.ones(3)), rows(np.ones(4)), METRIC.result, 1.0) is None
    assert interval(rows(np.ones(1)), rows(np.ones(1)), METRIC.result, 1.0) is None


def test_a_loss_of_r2_lies_in_its_interval():
    rng = torch.Generator().manual_seed(0)
    wanted = torch.randn(200, generator=rng)
    found = [wanted + spread * torch.randn(200, generator=rng) for spread in (0.3, 0.6)]
    r2 = Regression().metrics[0]
    statistics = [r2.statistics(one, wanted).double() for one in found]
    lost = r2.result(statistics[0].sum(0)) - r2.result(statistics[1].sum(0))
    low, high = interval(*(one.numpy() for one in statistics), r2.result, 1.0)
    assert 0 < low < lost < high


def test_statistics_come_back_from_their_file_unless_it_is_damaged(tmp_path):
    write_statistics(tmp_path, {"test": rows(np.arange(5.0))})
    assert np.array_equal(read_statistics(tmp_path)["test"], rows(np.arange(5.0)))
    (tmp_path / "statistics.npz").write_bytes(b"PK")
    assert read_statistics(tmp_path) == read_statistics(tmp_path / "nowhere") == {}
