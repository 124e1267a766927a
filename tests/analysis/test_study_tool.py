"""The tool for studies, on records that the tests invent: what belongs, means and spreads, files, the page."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from records import example, write_record, write_records

from wavesweep.analysis import study
from wavesweep.analysis.charts.differences import differences
from wavesweep.analysis.command import run
from wavesweep.analysis.statistics.evidence import evidence, varying
from wavesweep.analysis.studies.catalogue.all import STUDIES
from wavesweep.analysis.studies.catalogue.charter import best_levels
from wavesweep.analysis.studies.catalogue.weight_vs_unit import flat_to, knee_at, lost_at
from wavesweep.analysis.studies.page import BEGIN, END, full_table, markdown
from wavesweep.analysis.studies.records import rows_of
from wavesweep.analysis.table.collect import collect
from wavesweep.analysis.table.outputs import keys_of

ROOT = Path(__file__).resolve().parents[2]
BY = ("method", "threshold.percentile")
PAGE = f"# A study\n\nThe claim.\n\n{BEGIN}\nold\n{END}\n\nThe verdict.\n"


def write_sweep(outputs, keys, experiment, sweep="one"):
    path = outputs / "sweeps" / sweep / "sweep.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"arguments": [], "experiments": {experiment: list(keys)}, "keys": list(keys)}))


def write_curve(outputs, method, accuracies, seeds=3):
    """Records of one method: for each share pruned the accuracies of its seeds, of which the first is given."""
    keys = []
    for percentile, accuracy in accuracies.items():
        for seed in range(seeds):
            settings = {"seed": seed, "method.name": method, "threshold.percentile": percentile, "compare": []}
            record = example(settings)
            record["arms"] = record["arms"][:1]
            arm = record["arms"][0]
            arm |= {"method": method, "arm_key": record["key"]}
            arm["test"]["accuracy"] = accuracy + 0.01 * seed
            record["baseline"]["test"]["accuracy"] = 0.98 + 0.01 * seed
            record["baseline"]["key"] = f"seed{seed}"
            write_record(outputs, record)
            keys.append(record["key"])
    return keys


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two curves over three seeds, asked for by weight_vs_unit, and records of another sweep."""
    directory = tmp_path_factory.mktemp("outputs")
    keys = write_curve(directory, "magnitude", {0.0: 0.98, 50.0: 0.98, 80.0: 0.975, 90.0: 0.95, 95.0: 0.60, 99.0: 0.1})
    keys += write_curve(directory, "unit", {0.0: 0.98, 25.0: 0.975, 60.0: 0.90, 80.0: 0.4, 99.0: 0.1})
    write_sweep(directory, keys, "weight_vs_unit")
    write_records(directory, 6)
    return directory


@pytest.fixture(scope="module")
def found(outputs):
    chosen = STUDIES["weight_vs_unit"]
    return evidence(rows_of(chosen, outputs), chosen.by, chosen.measures)


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["study", *map(str, arguments)])
    return run(study.main)


def test_the_trials_of_a_study_are_those_that_its_sweeps_asked_for(outputs):
    rows = rows_of(STUDIES["weight_vs_unit"], outputs)
    assert set(rows["key"]) == keys_of(outputs, ["weight_vs_unit"])
    assert len(rows) == 33
    assert len(collect(outputs, write=False).trials) > 33


def test_several_sweeps_of_a_study_belong_to_it_and_damaged_descriptions_to_nothing(tmp_path):
    write_sweep(tmp_path, ["a", "b"], "charter", "one")
    write_sweep(tmp_path, ["b", "c"], "charter_resnet18", "two")
    write_sweep(tmp_path, ["d"], "other", "three")
    for name, content in {"half": '{"experiments"', "list": "[1]", "wrong": '{"experiments": {"charter": 3}}'}.items():
        (tmp_path / "sweeps" / name).mkdir()
        (tmp_path / "sweeps" / name / "sweep.json").write_text(content)
    assert keys_of(tmp_path, ["charter", "charter_resnet18"]) == {"a", "b", "c"}


def test_means_and_spreads_are_over_seeds(found):
    (one,) = found
    assert (one.by, one.workload.label) == (BY, "mlp on digits")
    assert one.table["method"].tolist() == ["magnitude"] * 6 + ["unit"] * 5
    assert one.table["threshold.percentile"].tolist()[:6] == [0, 50, 80, 90, 95, 99]
    assert (one.table["seeds"] == 3).all()
    row = one.table[(one.table["method"] == "unit") & (one.table["threshold.percentile"] == 60)].iloc[0]
    assert row["test_accuracy_mean"] == pytest.approx(0.91)
    assert row["test_accuracy_std"] == pytest.approx(0.01)
    assert row["test_accuracy_drop_mean"] == pytest.approx(8.0)
    assert row["test_accuracy_drop_std"] == pytest.approx(0.0, abs=1e-9)
    assert one.before["test_accuracy_mean"] == pytest.approx(0.99)
    assert one.before["seeds"] == 3


