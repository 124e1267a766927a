"""The table of all trials: what is in it, what is left out and named, and that only what is new is read again."""

import json
import os
import random
import shutil
from pathlib import Path

import pandas as pd
import pytest
from records import example, key_of, set_dotted, write_failure, write_record, write_records

from wavesweep.analysis.table.collect import collect
from wavesweep.analysis.table.columns import NEWEST_SCHEMA, TRIALS
from wavesweep.analysis.table.store import refresh
from wavesweep.experiment.record import SCHEMA_VERSION


def row(collected, key, arm=0):
    trials = collected.trials
    (found,) = trials[(trials["key"] == key) & (trials["arm"] == arm)].to_dict("records")
    return found


def test_a_record_is_a_row_per_arm_with_its_settings_and_measures(tmp_path):
    record = example({"quantize.step": 0.5, "model.arguments": {"width": 3}})
    path = write_record(tmp_path, record)
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    collected = collect(tmp_path)
    assert collected.trials["method"].tolist() == ["wavelet", "magnitude", "random"]
    assert collected.trials["is_main"].tolist() == [True, False, False]
    for number, arm in enumerate(record["arms"]):
        found = row(collected, record["key"], number)
        assert found["arm_key"] == arm["arm_key"]
        for name in ("stored_bytes", "macs", "kept_coefficients", "coefficient_sparsity", "gzip_bytes"):
            assert found[name] == arm[name]
        assert found["test_f1"] == arm["test"]["f1"]
        assert found["inference_batch_ms_high"] == arm["inference_ms"]["batch"]["q3"]
        lost = record["baseline"]["validation"]["accuracy"] - arm["validation"]["accuracy"]
        assert found["accuracy_drop"] == pytest.approx(100 * lost)
        assert json.loads(found["requested"]) == arm["requested"]
        assert found["seconds_encode"] == arm["seconds"]["encode"]
    main = row(collected, record["key"])
    assert main["effective_level"] == "1-3"
    assert pd.isna(row(collected, record["key"], 1)["effective_level"])
    assert main["model.recipe.epochs"] == record["settings"]["model"]["recipe"]["epochs"]
    assert main["threshold.percentile"] == 80.0
    assert main["quantize.step"] == 0.5
    assert main["level"] == "3"
    assert main["model.arguments"] == '{"width": 3}'
    assert main["compare"] == '["magnitude", "random"]'
    assert main["baseline_key"] == record["baseline"]["key"]
    assert main["device"] == "cpu"
    assert main["recorded_at"] == pd.Timestamp(1_700_000_000_123_456_789, tz="UTC")
    assert pd.isna(main["retrained_epochs"])
    assert not {"progress", "paths.outputs"} & set(collected.trials.columns)


def exported(path, **changes):
    """Write what `export=onnx` leaves beside the record at `path`."""
    timed = {"single": {"median": 0.5, "q1": 0.4, "q3": 0.6}, "batch": {"median": 9.0, "q1": 8.0, "q3": 10.0}}
    content = {"bytes": 1234, "equal_predictions": 0.75, "test": {"accuracy": 0.5}, "inference_ms": timed} | changes
    path.with_name("onnx.json").write_text(json.dumps(content))


def test_the_main_arm_has_the_measures_of_its_export(tmp_path):
    path, other = (write_record(tmp_path, example({"seed": seed})) for seed in (0, 1))
    directory = tmp_path / "analysis"
    assert refresh(tmp_path, directory, write=True).read == 2
    exported(path)
    assert refresh(tmp_path, directory, write=True).read == 1
    assert refresh(tmp_path, directory, write=True).read == 0
    collected = collect(tmp_path)
    found = row(collected, path.parent.name)
    assert (found["onnx_bytes"], found["onnx_equal_predictions"], found["onnx_test_accuracy"]) == (1234, 0.75, 0.5)
    assert (found["onnx_inference_single_ms"], found["onnx_inference_batch_ms_high"]) == (0.5, 10.0)
    assert pd.isna(found["onnx_largest_difference"])
    for key, arm in ((path.parent.name, 1), (other.parent.name, 0)):
        assert pd.isna(row(collected, key, arm)["onnx_bytes"])
    path.with_name("onnx.json").unlink()
    assert pd.isna(row(collect(tmp_path), path.parent.name)["onnx_bytes"])


@pytest.mark.parametrize("damage", [{"bytes": None}, {"bytes": "x"}, "{", ""])
def test_a_damaged_record_of_an_export_leaves_only_its_columns_empty(tmp_path, damage):
    path = write_record(tmp_path, example())
    without = collect(tmp_path).trials
    if isinstance(damage, dict):
        exported(path, **damage)
    else:
        path.with_name("onnx.json").write_text(damage)
    collected = collect(tmp_path)
    assert collected.skipped == ()
    pd.testing.assert_frame_equal(collected.trials, without)
    exported(path)
    assert row(collect(tmp_path), path.parent.name)["onnx_bytes"] == 1234


