"""The command of the README: six trials, their records, and a second run that computes nothing."""

import csv
import re

import pytest
from command_line import README_SWEEP, records, results, run, trial_rows, written
from omegaconf import OmegaConf

from wavesweep.cli.composition import settings_from
from wavesweep.settings.keys import trial_key
from wavesweep.settings.registry import Method, rows
from wavesweep.settings.schema import Settings

pytestmark = pytest.mark.integration
METHODS = tuple(rows(Method))

QUALITY = {"accuracy", "loss", "precision", "recall", "f1"}
ARM = {
    "method",
    "requested",
    "coefficient_sparsity",
    "weight_sparsity",
    "kept_coefficients",
    "total_coefficients",
    "stored_bytes",
    "dense_bytes",
    "compression_ratio",
    "bits_per_weight",
    "inference_ms",
    "macs",
    "layers",
}
LAYER = {"name", "shape", "layout", "requested_level", "levels", "coefficients", "kept", "error"}
# Weights of the MLP on digits, 64-256-128-10.
WEIGHTS = {"fc1.weight": 256 * 64, "fc2.weight": 128 * 256, "fc3.weight": 10 * 128}


@pytest.fixture(scope="module")
def found(readme_sweep):
    return records(readme_sweep[0])


@pytest.fixture(scope="module")
def second_run(readme_sweep):
    directory, _ = readme_sweep
    files = [path for path in directory.glob("outputs/**/*") if path.is_file() and path.suffix != ".csv"]
    before = written(files)
    return before, run(directory, *README_SWEEP)


def test_sweep_succeeds_and_shows_six_trials(readme_sweep):
    _, outcome = readme_sweep
    assert outcome.status == 0, outcome.stderr
    rows = trial_rows(outcome.stdout)
    assert [row.split()[:3] for row in rows] == [
        [str(number), wavelet, level]
        for number, (wavelet, level) in enumerate(
            ((wavelet, level) for wavelet in ("bior2.2", "rbio3.3") for level in "135"), start=1
        )
    ]
    assert "6 trials: 6 done (0 of them before this run), 0 failed" in outcome.stdout


def test_sweep_names_where_its_records_and_its_table_are(readme_sweep):
    directory, outcome = readme_sweep
    runs, table = re.search(r"^records: (\S+)\s+table: (\S+)$", outcome.stdout, re.MULTILINE).groups()
    assert len(list((directory / runs).iterdir())) == 6
    rows = list(csv.DictReader((directory / table).read_text().splitlines()))
    assert [(row["wavelet"], row["level"]) for row in rows[:2]] == [("bior2.2", "1"), ("bior2.2", "3")]
    assert len(rows) == 6


def test_table_shows_the_recorded_accuracies(readme_sweep, found):
    rows = [row.split() for row in trial_rows(readme_sweep[1].stdout)]
    recorded = {
        (record["settings"]["wavelet"], str(record["settings"]["level"])): [
            f"{100 * record['arms'][0]['test']['accuracy']:.2f}",
            f"{record['arms'][0]['stored_bytes']:,}",
            *(f"{100 * arm['test']['accuracy']:.2f}" for arm in record["arms"][1:]),
        ]
        for record in found.values()
    }
    # Between the test accuracy and the bytes are the points lost: four words each, with their intervals.
    assert {(row[1], row[2]): [row[-12], *row[-3:]] for row in rows} == recorded


def test_progress_goes_to_standard_error_and_ends_at_the_last_trial(readme_sweep):
    _, outcome = readme_sweep
    assert re.search(r"^\[6/6\] wavelet=rbio3.3 level=5: validation \d+\.\d\d %", outcome.stderr, re.MULTILINE)
    assert "[6/6]" not in outcome.stdout
    assert "Traceback" not in outcome.stderr


def test_each_trial_has_a_directory_with_its_four_files(readme_sweep, found):
    directory, _ = readme_sweep
    runs = list((directory / "outputs" / "runs").iterdir())
    assert {path.name for path in runs} == set(found)
    assert len(runs) == 6
    for path in runs:
        assert {"result.json", "config.yaml", "layers.csv", "trial.log"} <= {file.name for file in path.iterdir()}


def test_records_have_the_fields_of_the_contract(found):
    for key, record in found.items():
        expected = {"schema_version", "key", "settings", "environment", "seconds", "baseline", "arms"}
        assert expected <= record.keys()
        assert record["key"] == key
        assert record["environment"]["device"] == "cpu"
        assert record["environment"]["versions"]["torch"]
        assert record["seconds"]["total"] >= record["seconds"]["baseline"] > 0
        for arm in record["arms"]:
            assert arm.keys() >= ARM
        for part in (record["baseline"], *record["arms"]):
            for split in ("validation", "test"):
                assert part[split].keys() == QUALITY
                assert 0 < part[split]["accuracy"] <= 1
            for timing in (part["inference_ms"]["single"], part["inference_ms"]["batch"]):
                assert 0 < timing["q1"] <= timing["median"] <= timing["q3"]


