"""Trials run in this process: what their records say, and which arms they share."""

import csv
import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from wavesweep.compression import compressor
from wavesweep.errors import SettingsError
from wavesweep.experiment import baseline, checks, trial
from wavesweep.experiment.trial import run_trial
from wavesweep.settings.keys import baseline_key, trial_key
from wavesweep.settings.registry import Method, rows
from wavesweep.settings.schema import (
    LayerOverride,
    LayersSettings,
    MethodSettings,
    ModelSettings,
    PathsSettings,
    QuantizeSettings,
    Recipe,
    RetrainSettings,
    Settings,
    ThresholdSettings,
)
from wavesweep.training import loss

METHODS = tuple(rows(Method))

MODEL = ModelSettings(arguments={"hidden": [32]}, recipe=Recipe(epochs=1, batch_size=256))
COEFFICIENTS = 64 * 32 + 32 * 10
MEASURES = {"accuracy", "loss", "precision", "recall", "f1"}


@pytest.fixture(scope="module")
def shared_outputs(tmp_path_factory):
    """Outputs of tests that look at records only, so that their baseline is trained once."""
    return tmp_path_factory.mktemp("outputs")


def tiny(outputs, **changes):
    base = Settings(model=MODEL, paths=PathsSettings(outputs=str(outputs)), progress=False, device="cpu")
    return replace(base, **changes)


@pytest.fixture
def record(shared_outputs):
    return run(tiny(shared_outputs))


def run(settings):
    """The record as it is on disk, where tuples are lists."""
    return json.loads(json.dumps(run_trial(settings)))


def kept(record):
    return [arm["kept_coefficients"] for arm in record["arms"]]


def modified(directory):
    return {path: path.stat().st_mtime_ns for path in Path(directory).glob("arms/*/arm.json")}


def directory_of(settings):
    return Path(settings.paths.outputs) / "runs" / trial_key(settings)


def test_the_record_says_what_was_done_with_what(record, shared_outputs):
    settings = tiny(shared_outputs)
    assert record["schema_version"] == 2
    assert record["key"] == trial_key(settings)
    assert record["baseline"]["key"] == baseline_key(settings)
    assert record["settings"]["wavelet"] == "bior2.2"
    assert record["settings"]["threshold"]["percentile"] == 80.0
    assert not {"progress", "retry_failed", "on_busy"} & record["settings"].keys()
    assert {"torch", "numpy", "PyWavelets"} <= record["environment"]["versions"].keys()
    assert record["environment"]["device"] == "cpu"
    assert 0 < record["seconds"]["baseline"] <= record["seconds"]["total"]
    assert [entry["name"] for entry in record["not_pruned"]] == ["fc1.bias", "fc2.bias"]


def test_the_record_is_what_is_stored(record, shared_outputs):
    directory = directory_of(tiny(shared_outputs))
    assert json.loads((directory / "result.json").read_text()) == record
    names = {"result.json", "config.yaml", "layers.csv", "trial.log", "model.wsz"}
    assert {path.name for path in directory.iterdir()} - {".lock"} == names
    log = (directory / "trial.log").read_text()
    assert "magnitude: test accuracy" in log
    assert "Traceback" not in log


def test_arms_are_the_main_method_and_the_controls(record):
    assert [arm["method"] for arm in record["arms"]] == ["wavelet", "magnitude", "random"]
    assert record["arms"][0]["requested"] == {"rule": "percentile", "value": 80.0, "scope": "layer"}
    assert record["arms"][1]["requested"] == {"kept_coefficients": record["arms"][0]["kept_coefficients"]}


def test_all_arms_keep_the_same_number_of_coefficients_in_every_tensor(record):
    wanted = round(0.2 * 64 * 32) + round(0.2 * 32 * 10)
    assert kept(record) == [wanted] * 3
    for arm in record["arms"]:
        assert [layer["kept"] for layer in arm["layers"]] == [round(0.2 * 64 * 32), round(0.2 * 32 * 10)]