def test_types_that_differ_between_records_survive_the_file(tmp_path):
    for settings in ({"level": "max"}, {"level": 2, "quantize.step": 1}, {"retrain.augment": True}):
        write_record(tmp_path, example(settings))
    first = collect(tmp_path)
    again = collect(tmp_path)
    pd.testing.assert_frame_equal(first.trials, again.trials)
    assert set(again.trials["level"]) == {"max", "2", "3"}
    assert again.trials["quantize.step"].dropna().tolist() == [1.0] * 3
    written = pd.read_parquet(tmp_path / "analysis" / "trials.parquet")
    assert written["level"].tolist() == again.trials["level"].tolist()
    text = pd.read_csv(tmp_path / "analysis" / "trials.csv", low_memory=False)
    assert text.columns.tolist() == [name for name, _ in TRIALS]
    assert text["validation_accuracy"].tolist() == again.trials["validation_accuracy"].tolist()


def test_a_setting_that_a_record_lacks_has_its_default_and_an_unknown_one_is_kept(tmp_path):
    record = example()
    del record["settings"]["retrain"], record["settings"]["shrink"]
    record["settings"]["novel"] = {"width": 5}
    write_record(tmp_path, record)
    main = row(collect(tmp_path), record["key"])
    assert (main["retrain.name"], main["retrain.ramp"], main["shrink"]) == ("none", 0.7, False)
    assert json.loads(main["other_settings"]) == {"novel.width": 5}


def without(path):
    def change(record):
        *groups, leaf = path
        tree = record
        for name in groups:
            tree = tree[name]
        del tree[leaf]
        return json.dumps(record)

    return change


def with_value(path, value):
    def change(record):
        set_dotted(record, path, value)
        return json.dumps(record)

    return change


