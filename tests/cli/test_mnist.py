"""The networks and the data that the design was measured on: MNIST, trained by the default recipes."""

from pathlib import Path

import pytest
from command_line import records, run, trial_rows

DATA = Path(__file__).resolve().parents[2] / "../shared/data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "MNIST" / "raw").is_dir(), reason="needs MNIST in ../shared/data"),
]


def accuracies(record):
    """Test accuracy in percent of the baseline and of each arm."""
    arms = {arm["method"]: 100 * arm["test"]["accuracy"] for arm in record["arms"]}
    return {"baseline": 100 * record["baseline"]["test"]["accuracy"], **arms}


def test_readme_grid_on_lenet300(tmp_path):
    grid = ["-m", "model=lenet300", "wavelet=bior2.2,rbio3.3", "level=1,3,5"]
    outcome = run(tmp_path, *grid, "dataset=mnist", f"paths.data={DATA}")
    assert outcome.status == 0, outcome.stderr
    assert len(trial_rows(outcome.stdout)) == 6
    found = records(tmp_path)
    assert len(found) == 6
    for record in found.values():
        accuracy = accuracies(record)
        assert accuracy["baseline"] > 97.5
        assert record["baseline"]["parameters"] == 266_610
        # The first layer is seen as 28x28 images, so its transform is a spatial one.
        first = record["arms"][0]["layers"][0]
        assert (first["layout"], first["view"]) == ("spatial", [300, 1, 28, 28])


def test_haar_and_a_random_rotation_both_beat_magnitude_on_lenet5_without_retraining(tmp_path):
    arms = ["wavelet=haar", "level=1", "layout=channel", "compare=[magnitude,rotation]", "threshold.percentile=80"]
    outcome = run(tmp_path, "model=lenet5", "dataset=mnist", f"paths.data={DATA}", *arms)
    assert outcome.status == 0, outcome.stderr
    (record,) = records(tmp_path).values()
    accuracy = accuracies(record)
    assert accuracy["baseline"] > 98.5
    assert {arm["kept_coefficients"] for arm in record["arms"]} == {record["arms"][0]["kept_coefficients"]}
    assert accuracy["wavelet"] >= accuracy["magnitude"] + 10
    # The control that a claim for wavelets has to face.
    assert accuracy["rotation"] >= accuracy["magnitude"] + 10
