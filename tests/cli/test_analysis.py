"""The scripts of `analysis` on what the real command line leaves behind."""

import pytest
from command_line import records

from wavesweep.analysis.progress.status import status
from wavesweep.analysis.table.collect import collect
from wavesweep.analysis.table.columns import ONNX, SETTINGS, TRIALS

pytestmark = pytest.mark.integration

OPTIONAL = {"other_settings", "retrained_epochs", "chosen_epoch", "effective_level"}


def test_every_trial_of_a_sweep_is_in_the_table_with_nothing_missing(readme_sweep):
    directory, _ = readme_sweep
    found = collect(directory / "outputs", write=False)
    expected = records(directory)
    assert found.skipped == ()
    assert len(found.failures) == 0
    assert set(found.trials["key"]) == set(expected)
    for key, record in expected.items():
        rows = found.trials[found.trials["key"] == key]
        assert rows["method"].tolist() == [arm["method"] for arm in record["arms"]]
        assert rows["test_accuracy"].tolist() == [arm["test"]["accuracy"] for arm in record["arms"]]
        assert set(rows["wavelet"]) == {record["settings"]["wavelet"]}
    may_be_null = OPTIONAL | {column.name for column in SETTINGS if column.default is None}
    may_be_null |= {column.name for column in ONNX}  # of what was exported
    for name in {name for name, _ in TRIALS} - may_be_null:
        assert found.trials[name].notna().all(), name
    lost = found.trials["baseline_validation_accuracy"] - found.trials["validation_accuracy"]
    assert found.trials["accuracy_drop"].tolist() == pytest.approx((100 * lost).tolist())


def test_the_status_counts_the_sweep(readme_sweep):
    directory, _ = readme_sweep
    found = status(directory / "outputs")
    assert [(sweep.trials, sweep.failed) for sweep in found.sweeps] == [(6, 0)]
    assert (found.trials.done, found.trials.running, found.trials.unfinished) == (6, (), ())
    assert found.baselines.done == 1
