"""Networks before pruning, of which several machines may have trained some."""

import pandas as pd
import pytest

from analysis.subjects import networks_before


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_a_network_that_two_machines_trained_counts_once_whatever_the_order(order):
    rows = pd.DataFrame({"baseline_key": ["a", "a", "a", "b"], "baseline_test_accuracy": [0.5, 0.5, 0.75, 1.0]})
    found = networks_before(rows.iloc[order], "baseline_test_accuracy")
    assert found.to_dict() == {"a": 0.625, "b": 1.0}
    assert networks_before(rows, "baseline_test_f1").empty
