"""The sensitivity scan from the command line, and the allocation that uses its table."""

import csv
import re
from pathlib import Path

import pytest
from command_line import records, results, written

pytestmark = pytest.mark.integration

# The default network, trained for a moment.
BASE = ("model.recipe.epochs=3", "wavelet=haar", "level=1")
SCAN = ("-m", "experiment=sensitivity", *BASE)
SIZES = {"fc1.weight": 64 * 256, "fc2.weight": 256 * 128, "fc3.weight": 128 * 10}


def table_of(outcome):
    (path,) = re.findall(r"threshold\.sensitivity=(\S+)$", outcome.stdout, re.MULTILINE)
    return path


def rows_of(directory, outcome):
    with (directory / table_of(outcome)).open(newline="") as file:
        return list(csv.DictReader(file))


def points_of(directory):
    return sorted(directory.glob("outputs/sensitivity/points/*/point.json"))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, forked):
    """The directory of a scan of two percentiles, and how it ended."""
    directory = tmp_path_factory.mktemp("scan")
    outcome = forked.run(directory, *SCAN, "threshold.percentile=50,95")
    assert outcome.status == 0, outcome.stderr
    return directory, outcome


@pytest.fixture(scope="module")
def allocated(scanned, forked):
    """The records of all allocations at one percentile, by allocation."""
    directory, scan = scanned
    table = f"threshold.sensitivity={table_of(scan)}"
    lines = ("threshold.allocation=uniform,erk,lamp,sensitivity", "compare=[magnitude]", "threshold.percentile=85")
    outcome = forked.run(directory, "-m", *BASE, *lines, table)
    assert outcome.status == 0, outcome.stderr
    found = [record["settings"]["threshold"] | {"record": record} for record in records(directory).values()]
    return {one["allocation"]: one["record"] for one in found if one["percentile"] == 85}


def test_the_table_has_a_row_for_every_tensor_and_percentile(scanned):
    rows = rows_of(*scanned)
    assert [(row["tensor"], float(row["percentile"])) for row in rows] == [
        (name, percentile) for name in SIZES for percentile in (50, 95)
    ]
    for row in rows:
        size, percentile = SIZES[row["tensor"]], float(row["percentile"])
        assert int(row["weights"]) == int(row["coefficients"]) == size
        assert int(row["kept"]) == size - int(size * percentile / 100 + 0.5)
        assert (row["model"], row["dataset"], row["method"], row["wavelet"]) == ("mlp", "digits", "wavelet", "haar")
        lost = float(row["baseline_accuracy"]) - float(row["accuracy"])
        assert float(row["accuracy_lost"]) == pytest.approx(lost)
        assert float(row["loss"]) > 0
    for half, most in zip(rows[::2], rows[1::2], strict=True):
        assert float(half["accuracy"]) > float(most["accuracy"])
        assert int(half["stored_bytes"]) > int(most["stored_bytes"])


def test_only_one_tensor_is_pruned_at_a_time(scanned, forked):
    # The same by a trial that prunes one tensor only; it stores the other weights as they are.
    directory, scan = scanned
    outcome = forked.run(
        directory, *BASE, "layers.include=[fc2*]", "threshold.percentile=95", "compare=[]", "quantize.other=float32"
    )
    assert outcome.status == 0, outcome.stderr
    (record,) = (r for r in records(directory).values() if r["settings"]["layers"]["include"] == ["fc2*"])
    (row,) = (r for r in rows_of(directory, scan) if (r["tensor"], r["percentile"]) == ("fc2.weight", "95.0"))
    assert float(row["accuracy"]) == record["arms"][0]["validation"]["accuracy"]
    assert float(row["loss"]) == pytest.approx(record["arms"][0]["validation"]["loss"], abs=1e-5)
    assert float(row["baseline_accuracy"]) == record["baseline"]["validation"]["accuracy"]


def test_the_summary_shows_accuracies_and_where_the_table_is(scanned):
    directory, outcome = scanned
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("baseline mlp on digits, seed 0: validation ")
    assert lines[1].split() == ["tensor", "coefficients", "50", "%", "95", "%"]
    shown = [line.split() for line in lines[2:5]]
    rows = rows_of(directory, outcome)
    for line, half, most in zip(shown, rows[::2], rows[1::2], strict=True):
        accuracies = [f"{100 * float(row['accuracy']):.2f}" for row in (half, most)]
        assert line == [half["tensor"], f"{int(half['coefficients']):,}", *accuracies]
    assert f"table: {table_of(outcome)}" in outcome.stdout
    assert Path(table_of(outcome)).parts[:2] == ("outputs", "sensitivity")


