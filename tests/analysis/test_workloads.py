"""Networks before pruning, of which several machines may have trained some."""

import pandas as pd
import pytest

from wavesweep.analysis.charts.lines import looks_of
from wavesweep.analysis.charts.sizes import bars
from wavesweep.analysis.charts.style import LOOKS
from wavesweep.analysis.statistics.seeds import networks_before
from wavesweep.analysis.statistics.workloads import Workload


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_a_network_that_two_machines_trained_counts_once_whatever_the_order(order):
    rows = pd.DataFrame({"baseline_key": ["a", "a", "a", "b"], "baseline_test_accuracy": [0.5, 0.5, 0.75, 1.0]})
    found = networks_before(rows.iloc[order], "baseline_test_accuracy")
    assert found.to_dict() == {"a": 0.625, "b": 1.0}
    assert networks_before(rows, "baseline_test_f1").empty


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_the_bars_of_the_network_before_are_means_of_networks_whatever_the_order(order):
    accuracies = {f"baseline_{split}_accuracy": [0.5, 0.75, 1.0] for split in ("validation", "test")}
    sizes = {"dense_bytes": 4000, "baseline_gzip_bytes": [3000, 3200, 3500], "baseline_int8_bytes": None}
    rows = pd.DataFrame({"baseline_key": ["a", "a", "b"], **accuracies, **sizes})
    # Nobody measured the int8 weights, which have no bar.
    dense, compressed = bars(Workload("net", "data", rows.iloc[order]), [])
    assert (dense.size, dense.validation, dense.test) == (4000, 0.8125, 0.8125)
    assert compressed.size == 3300


def test_known_methods_keep_their_looks_and_others_take_those_that_are_free():
    found = looks_of(pd.Series(["haar", "magnitude", "bior2.2", "haar", "random"]))
    assert found["magnitude"] == LOOKS["magnitude"]
    assert found["random"] == LOOKS["random"]
    assert len({(style.color, style.marker) for style in found.values()}) == 4
    assert looks_of(pd.Series(["magnitude", "wavelet"])) == {name: LOOKS[name] for name in ("wavelet", "magnitude")}
