"""Records of a study in a CSV file: what is written can be read again, joined with others, and makes the same page."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from records import example, write_record
from test_study_tool import command, write_sweep

from wavesweep.analysis import study
from wavesweep.analysis.command import run
from wavesweep.analysis.studies.catalogue.all import STUDIES
from wavesweep.analysis.studies.records import (
    has_its_key,
    joined,
    read_records,
    records,
    rows_of,
    settings_of,
    with_short_paths,
)
from wavesweep.analysis.table.columns import SETTINGS
from wavesweep.analysis.table.rows import setting_values
from wavesweep.settings.keys import trial_key

PAGES = Path(__file__).resolve().parents[2] / "docs" / "studies"
NAME = "weight_vs_unit"


def write_trials(outputs, percentiles, seeds=(0, 1), **more):
    """Trials of the study, of which every second lacks a setting that the others have; returns their keys."""
    keys = []
    for number, percentile in enumerate(percentiles):
        for seed in seeds:
            step = None if number % 2 else 0.25
            settings = {"seed": seed, "threshold.percentile": percentile, "quantize.step": step, "level": 2, **more}
            record = example(settings)
            values = zip([column.name for column in SETTINGS], setting_values(record["settings"]), strict=True)
            record["key"] = trial_key(settings_of(dict(values)))
            keys.append(write_record(outputs, record).parent.name)
    write_sweep(outputs, keys, NAME)
    return keys


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
    (tmp_path / "elsewhere").mkdir()
    assert command(monkeypatch, NAME, tmp_path / "elsewhere", "--records", tmp_path / "kept.csv") == 0
    assert made(tmp_path / "elsewhere") == first
    assert "6 trials, 2 seeds" in capsys.readouterr().out


def test_what_is_read_is_what_was_collected(outputs, tmp_path):
    rows = rows_of(STUDIES[NAME], outputs)
    records(rows, NAME).to_csv(tmp_path / "kept.csv", index=False)
    again = read_records(tmp_path / "kept.csv", NAME)
    columns = ["key", "arm", "method", *(column.name for column in SETTINGS), "test_accuracy", "stored_bytes"]
    both = [table.sort_values(["key", "arm"], ignore_index=True)[columns] for table in (again, rows)]
    pd.testing.assert_frame_equal(*both)
    assert set(rows["quantize.step"].dropna()) == {0.25}
    assert "quantize.step" in records(rows, NAME)
    assert "layout" not in records(rows, NAME)  # the default, everywhere


def test_records_of_elsewhere_and_of_here_are_one_study(outputs, tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    write_trials(here, [50.0, 80.0], seeds=(1, 2))
    write_trials(there, [50.0, 80.0], seeds=(0, 1))
    assert command(monkeypatch, NAME, there) == 0
    csv = there / "analysis" / "studies" / NAME / "records.csv"
    both = rows_of(STUDIES[NAME], here, [csv])
    assert sorted(both["seed"].unique()) == [0, 1, 2]
    assert both.drop_duplicates("key")["seed"].value_counts().to_dict() == {0: 2, 1: 2, 2: 2}
    again = pd.read_csv(csv)
    again["test_accuracy"] = 0.5
    again.to_csv(csv, index=False)
    own = rows_of(STUDIES[NAME], here, [csv]).query("seed == 1")
    assert (own["test_accuracy"] != 0.5).all()  # the records themselves come before a copy of them


def test_data_of_the_same_name_are_one_data_set_wherever_they_lie(tmp_path):
    for place in ("one", "two"):
        path = f"/{place}/photos"
        write_trials(
            tmp_path / place, [50.0], (int(place == "two"),), **{"dataset.name": "image_folder", "dataset.path": path}
        )
    parts = [rows_of(STUDIES[NAME], tmp_path / place) for place in ("one", "two")]
    assert set(joined(parts)["dataset.path"]) == {"photos"}
    assert len(joined([parts[0], parts[0]])) == len(parts[0])


@pytest.mark.parametrize(
    ("paths", "short"),
    [
        (["/one/photos/", "C:\\data\\cats", None], ["photos", "cats", None]),
        (["/one/photos", "/two/photos", "cats"], ["/one/photos", "/two/photos", "cats"]),
        ([".", "/", "data/.."], [".", "/", "data/.."]),
    ],
)
def test_paths_become_their_last_part_where_that_tells_them_apart(paths, short):
    others = {"model.checkpoint": None, "threshold.sensitivity": "/three/table.csv"}
    found = with_short_paths(pd.DataFrame({"dataset.path": paths}).assign(**others))
    assert [None if pd.isna(path) else path for path in found["dataset.path"]] == short
    assert set(found["threshold.sensitivity"]) == {"table.csv"}


def changed(table, name, value):
    return table.assign(**{name: [value, *table[name].tolist()[1:]]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "does not exist"),
        (lambda table: "", "cannot be read (Empty CSV file)"),
        (lambda table: "key,arm\nabc,one\n", "cannot be read (In CSV column #1: CSV conversion error to int64"),
        (lambda table: "key,arm\nabc,1\n", "has no column is_main"),
        (lambda table: "key,key\nabc,1\n", "has two columns key"),
        (lambda table: table.iloc[:0], "has no row"),
        (lambda table: table.drop(columns="study"), "has no column study"),
        (lambda table: table.assign(study="charter"), "has records of charter, not of weight_vs_unit"),
        (lambda table: table.assign(colour="red"), "has a column colour, which this version does not know"),
        (lambda table: table.drop(columns="threshold.percentile"), "whose settings have another key"),
        (lambda table: changed(table, "seed", 7), "whose settings have another key"),
        (lambda table: table.assign(compare="[magnitude"), "whose settings have another key"),
        (lambda table: table.assign(is_main=False), "has no row of a main arm"),
        (lambda table: changed(table, "key", None), "has a row without key"),
        (lambda table: changed(table, "is_main", None), "has a row without is_main"),
        (lambda table: changed(table, "test_accuracy", float("inf")), "has a row without test_accuracy"),
    ],
)
def test_another_file_is_one_line(outputs, tmp_path, monkeypatch, capsys, change, said):
    file = tmp_path / "kept.csv"
    if change is not None:
        found = change(records(rows_of(STUDIES[NAME], outputs), NAME))
        file.write_text(found if isinstance(found, str) else found.to_csv(index=False))
    assert command(monkeypatch, NAME, outputs, "--records", file) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file} ")
    assert said in line
    assert line.endswith("; give a CSV that analysis.study of this version wrote")


def test_rows_that_are_there_twice_count_once(outputs, tmp_path):
    table = records(rows_of(STUDIES[NAME], outputs), NAME)
    pd.concat([table, table]).to_csv(tmp_path / "kept.csv", index=False)
    assert len(read_records(tmp_path / "kept.csv", NAME)) == len(table)


def test_a_place_that_is_named_must_be_there(outputs, tmp_path, monkeypatch, capsys):
    records(rows_of(STUDIES[NAME], outputs), NAME).to_csv(tmp_path / "kept.csv", index=False)
    assert command(monkeypatch, NAME, tmp_path / "nowhere", "--records", tmp_path / "kept.csv") == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    monkeypatch.chdir(tmp_path / "outputs")  # none is named, and there is no outputs/ here
    assert command(monkeypatch, NAME, "--records", tmp_path / "kept.csv") == 0


def test_a_sweep_without_a_finished_trial_is_no_reason_to_refuse_records(outputs, tmp_path, monkeypatch, capsys):
    rows = rows_of(STUDIES[NAME], outputs)
    records(rows, NAME).to_csv(tmp_path / "kept.csv", index=False)
    write_sweep(tmp_path / "new", [rows["key"].iloc[0], "0123456789abcdef"], NAME)
    assert command(monkeypatch, NAME, tmp_path / "new", "--records", tmp_path / "kept.csv") == 0
    assert "note: 1 of 2 trials are not finished" in capsys.readouterr().err


@pytest.mark.parametrize("name", STUDIES)
def test_the_key_of_a_record_is_that_of_its_settings(name):
    rows = read_records(PAGES / f"{name}.csv", name)  # refuses others
    changed = rows.assign(seed=rows["seed"] + 1).query("`dataset.name` != 'image_folder'")
    assert not any(has_its_key(row) for row in changed.to_dict("records"))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "do_wavelets_help" else pytest.mark.integration)
        for name in STUDIES
    ],
)
def test_every_page_is_what_its_records_say(name, tmp_path, monkeypatch):
    page, csv = PAGES / f"{name}.md", PAGES / f"{name}.csv"
    (tmp_path / page.name).write_bytes(page.read_bytes())
    (tmp_path / "outputs").mkdir()
    given = [name, str(tmp_path / "outputs"), "--records", str(csv), "--docs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["study", *given])
    assert run(study.main) == 0
    assert (tmp_path / page.name).read_text() == page.read_text()
    assert (tmp_path / csv.name).read_text() == csv.read_text()
    charts = {path.name for path in tmp_path.glob("*.png")}
    assert charts == {path.name for path in PAGES.glob(f"{name}_*.png")}