def test_a_setting_that_differs_besides_has_a_column(tmp_path):
    keys = [
        write_record(tmp_path, example({"seed": seed, "model.recipe.epochs": epochs})).parent.name
        for seed in (0, 1)
        for epochs in (1, 30)
    ]
    write_sweep(tmp_path, keys, "weight_vs_unit")
    rows = rows_of(STUDIES["weight_vs_unit"], tmp_path)
    assert varying(rows[rows["is_main"]], BY) == ["model.recipe.epochs"]
    (one,) = evidence(rows, BY, ["test_accuracy"])
    assert one.by == (*BY, "model.recipe.epochs")
    assert one.table.query("method == 'wavelet'")["model.recipe.epochs"].tolist() == [1, 30]
    assert (one.table["seeds"] == 2).all()


def test_methods_without_a_wavelet_show_none(tmp_path):
    keys = write_records(tmp_path, 12, seeds=2, settings={"level": 1, "layout": "auto", "threshold.percentile": 90.0})
    write_sweep(tmp_path, keys, "charter")
    rows = rows_of(STUDIES["charter"], tmp_path)
    (one,) = evidence(rows, STUDIES["charter"].by, ["test_accuracy"])
    wavelets = one.table.groupby("method")["wavelet"].agg(set)
    assert len(wavelets["wavelet"]) == 6
    # Each trial has a magnitude arm of its own here, so it says of which one.
    assert wavelets["magnitude"] == {f"({name})" for name in wavelets["wavelet"]}
    chosen = best_levels(one.table)
    assert chosen["method"].tolist() == ["wavelet"] * 6 + ["random", "magnitude"]
    best = one.table.query("method == 'magnitude'")["validation_accuracy_mean"].max()
    assert chosen.query("method == 'magnitude'")["validation_accuracy_mean"].tolist() == [best]


def test_knee_and_flat_part_of_a_curve():
    pruned = [0.0, 25, 50, 75, 90, 95, 99]
    assert knee_at(pruned, [98, 98, 98, 98, 97, 50, 10]) == 90
    assert knee_at(pruned, [98, 98, 97.9, 60, 30, 12, 10]) == 50
    # Points that others beat in both count as well: the line is that between the ends.
    assert knee_at([0.0, 25, 50, 75, 100], [90, 60, 95, 70, 20]) == 50
    assert knee_at([0.0, 10, 20, 90], [10, 50, 80, 93]) == 20
    assert knee_at([0.0, 50, 100], [98, 98, 98]) == 0
    assert knee_at([50.0], [98]) == 50
    assert flat_to(pruned, [98, 98.1, 97.5, 97.0, 96.9, 50, 97.5], before=98.0) == 75
    assert flat_to(pruned, [90.0] * 7, before=98.0) == 0


def test_points_lost_between_two_shares():
    pruned, accuracies = [0.0, 50, 60, 80], [98.0, 98.5, 97.0, 93.0]
    assert lost_at(pruned, accuracies, 98.0, 1.0) == 60
    assert lost_at(pruned, accuracies, 98.0, 3.0) == pytest.approx(70)
    assert lost_at(pruned, accuracies, 98.0, 0.5) == pytest.approx(50 + 10 * 2 / 3)
    assert lost_at(pruned, accuracies, 98.0, 6.0) is None
    assert lost_at(pruned, accuracies, 99.0, 1.0) == 0


def test_our_figures_have_the_names_of_the_published_ones(found):
    weight_vs_unit = STUDIES["weight_vs_unit"]
    assert weight_vs_unit.ours(found[0]) == {
        "test accuracy before pruning, %": "99.00",
        "weights: flat to k, %": "80",
        "weights: knee at k, %": "90",
        "weights: 1, 2 and 5 points lost at k, %": "82, 86, 90",
        "units: flat to k, %": "25",
        "units: knee at k, %": "60",
        "units: 1, 2 and 5 points lost at k, %": "27, 32, 46",
    }
    assert set(weight_vs_unit.published) <= set(weight_vs_unit.ours(found[0]))


def test_every_network_is_compared_with_itself_and_with_every_other():
    rows = pd.DataFrame({"baseline_test_accuracy": [0.70, 0.73, 0.74], "test_accuracy": [0.70, 0.729, 0.74]})
    points = differences(rows)
    assert points.same == pytest.approx([0, -0.1, 0])
    assert sorted(points.other) == pytest.approx([-4.0, -3.0, -1.1, 1.0, 2.9, 4.0])
    assert np.mean(points.other <= -1.55) == pytest.approx(2 / 6)


