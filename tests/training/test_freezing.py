"""The last epochs of `retrain=rate`, in which what is zero stays zero."""

from dataclasses import replace

import numpy as np
import pytest
from retrainings import ALL, RATE, arm_of, settings_of

from wavesweep.errors import SettingsError
from wavesweep.experiment.trial import run_trial
from wavesweep.training.rate import Rate


def test_in_frozen_epochs_what_is_zero_stays_zero_and_nothing_else_becomes_zero(tmp_path, monkeypatch):
    symbols = []
    coded = Rate.coded

    def remembered(strategy):
        found = coded(strategy)
        symbols.append([tensor.symbols.copy() for tensor in found])
        return found

    monkeypatch.setattr(Rate, "coded", remembered)
    frozen = replace(RATE, epochs=6, freeze_epochs=3, rate_weight=3.0)
    record = run_trial(settings_of(tmp_path, retrain=frozen, threshold=ALL))
    patterns = [[part != 0 for part in epoch] for epoch in symbols]
    assert len(symbols) == 6
    assert any((one != two).any() for one, two in zip(patterns[1], patterns[2], strict=True))
    for epoch in (3, 4, 5):  # what it was at the end of the third one
        for one, two in zip(patterns[2], patterns[epoch], strict=True):
            assert np.array_equal(one, two)
    # Training continues.
    assert any((one != two).any() for one, two in zip(symbols[3], symbols[5], strict=True))
    curve = arm_of(record)["retraining"]["curve"]
    assert len({row["sparsity"] for row in curve[2:]}) == 1
    assert len({row["sparsity"] for row in curve[:3]}) == 3
    arm = arm_of(record)
    assert arm["nonzero_coefficients"] < arm["kept_coefficients"] == arm["total_coefficients"]


def test_frozen_epochs_are_fewer_than_all(tmp_path):
    for epochs in (2, 3):
        with pytest.raises(SettingsError, match=r"retrain\.freeze_epochs"):
            run_trial(settings_of(tmp_path, retrain=replace(RATE, epochs=2, freeze_epochs=epochs), threshold=ALL))