def test_the_same_scan_again_measures_nothing_and_says_the_same(scanned, forked):
    directory, first = scanned
    before = written(points_of(directory))
    assert len(before) == 6
    again = forked.run(directory, *SCAN, "threshold.percentile=50,95")
    assert written(points_of(directory)) == before
    assert again.stdout == first.stdout.replace("6 points: 0 of them", "6 points: 6 of them")


def test_a_scan_that_lost_a_point_measures_that_one_only(scanned, forked):
    directory, first = scanned
    before = rows_of(directory, first)
    lost, *others = points_of(directory)
    lost.unlink()
    kept = written(others)
    again = forked.run(directory, *SCAN, "threshold.percentile=50,95")
    assert "6 points: 5 of them measured before this run" in again.stdout
    assert lost.is_file()
    assert written(others) == kept
    assert rows_of(directory, again) == before


def test_a_finer_grid_measures_only_what_is_new_and_has_a_table_of_its_own(scanned, forked):
    directory, first = scanned
    finer = forked.run(directory, *SCAN, "threshold.percentile=50,80,95")
    assert "9 points: 6 of them measured before this run" in finer.stdout
    assert table_of(finer) != table_of(first)
    coarse = [row for row in rows_of(directory, finer) if row["percentile"] != "80.0"]
    assert coarse == rows_of(directory, first)


def test_all_allocations_keep_the_same_total_in_different_shares(allocated):
    layers = {name: [row["kept"] for row in record["arms"][0]["layers"]] for name, record in allocated.items()}
    total = sum(SIZES.values())
    expected = total - int(total * 0.85 + 0.5)
    for name, kept in layers.items():
        # With equal shares each tensor is rounded on its own.
        assert abs(sum(kept) - expected) <= (2 if name == "uniform" else 0)
    assert len({tuple(kept) for kept in layers.values()}) == 4


def test_what_is_compared_keeps_the_same_number_in_every_tensor(allocated):
    for record in allocated.values():
        main, control = ([row["kept"] for row in arm["layers"]] for arm in record["arms"])
        assert main == control


def test_the_record_says_how_the_percentile_was_shared_out(allocated):
    for name, record in allocated.items():
        assert record["arms"][0]["requested"].get("allocation", "uniform") == name


def test_a_table_counts_by_its_content_not_its_place(scanned, allocated, forked):
    directory, scan = scanned
    table = (directory / table_of(scan)).read_text()
    (directory / "copy.csv").write_text(table)
    lines = ("threshold.allocation=sensitivity", "compare=[magnitude]", "threshold.percentile=85")
    trials, baselines = written(results(directory)), list(directory.glob("outputs/baselines/*"))
    same = forked.run(directory, *BASE, *lines, "threshold.sensitivity=copy.csv")
    assert same.status == 0, same.stderr
    assert written(results(directory)) == trials
    (directory / "copy.csv").write_text(table.replace("fc1", "fcX").replace("fc2", "fc1").replace("fcX", "fc2"))
    assert forked.run(directory, *BASE, *lines, "threshold.sensitivity=copy.csv").status == 2
    (directory / "copy.csv").write_text("\n".join(table.splitlines()[:-1]) + "\n")
    assert forked.run(directory, *BASE, *lines, "threshold.sensitivity=copy.csv").status == 0
    assert len(results(directory)) == len(trials) + 1
    assert list(directory.glob("outputs/baselines/*")) == baselines