def test_main_arm_comes_first_and_all_arms_keep_the_same_number_of_coefficients(found):
    for record in found.values():
        arms = record["arms"]
        assert [arm["method"] for arm in arms] == ["wavelet", "magnitude", "random"]
        assert arms[0]["requested"] == {"rule": "percentile", "value": 80.0, "scope": "layer"}
        for arm in arms:
            assert arm["kept_coefficients"] == arms[0]["kept_coefficients"]
            assert arm["total_coefficients"] == sum(WEIGHTS.values())
            # Of those kept, quantisation to 8 bits rounds a few to zero.
            assert arm["nonzero_coefficients"] <= arm["kept_coefficients"]
            assert arm["coefficient_sparsity"] == pytest.approx(0.8, abs=3e-3)
        for control in arms[1:]:
            assert control["requested"] == {"kept_coefficients": arms[0]["kept_coefficients"]}
            assert control["weight_sparsity"] == pytest.approx(control["coefficient_sparsity"])
        # Sparsity lives in the coefficients: the synthesised weights are hardly ever zero.
        assert arms[0]["weight_sparsity"] < 0.1


def test_stored_sizes_are_those_of_the_files(readme_sweep, found):
    outputs = readme_sweep[0] / "outputs"
    for key, record in found.items():
        assert (outputs / "runs" / key / "model.wsz").stat().st_size == record["arms"][0]["stored_bytes"]
        for arm in record["arms"]:
            assert (outputs / "arms" / arm["arm_key"] / "model.wsz").stat().st_size == arm["stored_bytes"]
            assert arm["dense_bytes"] == 4 * record["baseline"]["parameters"]
            assert arm["compression_ratio"] == arm["dense_bytes"] / arm["stored_bytes"] > 10
            assert arm["bits_per_weight"] == 8 * arm["stored_bytes"] / record["baseline"]["parameters"]


def test_layers_hold_requested_and_effective_levels(found):
    for record in found.values():
        for arm in record["arms"]:
            assert [layer["name"] for layer in arm["layers"]] == list(WEIGHTS)
            assert sum(layer["kept"] for layer in arm["layers"]) == arm["kept_coefficients"]
            for layer in arm["layers"]:
                assert layer.keys() >= LAYER
                assert layer["coefficients"] == WEIGHTS[layer["name"]]
                assert 0 < layer["error"] < 1.2
        wanted = record["settings"]["level"]
        for layer in record["arms"][0]["layers"]:
            assert layer["requested_level"] == wanted
            assert len(layer["levels"]) == 2
            assert all(0 <= level <= wanted for level in layer["levels"])
        # Ten rows are too few for rbio3.3, whose filters have eight taps.
        short = record["arms"][0]["layers"][2]
        assert short["levels"][0] == {"bior2.2": 1, "rbio3.3": 0}[record["settings"]["wavelet"]]


def test_layer_table_agrees_with_the_record(readme_sweep, found):
    for path in results(readme_sweep[0]):
        rows = list(csv.DictReader((path.parent / "layers.csv").read_text().splitlines()))
        expected = [(arm["method"], layer) for arm in found[path.parent.name]["arms"] for layer in arm["layers"]]
        assert len(rows) == len(expected) == 9
        for row, (method, layer) in zip(rows, expected, strict=True):
            assert (row["method"], row["name"]) == (method, layer["name"])
            assert (int(row["kept"]), float(row["error"])) == (layer["kept"], layer["error"])


def test_trial_log_names_the_accuracy_of_each_arm(readme_sweep, found):
    for path in results(readme_sweep[0]):
        log = (path.parent / "trial.log").read_text()
        for arm in found[path.parent.name]["arms"]:
            assert f"{arm['method']}: test accuracy {arm['test']['accuracy']:.4f}" in log


def test_all_trials_share_one_trained_baseline(readme_sweep, found):
    directory, _ = readme_sweep
    (baseline,) = (directory / "outputs" / "baselines").iterdir()
    assert {record["baseline"]["key"] for record in found.values()} == {baseline.name}
    # Six wavelet arms, and one magnitude and one random arm for all of them.
    assert len(list((directory / "outputs" / "arms").iterdir())) == 8


def test_baseline_of_the_digits_is_accurate_and_beats_random_pruning(found):
    for record in found.values():
        assert record["baseline"]["test"]["accuracy"] > 0.95
        accuracy = {arm["method"]: arm["test"]["accuracy"] for arm in record["arms"]}
        assert accuracy["wavelet"] > accuracy["random"] + 0.2
        assert accuracy["magnitude"] > accuracy["random"] + 0.2


def test_config_file_of_a_trial_reproduces_its_key(readme_sweep):
    for path in results(readme_sweep[0]):
        loaded = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.load(path.parent / "config.yaml"))
        assert trial_key(settings_from(loaded)) == path.parent.name


def test_recorded_settings_reproduce_the_key(found):
    for key, record in found.items():
        loaded = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.create(record["settings"]))
        assert trial_key(settings_from(loaded)) == key
        assert record["settings"]["method"]["name"] in METHODS


def test_second_run_computes_nothing(second_run):
    before, outcome = second_run
    assert outcome.status == 0, outcome.stderr
    assert written(list(before)) == before
    assert "6 trials: 6 done (6 of them before this run), 0 failed" in outcome.stdout


def test_second_run_prints_the_same_table(readme_sweep, second_run):
    assert second_run[1].table == readme_sweep[1].table


def test_second_run_needs_less_time(readme_sweep, second_run):
    assert second_run[1].cpu_seconds < readme_sweep[1].cpu_seconds