def test_fashion_tiny_prune_tells_the_loss_of_one_network_from_that_of_two(tmp_path):
    keys = []
    for seed, before in enumerate((0.70, 0.72, 0.74)):
        record = example({"seed": seed, "threshold.percentile": 0.01, "method.name": "magnitude", "compare": []})
        record["arms"] = [record["arms"][0] | {"method": "magnitude", "arm_key": record["key"]}]
        record["baseline"] |= {"key": str(seed), "test": record["baseline"]["test"] | {"accuracy": before}}
        record["arms"][0]["test"]["accuracy"] = before - 0.0001
        keys.append(write_record(tmp_path, record).parent.name)
    write_sweep(tmp_path, keys, "fashion_tiny_prune")
    chosen = STUDIES["fashion_tiny_prune"]
    (one,) = evidence(rows_of(chosen, tmp_path), chosen.by, chosen.measures)
    ours = chosen.ours(one)
    assert set(chosen.published) <= set(ours)
    assert ours["test accuracy before pruning, %"] == "72.00 ± 2.00"
    assert ours["points lost"] == "0.0100"
    assert ours["two networks, one pruned: share that lose 1.55 points or more, %"] == "50"
    assert chosen.charts[0](one).figure is not None


def test_the_command_writes_tables_charts_and_the_page(outputs, tmp_path, monkeypatch, capsys):
    page = tmp_path / "weight_vs_unit.md"
    page.write_text(PAGE)
    assert command(monkeypatch, "weight_vs_unit", outputs, "--docs", tmp_path) == 0
    directory = outputs / "analysis" / "studies" / "weight_vs_unit"
    assert f"33 trials, 3 seeds, 1 charts: {directory}" in capsys.readouterr().out
    table = pd.read_csv(directory / "table.csv")
    assert table["method"].tolist() == ["before pruning"] + ["magnitude"] * 6 + ["unit"] * 5
    records = pd.read_csv(directory / "records.csv")
    assert len(records) == 33
    assert {"key", "method", "threshold.percentile", "seed", "test_accuracy", "stored_bytes"} <= set(records)
    made = (directory / "table.md").read_text()
    assert "| units: knee at k, % | 60 | 60 |" in made
    name = "weight_vs_unit_mlp-digits_test_accuracy_by_percentile"
    assert f"]({name}.png)" in made
    assert (directory / f"{name}.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / f"{name}.png").read_bytes() == (directory / f"{name}.png").read_bytes()
    assert (tmp_path / "weight_vs_unit.csv").read_bytes() == (directory / "records.csv").read_bytes()
    assert page.read_text() == PAGE.replace("old", f"\n{made}")
    before = page.read_bytes()
    assert command(monkeypatch, "weight_vs_unit", outputs, "--docs", tmp_path) == 0
    assert page.read_bytes() == before


def test_the_tables_have_every_row_once(found):
    table = full_table(found)
    assert len(table) == len(found[0].table) + 1
    assert math.isnan(table.loc[0, "weight_sparsity_mean"])
    lines = markdown(STUDIES["weight_vs_unit"], found, {}).splitlines()
    assert "| before pruning |  | 3 | 99.00 ± 1.00 |" in " ".join(lines)
    assert sum(line.startswith("| unit |") for line in lines) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["weights"], "weights is no study; choose one of weight_vs_unit, "),
        ([], "no study is named; choose one of "),
        (["charter", "nowhere"], "nowhere does not exist"),
        (["charter", "OUTPUTS"], "has no sweep of charter; run one first: python -m wavesweep -m experiment=charter"),
        (["weight_vs_unit", "OUTPUTS", "--docs", "nowhere"], "does not exist; write it, with the lines <!--"),
    ],
)
def test_a_wrong_argument_is_one_line(outputs, monkeypatch, capsys, arguments, said):
    given = [str(outputs) if one == "OUTPUTS" else one for one in arguments]
    assert command(monkeypatch, *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_page_without_marks_is_left_as_it_is(outputs, tmp_path, monkeypatch, capsys):
    page = tmp_path / "weight_vs_unit.md"
    page.write_text("# A study\n")
    assert command(monkeypatch, "weight_vs_unit", outputs, "--docs", tmp_path) == 2
    assert "has no place for the table" in capsys.readouterr().err
    assert page.read_text() == "# A study\n"


def test_the_studies_are_listed(monkeypatch, capsys):
    assert command(monkeypatch, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_experiments_and_a_page_with_its_commands(name):
    page = (ROOT / "docs" / "studies" / f"{name}.md").read_text()
    assert BEGIN in page
    assert END in page
    assert f"python -m analysis.study {name} outputs/ --docs docs/studies" in page
    assert f"({name}.md)" in (ROOT / "docs" / "studies" / "README.md").read_text()
    assert STUDIES[name].source
    for experiment in STUDIES[name].experiments:
        assert f"python -m wavesweep -m experiment={experiment}" in page
        assert (ROOT / "conf" / "experiment" / f"{experiment}.yaml").is_file()