WRONG = {
    "missing file": (
        ["threshold.allocation=sensitivity", "threshold.sensitivity=nosuch.csv"],
        ["threshold.sensitivity=nosuch.csv", "cannot be read", "experiment=sensitivity"],
    ),
    "no table": (["threshold.allocation=sensitivity"], ["threshold.sensitivity=None", "experiment=sensitivity"]),
    "wrong columns": (
        ["threshold.allocation=sensitivity", "threshold.sensitivity=columns.csv"],
        ["threshold.sensitivity=columns.csv", "lacks model, dataset", "experiment=sensitivity"],
    ),
    "another model": (
        ["threshold.allocation=sensitivity", "threshold.sensitivity=table.csv", "model=lenet300"],
        ["threshold.sensitivity=table.csv", "must be of lenet300 on digits, is of mlp on digits"],
    ),
    "another size": (
        ["threshold.allocation=sensitivity", "threshold.sensitivity=table.csv", "model.arguments={hidden: [8]}"],
        ["threshold.sensitivity=table.csv", "fc1.weight has 16384 weights, not 512"],
    ),
    "missing tensor": (
        ["threshold.allocation=sensitivity", "threshold.sensitivity=short.csv"],
        ["threshold.sensitivity=short.csv", "lacks fc2.weight, fc3.weight"],
    ),
    "unknown allocation": (["threshold.allocation=fair"], ["threshold.allocation=fair", "uniform, erk, lamp"]),
    "another rule": (["threshold.allocation=erk", "threshold=energy"], ["threshold.allocation=erk", "percentile"]),
    "global scope": (["threshold.allocation=lamp", "threshold.scope=global"], ["threshold.allocation=lamp", "layer"]),
    "scan of another rule": (["-m", "experiment=sensitivity", "threshold=energy"], ["threshold.rule=energy"]),
    "scan of all tensors together": (
        ["-m", "experiment=sensitivity", "threshold.scope=global"],
        ["threshold.scope=global", "must be layer"],
    ),
    "scan of a tensor with a percentile": (
        ["-m", "experiment=sensitivity", "layers.overrides=[{match: 'fc1*', percentile: 99}]"],
        ["layers.overrides[match=fc1*].percentile=99", "leave it out"],
    ),
    "scan by workers": (
        ["-m", "experiment=sensitivity", "hydra/launcher=joblib"],
        ["hydra/launcher=JoblibLauncher", "no sensitivity scan"],
    ),
    "scan with retraining": (["-m", "experiment=sensitivity", "retrain=finetune"], ["retrain.name=finetune"]),
    "scan of an allocation": (
        ["-m", "experiment=sensitivity", "threshold.allocation=erk"],
        ["threshold.allocation=erk", "must be uniform"],
    ),
    "scan into several places": (
        ["-m", "experiment=sensitivity", "paths.outputs=one,two"],
        ["paths.outputs=several", "cannot be swept"],
    ),
}
CASES = WRONG | {f"{name}, sweep": (["-m", *a], e) for name, (a, e) in WRONG.items() if a[0] != "-m"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_trained(name, scanned, tmp_path, forked):
    directory, scan = scanned
    table = (directory / table_of(scan)).read_text()
    (tmp_path / "table.csv").write_text(table)
    (tmp_path / "short.csv").write_text("\n".join(table.splitlines()[:3]))
    (tmp_path / "columns.csv").write_text("tensor,weights,percentile,accuracy_lost\nfc1.weight,16384,50,0\n")
    arguments, expected = CASES[name]
    outcome = forked.run(tmp_path, *arguments)
    assert outcome.status == 2, outcome
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    assert all(text in outcome.error for text in expected), outcome.error
    assert not list(tmp_path.glob("**/baselines"))


def test_seeds_have_tables_of_their_own(tmp_path, forked):
    outcome = forked.run(tmp_path, *SCAN, "threshold.percentile=90", "seed=0,1", "layers.include=[fc3*]")
    assert outcome.status == 0, outcome.stderr
    tables = sorted(tmp_path.glob("outputs/sensitivity/*/table.csv"))
    assert len(tables) == 2
    assert {row.split(",")[2] for path in tables for row in path.read_text().splitlines()[1:]} == {"0", "1"}


def test_without_m_the_experiment_says_that_it_needs_it(tmp_path, forked):
    outcome = forked.run(tmp_path, "experiment=sensitivity", *BASE, "compare=[]")
    assert outcome.status == 0
    assert "add -m to run it" in outcome.stderr


@pytest.mark.parametrize(
    "quantizer", [["quantize=rdo", "quantize.images=64"], ["quantize.step=0.1", "quantize.max_drop=1"]]
)
def test_a_scan_takes_the_quantisers_that_ask_about_the_whole_network(tmp_path, forked, quantizer):
    outcome = forked.run(tmp_path, *SCAN, "threshold.percentile=50", *quantizer)
    assert outcome.status == 0, outcome.stderr
    for row in rows_of(tmp_path, outcome):
        assert float(row["accuracy_lost"]) < 0.5


def test_a_drop_that_no_step_reaches_is_a_failure_with_its_reason(tmp_path, forked):
    lines = ("threshold=none", "compare=[]", "quantize.step=1000", "quantize.max_drop=0")
    outcome = forked.run(tmp_path, *BASE, *lines)
    assert outcome.status == 1
    assert "quantize.max_drop=0 is not reached with" in outcome.stderr
    assert "lower quantize.step" in outcome.stderr
