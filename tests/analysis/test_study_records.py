"""Records of a study in a CSV file: what is written can be read again, joined with others, and makes the same page."""

import json
import sys
from functools import reduce
from pathlib import Path

import pandas as pd
import pytest
from records import example, write_record
from test_study_tool import command, write_sweep

from analysis import study
from analysis.catalogue.all import STUDIES
from analysis.columns import SETTINGS
from analysis.command import run
from analysis.study_records import joined, read_records, records
from wavesweep.config import Settings
from wavesweep.inputs import input_digests
from wavesweep.store.keys import trial_key

PAGES = Path(__file__).resolve().parents[2] / "docs" / "studies"
NAME = "weight_vs_unit"
WITH_RECORDS = [name for name in STUDIES if (PAGES / f"{name}.csv").is_file()]


def write_trials(outputs, percentiles, seeds=(0, 1), **more):
    """Trials of the study, of which every second lacks a setting that the others have; returns their keys."""
    keys = []
    for number, percentile in enumerate(percentiles):
        for seed in seeds:
            step = None if number % 2 else 0.25
            settings = {"seed": seed, "threshold.percentile": percentile, "quantize.step": step, "level": 2, **more}
            keys.append(write_record(outputs, example(settings)).parent.name)
    write_sweep(outputs, keys, NAME)
    return keys


def settings_of(row):
    """The settings that a row of the table stands for."""
    settings = Settings()
    for column in SETTINGS:
        value = None if pd.isna(row[column.name]) else row[column.name]
        if column.kind == "json":
            value = json.loads(value)
        elif value is not None and (column.kind == "integer" or (column.kind == "label" and value.isdigit())):
            value = int(value)
        *path, last = column.path
        setattr(reduce(getattr, path, settings), last, value)
    return settings


@pytest.fixture
def outputs(tmp_path):
    write_trials(tmp_path / "outputs", [50.0, 80.0, 90.0])
    return tmp_path / "outputs"


def made(directory):
    where = directory / "analysis" / "studies" / NAME
    return {name: (where / name).read_bytes() for name in ("records.csv", "table.csv", "table.md")}


def test_the_page_can_be_made_from_its_records_alone(outputs, tmp_path, monkeypatch, capsys):
    assert command(monkeypatch, NAME, outputs) == 0
    first = made(outputs)
    (tmp_path / "kept.csv").write_bytes(first["records.csv"])
    assert command(monkeypatch, NAME, tmp_path / "elsewhere", "--records", tmp_path / "kept.csv") == 0
    assert made(tmp_path / "elsewhere") == first
    assert "6 trials, 2 seeds" in capsys.readouterr().out


def test_what_is_read_is_what_was_collected(outputs, tmp_path):
    rows = study.rows_of(STUDIES[NAME], outputs)
    records(rows).to_csv(tmp_path / "kept.csv", index=False)
    again = read_records(tmp_path / "kept.csv")
    columns = ["key", "arm", "method", *(column.name for column in SETTINGS), "test_accuracy", "stored_bytes"]
    both = [table.sort_values(["key", "arm"], ignore_index=True)[columns] for table in (again, rows)]
    pd.testing.assert_frame_equal(*both)
    assert set(rows["quantize.step"].dropna()) == {0.25}
    assert "quantize.step" in records(rows)
    assert "layout" not in records(rows)  # the default, everywhere


def test_records_of_elsewhere_and_of_here_are_one_study(outputs, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    write_trials(here, [50.0, 80.0], seeds=(1, 2))
    write_trials(there, [50.0, 80.0], seeds=(0, 1))
    assert command(monkeypatch, NAME, there) == 0
    csv = there / "analysis" / "studies" / NAME / "records.csv"
    both = study.rows_of(STUDIES[NAME], here, [csv])
    assert sorted(both["seed"].unique()) == [0, 1, 2]
    assert both.drop_duplicates("key")["seed"].value_counts().to_dict() == {0: 2, 1: 2, 2: 2}
    again = pd.read_csv(csv)
    again["test_accuracy"] = 0.5
    again.to_csv(csv, index=False)
    own = study.rows_of(STUDIES[NAME], here, [csv]).query("seed == 1")
    assert (own["test_accuracy"] != 0.5).all()  # the records themselves come before a copy of them


def test_data_of_the_same_name_are_one_data_set_wherever_they_lie(tmp_path):
    for place in ("one", "two"):
        path = f"/{place}/photos"
        write_trials(
            tmp_path / place, [50.0], (int(place == "two"),), **{"dataset.name": "image_folder", "dataset.path": path}
        )
    parts = [study.rows_of(STUDIES[NAME], tmp_path / place) for place in ("one", "two")]
    assert set(joined(parts)["dataset.path"]) == {"photos"}
    assert len(joined([parts[0], parts[0]])) == len(parts[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist; give a CSV that analysis.study wrote"),
        ("", "cannot be read (Empty CSV file); give a CSV"),
        ("key,arm\nabc,one\n", "cannot be read (In CSV column #1: CSV conversion error to int64"),
        ("key,arm\nabc,1\n", "has no column is_main; give a CSV"),
        ("MORE", "has a column colour, which this version does not know; give a CSV"),
    ],
)
def test_another_file_is_one_line(outputs, tmp_path, monkeypatch, capsys, content, said):
    file = tmp_path / "kept.csv"
    if content == "MORE":
        records(study.rows_of(STUDIES[NAME], outputs)).assign(colour="red").to_csv(file, index=False)
    elif content is not None:
        file.write_text(content)
    assert command(monkeypatch, NAME, outputs, "--records", file) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file} ")
    assert said in line


@pytest.mark.parametrize("name", WITH_RECORDS)
def test_the_key_of_a_record_is_that_of_its_settings(name):
    rows = read_records(PAGES / f"{name}.csv").query("is_main").to_dict("records")
    # Of photos the key depends on their files, which are not here.
    checked = [row for row in rows if row["dataset.name"] != "image_folder"]
    assert checked
    for row in checked:
        settings = settings_of(row)
        digests = input_digests(settings)
        older = {name: digest for name, digest in digests.items() if name != "layers"}  # before keys told attention
        assert row["key"] in (trial_key(settings, digests), trial_key(settings, older))


@pytest.mark.integration
@pytest.mark.parametrize("name", WITH_RECORDS)
def test_every_page_is_what_its_records_say(name, tmp_path, monkeypatch):
    page, csv = PAGES / f"{name}.md", PAGES / f"{name}.csv"
    (tmp_path / page.name).write_bytes(page.read_bytes())
    given = [name, str(tmp_path / "outputs"), "--records", str(csv), "--docs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["study", *given])
    assert run(study.main) == 0
    assert (tmp_path / page.name).read_text() == page.read_text()
    assert (tmp_path / csv.name).read_text() == csv.read_text()
    charts = {path.name for path in tmp_path.glob("*.png")}
    assert charts == {path.name for path in PAGES.glob(f"{name}_*.png")}