def test_an_arm_has_its_measures_and_its_sparsity(record):
    for arm in record["arms"]:
        assert arm["validation"].keys() == arm["test"].keys() == MEASURES
        assert arm["total_coefficients"] == COEFFICIENTS
        assert arm["coefficient_sparsity"] == pytest.approx(1 - arm["nonzero_coefficients"] / COEFFICIENTS)
        assert 0.99 * arm["kept_coefficients"] < arm["nonzero_coefficients"] <= arm["kept_coefficients"]
        zeros = sum(layer["zero_weights"] for layer in arm["layers"])
        assert arm["weight_sparsity"] == pytest.approx(zeros / COEFFICIENTS)
        assert arm["macs"] == COEFFICIENTS
        assert arm["dense_bytes"] == record["baseline"]["dense_bytes"] == 4 * (COEFFICIENTS + 42)
        assert {"median", "q1", "q3"} <= arm["inference_ms"]["single"].keys()
    wavelet, magnitude, _ = record["arms"]
    assert magnitude["weight_sparsity"] == pytest.approx(magnitude["coefficient_sparsity"])
    assert wavelet["weight_sparsity"] < magnitude["weight_sparsity"]


def test_what_was_lost_is_told_with_the_images_it_was_measured_on(record, shared_outputs):
    splits = record["splits"]
    assert [splits[name] for name in ("train", "validation", "test")] == [1293, 144, 360]
    assert (splits["validation_from"], splits["validation_may_be_trained_on"]) == ("train", False)
    for arm in record["arms"]:
        for name in ("validation", "test"):
            drop = arm["drop"][name]
            assert drop["images"] == splits[name]
            assert drop["points"] == pytest.approx(100 * (record["baseline"][name]["accuracy"] - arm[name]["accuracy"]))
            assert drop["low"] < drop["points"] < drop["high"]
            assert drop["points"] == pytest.approx(100 * (drop["lost"] - drop["gained"]) / drop["images"])
    assert record["arms"][-1]["drop"]["test"]["lost"] > 0
    stored = shared_outputs / "baselines" / record["baseline"]["key"] / "baseline.json"
    assert len(json.loads(stored.read_text())["correct"]["validation"]) == 2 * 144 / 8
    assert "correct" not in record["baseline"]


def test_a_baseline_from_before_there_were_intervals_gives_none(tmp_path):
    settings = tiny(tmp_path, compare=[])
    run(settings)
    (path,) = tmp_path.glob("baselines/*/baseline.json")
    old = json.loads(path.read_text())
    del old["correct"]
    path.write_text(json.dumps(old))
    (arm,) = run(replace(settings, level=1))["arms"]
    assert "drop" not in arm


def test_layers_have_effective_levels_where_there_is_a_transform(record):
    wavelet, magnitude, _ = record["arms"]
    assert [layer["shape"] for layer in wavelet["layers"]] == [[32, 64], [10, 32]]
    assert [layer["levels"] for layer in wavelet["layers"]] == [[2, 3], [1, 2]]
    assert {layer["requested_level"] for layer in wavelet["layers"]} == {3}
    assert {layer["levels"] for layer in magnitude["layers"]} == {None}
    assert {layer["wavelet"] for layer in magnitude["layers"]} == {None}


def test_notes_name_the_levels_that_were_clamped(record, shared_outputs):
    assert record["notes"] == [
        "fc1.weight: level 3 was asked for, its axes allow [2, 3]",
        "fc2.weight: level 3 was asked for, its axes allow [1, 2]",
    ]
    assert run_trial(tiny(shared_outputs, level=1))["notes"] == []
    assert run_trial(tiny(shared_outputs, level="max"))["notes"] == []


def test_notes_name_the_tensors_that_were_not_transformed(shared_outputs):
    notes = run_trial(tiny(shared_outputs, layout="spatial", wavelet="haar", level=1))["notes"]
    assert notes == ["fc2.weight: not transformed, no axis of layout spatial allows a level of haar"]


def test_notes_say_that_nothing_was_pruned(shared_outputs):
    exact = QuantizeSettings(name="none", coefficients="float32", other="float32")
    record = run_trial(tiny(shared_outputs, threshold=ThresholdSettings(percentile=0.0), level=1, quantize=exact))
    assert [note for note in record["notes"] if "nothing was pruned" in note] == [
        f"{method}: nothing was pruned" for method in ("wavelet", "magnitude", "random")
    ]
    assert record["arms"][1]["test"] == record["baseline"]["test"]