BROKEN = {
    "half": (lambda record: json.dumps(record)[:3000], "is not JSON"),
    "empty": (lambda record: "", "is empty"),
    "list": (lambda record: "[1]", "is not a JSON object"),
    "deep": (lambda record: "[" * 100_000, "is not JSON"),
    "bytes": (lambda record: json.dumps(record)[:-1] + '"\udcff"}', "is not JSON"),
    "no arms": (without(["arms"]), "arms is missing"),
    "no accuracy": (without(["arms", 1, "test", "accuracy"]), r"arms[1].test.accuracy is missing"),
    "arm is null": (lambda record: json.dumps({**record, "arms": [None]}), "arms[0].validation.accuracy is missing"),
    "text": (with_value("baseline.parameters", "50890"), "baseline.parameters is not an integer"),
    "truth": (with_value("baseline.validation.accuracy", True), "baseline.validation.accuracy is not a number"),
    "huge": (with_value("settings.seed", 10**30), "settings.seed is not an integer"),
    "surrogate": (with_value("settings.wavelet", "\ud800"), "is not JSON"),
    "copy": (with_value("key", "0" * 16), "its key is 0000000000000000"),
    "newer": (with_value("schema_version", NEWEST_SCHEMA + 1), "newer version"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_record_is_named_and_skipped(tmp_path, name):
    change, reason = BROKEN[name]
    good, bad = example(), example({"seed": 1})
    write_record(tmp_path, good)
    path = write_record(tmp_path, bad)
    path.write_bytes(change(bad).encode(errors="surrogateescape"))
    for _ in range(2):  # the second time from the cache
        collected = collect(tmp_path)
        assert set(collected.trials["key"]) == {good["key"]}
        (skipped,) = collected.skipped
        assert skipped.path == path
        assert reason in skipped.reason
        assert "\n" not in skipped.reason


def test_the_first_schema_is_read_where_nothing_is_missing_and_named_where_it_is(tmp_path):
    whole, unstored = example({"seed": 1}), example({"seed": 2})
    whole["schema_version"] = unstored["schema_version"] = 1
    for arm in unstored["arms"]:  # before there was a file format
        arm |= {"stored_bytes": None, "compression_ratio": None, "bits_per_weight": None}
    write_record(tmp_path, whole)
    write_record(tmp_path, unstored)
    collected = collect(tmp_path)
    assert set(collected.trials["key"]) == {whole["key"]}
    assert "arms[0].stored_bytes is missing (a record of schema_version 1" in collected.skipped[0].reason


def test_the_newest_schema_is_that_of_the_trials():
    assert NEWEST_SCHEMA == SCHEMA_VERSION


def test_failed_trials_have_a_table_of_their_own(tmp_path):
    write_record(tmp_path, example())
    write_failure(tmp_path, "a" * 16, "loss is NaN", example({"wavelet": "db2"})["settings"])
    write_failure(tmp_path, "b" * 16, "unknown")
    done = example({"seed": 3})
    write_record(tmp_path, done)
    write_failure(tmp_path, done["key"], "failed before, then done")
    for _ in range(2):
        failures = collect(tmp_path).failures
        assert failures[["key", "reason"]].values.tolist() == [["a" * 16, "loss is NaN"], ["b" * 16, "unknown"]]
        assert failures["wavelet"].tolist()[0] == "db2"
        assert pd.isna(failures["wavelet"].tolist()[1])
    assert pd.read_csv(tmp_path / "analysis" / "failures.csv")["reason"].tolist() == ["loss is NaN", "unknown"]


@pytest.mark.integration
def test_after_any_changes_the_table_is_that_of_a_first_collection(tmp_path):
    outputs, generator = tmp_path / "outputs", random.Random(0)
    keys = write_records(outputs, 12, seeds=2)
    (outputs / "runs" / "unfinished").mkdir()
    for step in range(12):
        collect(outputs)
        key = generator.choice(keys)
        path = outputs / "runs" / key / "result.json"
        action = generator.choice(("add", "change", "break", "delete", "fail"))
        if action == "add" or not path.exists():
            write_record(outputs, example({"seed": 100 + step}))
        elif action == "change":
            path.write_text(path.read_text().replace('"method": "magnitude"', '"method": "unit"'))
        elif action == "break":
            path.write_text(path.read_text()[: -1 - step])
        elif action == "delete":
            shutil.rmtree(path.parent)
        else:
            path.rename(path.with_name("failure.json"))
        again, first = collect(outputs), tmp_path / str(step)
        shutil.copytree(outputs / "runs", first / "runs")
        fresh = collect(first)
        pd.testing.assert_frame_equal(again.trials, fresh.trials)
        pd.testing.assert_frame_equal(again.failures, fresh.failures)
        assert [s.path.parts[-2:] for s in again.skipped] == [s.path.parts[-2:] for s in fresh.skipped]
        for name in ("trials.csv", "failures.csv"):
            assert (outputs / "analysis" / name).read_bytes() == (first / "analysis" / name).read_bytes()


def test_only_new_and_changed_records_are_read(tmp_path):
    keys = write_records(tmp_path, 5)
    directory = tmp_path / "analysis"
    assert refresh(tmp_path, directory, write=True).read == 5
    written = (directory / "trials.parquet").stat().st_mtime_ns
    assert refresh(tmp_path, directory, write=True).read == 0
    assert (directory / "trials.parquet").stat().st_mtime_ns == written
    path = tmp_path / "runs" / keys[0] / "result.json"
    os.utime(path, ns=(0, 5))
    write_record(tmp_path, example({"seed": 77}))
    shutil.rmtree(tmp_path / "runs" / keys[1])
    state = refresh(tmp_path, directory, write=True)
    assert (state.read, state.removed) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"PAR1 no table", None])
def test_a_damaged_or_foreign_table_is_made_again(tmp_path, content):
    write_records(tmp_path, 2)
    path = tmp_path / "analysis" / "trials.parquet"
    path.parent.mkdir()
    if content is None:
        pd.DataFrame({"key": ["x"]}).to_parquet(path)
    else:
        path.write_bytes(content)
    assert len(collect(tmp_path).trials) == 6


def test_no_record_at_all_gives_an_empty_table_of_the_same_columns(tmp_path):
    collected = collect(tmp_path)
    assert collected.trials.columns.tolist() == [name for name, _ in TRIALS]
    assert len(collected.trials) == len(collected.failures) == 0
    write_record(tmp_path, example())
    filled = collect(tmp_path).trials
    assert (filled.dtypes == collected.trials.dtypes)[filled.notna().all()].all()


def test_without_writing_nothing_is_left_behind(tmp_path):
    write_records(tmp_path, 2)
    assert len(collect(tmp_path, write=False).trials) == 6
    assert not (tmp_path / "analysis").exists()


def test_keys_of_synthetic_records_differ(tmp_path):
    assert len(set(write_records(tmp_path, 40, seeds=2))) == 40
    assert key_of({"a": 1}) != key_of({"a": 2})


def test_a_record_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    records = [example(), example({"seed": 1})]
    paths = [write_record(tmp_path, record) for record in records]

    def denied(path, original=Path.read_bytes):
        if path == paths[1]:
            raise PermissionError(13, "Permission denied")
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        for _ in range(2):
            collected = collect(tmp_path)
            assert [skipped.reason for skipped in collected.skipped] == ["cannot be read (Permission denied)"]
    assert set(collect(tmp_path).trials["key"]) == {record["key"] for record in records}
