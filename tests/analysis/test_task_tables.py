"""Records of other tasks in the table and its charts: by their primary metric, its unit and its direction."""

import json

import pandas as pd
import pytest
from records import example, write_record

from wavesweep.analysis.charts.pareto import accuracy_against_bytes
from wavesweep.analysis.statistics.choices import choices
from wavesweep.analysis.statistics.workloads import workloads
from wavesweep.analysis.table.collect import collect
from wavesweep.analysis.table.columns import UnfitError
from wavesweep.analysis.table.rows import trial_rows

BITS = {"name": "language_model", "primary": "bits_per_token", "unit": "bits", "direction": "lower"}


def of_task(task, baseline, *values):
    """A record of another task whose arms have these values of the primary metric on both splits."""
    settings = {"task": {"name": task["name"], "target": None, "arguments": {}}}
    record = {**example(), "task": task}
    record["settings"] |= settings
    for part, value in zip((record["baseline"], *record["arms"]), (baseline, *values), strict=True):
        part.pop("drop", None)
        part["validation"] = part["test"] = {task["primary"]: value, "loss": 1.0}
    return record


def test_the_table_has_the_metric_and_what_was_lost_of_it(tmp_path):
    record = of_task(BITS, 2.0, 2.25, 2.0, 1.5)
    write_record(tmp_path, record)
    trials = collect(tmp_path).trials
    assert trials["validation_metric"].tolist() == [2.25, 2.0, 1.5]
    assert trials["accuracy_drop"].tolist() == [0.25, 0.0, -0.5]  # more bits are a loss
    assert trials[["metric", "metric_unit", "metric_direction"]].iloc[0].tolist() == ["bits_per_token", "bits", "lower"]
    assert trials["validation_accuracy"].isna().all()
    assert trials["test_loss"].tolist() == [1.0, 1.0, 1.0]
    for name in ("bits_per_token", "loss"):
        content = json.loads(json.dumps(record))
        del content["arms"][1]["test"][name]
        if name == "bits_per_token":
            with pytest.raises(UnfitError, match=r"arms\[1\]\.test\.bits_per_token is missing"):
                trial_rows(json.dumps(content).encode(), record["key"], 0)


def test_records_of_classification_say_their_metric_too(tmp_path):
    write_record(tmp_path, example())
    trials = collect(tmp_path).trials
    assert trials["metric"].tolist() == ["accuracy"] * 3
    assert trials["validation_metric"].tolist() == trials["validation_accuracy"].tolist()


def test_tasks_are_workloads_of_their_own_and_charts_speak_of_their_metric(tmp_path):
    for record in (example(key="0" * 16), {**of_task(BITS, 2.0, 2.25, 2.01, 1.5), "key": "1" * 16}):
        write_record(tmp_path, record)
    found = {one.metric.name: one for one in workloads(collect(tmp_path).trials)}
    assert set(found) == {"accuracy", "bits_per_token"}
    assert found["accuracy"].axis("validation") == "validation accuracy (%)"
    language = found["bits_per_token"]
    assert language.label.endswith("(language_model)")
    assert language.axis("validation") == "validation −bits_per_token (bits)"
    assert language.shown(language.baseline["validation"]) == "2 bits"
    assert (100 * language.rows["validation_accuracy"]).tolist() == pytest.approx([-2.25, -2.01, -1.5])
    chart = accuracy_against_bytes(language)
    assert chart.figure.axes[0].get_ylabel() == "validation −bits_per_token (bits)"
    smallest = choices(language)[0]
    assert "at most 1 %" in smallest.rule
    assert smallest.row["accuracy_drop"] <= 0.02
    assert "of validation bits_per_token (" in smallest.words
    assert not pd.isna(smallest.row["stored_bytes"])