def test_layers_csv_has_the_rows_of_the_record(record, shared_outputs):
    with (directory_of(tiny(shared_outputs)) / "layers.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    rows = [{"method": arm["method"], **layer} for arm in record["arms"] for layer in arm["layers"]]

    def text(value):
        if isinstance(value, list):
            return " ".join(map(str, value))
        return "" if value is None else str(value)

    assert found == [{name: text(value) for name, value in row.items()} for row in rows]


def test_a_record_is_the_same_whether_it_was_computed_now_or_before(tmp_path):
    assert run_trial(tiny(tmp_path, compare=[])) == run_trial(tiny(tmp_path, compare=[]))


def test_the_record_is_not_computed_again(record, shared_outputs, monkeypatch):
    monkeypatch.setattr(trial, "obtain_baseline", lambda *_: pytest.fail("computed again"))
    assert run(tiny(shared_outputs)) == record
    assert run(tiny(shared_outputs, retry_failed=True, on_busy="skip")) == record


def test_the_same_trial_gives_the_same_measures_elsewhere(record, tmp_path):
    again = run(tiny(tmp_path))
    for first, second in zip(record["arms"], again["arms"], strict=True):
        same = ("method", "arm_key", "kept_coefficients", "weight_sparsity", "validation", "test", "layers")
        assert {name: first[name] for name in same} == {name: second[name] for name in same}


def test_a_trial_without_controls_has_one_arm(shared_outputs):
    record = run(tiny(shared_outputs, compare=[]))
    assert [arm["method"] for arm in record["arms"]] == ["wavelet"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_the_main_one_and_is_not_repeated(shared_outputs, method):
    record = run(tiny(shared_outputs, method=MethodSettings(method), compare=list(METHODS), level=1))
    assert [arm["method"] for arm in record["arms"]] == [method, *(name for name in METHODS if name != method)]
    main = record["arms"][0]["kept_coefficients"]
    for arm in record["arms"]:
        if arm["method"] == "unit":
            assert arm["kept_coefficients"] <= main  # whole units seldom fit exactly
        else:
            assert arm["kept_coefficients"] == main


RULES = {
    "universal": ThresholdSettings("universal"),
    "energy": ThresholdSettings("energy", energy=0.9),
    "absolute": ThresholdSettings("absolute", value=0.05),
    "global": ThresholdSettings(scope="global"),
    "soft": ThresholdSettings(shrinkage="soft"),
    "atom norm": ThresholdSettings(atom_norm=True),
    "all": ThresholdSettings("universal", scope="global", shrinkage="soft", atom_norm=True),
    "everything pruned": ThresholdSettings(percentile=100.0),
}


@pytest.mark.parametrize("threshold", RULES.values(), ids=RULES)
def test_every_rule_keeps_the_same_number_in_all_arms(shared_outputs, threshold):
    record = run(tiny(shared_outputs, threshold=threshold, level=1))
    counts = kept(record)
    assert counts == [counts[0]] * 3
    assert counts[0] < COEFFICIENTS
    assert counts[0] > 0 or threshold.percentile == 100 or threshold.rule == "universal"


def test_one_threshold_over_the_network_keeps_the_same_total(record, shared_outputs):
    whole = run(tiny(shared_outputs, threshold=ThresholdSettings(scope="global")))
    assert kept(whole) == kept(record)
    per_layer = [[layer["kept"] for layer in one["arms"][0]["layers"]] for one in (record, whole)]
    assert per_layer[0] != per_layer[1]


def test_overrides_reach_their_tensors(shared_outputs):
    overrides = [LayerOverride("fc1*", percentile=50.0, wavelet="haar", level=1, layout="flat")]
    layers = run(tiny(shared_outputs, layers=LayersSettings(overrides=overrides)))["arms"][0]["layers"]
    assert [layer["wavelet"] for layer in layers] == ["haar", "bior2.2"]
    assert [layer["levels"] for layer in layers] == [[1], [1, 2]]
    assert [layer["kept"] for layer in layers] == [64 * 32 // 2, round(0.2 * 32 * 10)]


def test_trials_share_the_arms_that_are_the_same(tmp_path):
    # At level 1 all axes are even, so both wavelets keep the same number.
    first = run(tiny(tmp_path, level=1))
    before = modified(tmp_path)
    second = run(tiny(tmp_path, level=1, wavelet="haar"))
    after = modified(tmp_path)
    assert kept(first) == kept(second)
    assert (len(before), len(after)) == (3, 4)
    assert before.items() <= after.items()
    assert first["arms"][1:] == second["arms"][1:]
    assert first["arms"][0]["arm_key"] != second["arms"][0]["arm_key"]


@pytest.mark.parametrize(("one", "other"), [({"level": 3}, {"level": 5}), ({"wavelet": "haar"}, {"wavelet": "db1"})])
def test_settings_that_turn_out_identical_are_one_arm(tmp_path, monkeypatch, one, other):
    first = run(tiny(tmp_path, **one, compare=[]))
    monkeypatch.setattr(compressor, "prune", lambda *_: pytest.fail("pruned again"))
    second = run(tiny(tmp_path, **other, compare=[]))
    assert first["key"] != second["key"]
    assert first["arms"][0]["arm_key"] == second["arms"][0]["arm_key"]
    assert first["arms"][0]["test"] == second["arms"][0]["test"]


def test_arms_of_one_baseline_share_its_outputs_and_those_of_other_places_do_not(tmp_path, monkeypatch):
    looks = []
    original = loss.Teacher.__init__

    def counted(self, *arguments):
        original(self, *arguments)
        looks.append(self._kept is None)

    monkeypatch.setattr(loss.Teacher, "__init__", counted)
    retraining = RetrainSettings(name="finetune", epochs=1, quantize_epochs=0, distillation=0.5)
    for outputs in (tmp_path / "one", tmp_path / "two"):
        run(tiny(outputs, retrain=retraining))  # the main arm and two others
    assert looks == [True, False, False] * 2


def test_patterns_that_match_nothing_are_noted(tmp_path):
    layers = LayersSettings(include=["fc*", "conv*"], exclude=["fc9*"], overrides=[LayerOverride(match="f2*", bits=4)])
    notes = run(tiny(tmp_path, layers=layers, compare=[]))["notes"]
    for key, pattern in (("include", "conv*"), ("exclude", "fc9*"), ("overrides", "f2*")):
        assert f"layers.{key}: {pattern!r} matches no tensor of the network" in notes
    assert not any("fc*" in note for note in notes)


@pytest.mark.parametrize("left", [None, 100, -1], ids=["lost", "cut off", "one bit is another"])
def test_an_arm_whose_file_is_lost_or_damaged_is_made_again(tmp_path, left):
    settings = tiny(tmp_path, compare=[])
    first = run(settings)
    directory = directory_of(settings)
    content = (directory / "model.wsz").read_bytes()
    for path in (directory / "result.json", directory / "model.wsz", *tmp_path.glob("arms/*/model.wsz")):
        path.unlink()
        if left is not None and path.parent.parent.name == "arms":
            path.write_bytes(content[:left] if left > 0 else content[:-1] + bytes([content[-1] ^ 1]))
    assert run(settings)["arms"][0]["test"] == first["arms"][0]["test"]
    assert (directory / "model.wsz").read_bytes() == content


@pytest.mark.parametrize(("changes", "key"), [({}, "model.recipe.epochs=1"), ({"epochs": 0}, "retrain.name=finetune")])
def test_a_network_without_gradients_cannot_be_trained(tmp_path, changes, key):
    workload = baseline.load_workload(tiny(tmp_path))
    frozen = deepcopy(workload.model).requires_grad_(False)
    model = replace(MODEL, recipe=replace(MODEL.recipe, **changes))
    settings = tiny(tmp_path, model=model, retrain=RetrainSettings(name="finetune"))
    with pytest.raises(SettingsError, match=f"^{key}: needs parameters with gradients, and the network has none"):
        checks.check_inputs(settings, replace(workload, model=frozen))
