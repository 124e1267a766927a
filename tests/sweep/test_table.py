"""The table of a sweep: what varies, what failed, what is equal to another row."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavesweep.cli.tables import show_trials
from wavesweep.settings.schema import PathsSettings, SearchSettings, Settings
from wavesweep.sweep.table import rows_as_csv, table_rows


def arm(method="wavelet", key="a", levels=((2, 3), (1, 2)), accuracy=0.5, kept=1200):
    return {
        "method": method,
        "arm_key": key,
        "kept_coefficients": kept,
        "coefficient_sparsity": 0.8,
        "validation": {"accuracy": accuracy},
        "test": {"accuracy": accuracy - 0.01},
        "stored_bytes": 4321,
        "requested": {},
        "layers": [{"levels": None if axes is None else list(axes)} for axes in levels],
    }


def control(method, accuracy):
    return arm(method, key=method, levels=(None, None), accuracy=accuracy)


def record(*arms, key="k", seed=0, notes=()):
    accuracies = {"validation": {"accuracy": 0.95}, "test": {"accuracy": 0.94}}
    return {
        "key": key,
        "baseline": {"key": f"baseline of seed {seed}", "parameters": 12_345, **accuracies},
        "settings": {"model": {"name": "mlp"}, "dataset": {"name": "digits"}, "seed": seed},
        "arms": list(arms) or [arm()],
        "notes": list(notes),
    }


def test_a_row_has_the_measures_of_the_main_arm_and_the_tests_of_its_controls():
    (row,) = table_rows([({"wavelet": "haar"}, record(arm(), control("magnitude", 0.6), control("dct", 0.7)))])
    assert row == {
        "#": "1",
        "method": "wavelet",
        "effective level": "1-3",
        "kept": "1,200",
        "sparsity %": "80.00",
        "validation %": "50.00",
        "test %": "49.00",
        "bytes": "4,321",
        "magnitude test %": "59.00",
        "dct test %": "69.00",
    }


def test_points_lost_have_columns_where_an_interval_is_known():
    known = arm(key="b", accuracy=0.943)
    known["drop"] = {"validation": {"low": -0.84, "high": 2.16}, "test": {"low": -0.1, "high": 1.46}}
    first, second = table_rows([({"level": "1"}, record(arm(key="a"))), ({"level": "2"}, record(known))])
    assert list(first) == list(second)
    names = ("points lost (95 %)", "test points lost (95 %)")
    assert [first[name] for name in names] == ["45.00", "45.00"]
    assert [second[name] for name in names] == ["0.70 (-0.8 to 2.2)", "0.70 (-0.1 to 1.5)"]


def test_what_is_not_coded_has_a_column_where_it_is_more_than_a_tenth_of_a_file():
    few, much = ({**record(arm(key=str(share))), "not_coded": {"share": share}} for share in (0.1, 0.1234))
    assert all("not coded %" not in row for row in table_rows([({}, few), ({}, record(arm(key="old")))]))
    rows = table_rows([({"level": "1"}, few), ({"level": "2"}, much)])
    assert [row["not coded %"] for row in rows] == ["10.00", "12.34"]


def test_only_what_varies_is_a_column_and_it_comes_first():
    swept = [{"wavelet": "haar", "level": str(level), "model": "mlp"} for level in (1, 3)]
    rows = table_rows([(swept[0], record(arm(key="a"))), (swept[1], record(arm(key="b")))])
    assert [list(row)[:3] for row in rows] == [["#", "level", "method"]] * 2
    assert [row["level"] for row in rows] == ["1", "3"]


def test_a_key_that_only_some_trials_have_varies():
    rows = table_rows([({"level": "1"}, record(arm(key="a"))), ({}, record(arm(key="b")))])
    assert [row["level"] for row in rows] == ["1", ""]


def test_equal_arms_name_the_first_row_that_has_them():
    keys = ["a", "b", "a", "a", "b"]
    rows = table_rows([({"level": str(n)}, record(arm(key=key))) for n, key in enumerate(keys)])
    assert [row.get("note") for row in rows] == [None, None, "= #1", "= #1", "= #2"]


def test_a_failed_trial_is_a_row_with_its_reason():
    rows = table_rows(
        [
            ({"wavelet": "haar"}, record(arm(key="a"))),
            ({"wavelet": "db38"}, {"failed": "transforms nothing"}),
            ({"wavelet": "db1"}, record(arm(key="a"))),
        ]
    )
    assert rows[1] == {"#": "2", "wavelet": "db38", "note": "failed: transforms nothing"}
    assert rows[2]["note"] == "= #1"


def test_trials_that_all_failed_are_a_table_too():
    rows = table_rows([({}, {"failed": "one"}), ({}, {"failed": "two"})])
    assert rows == [{"#": "1", "note": "failed: one"}, {"#": "2", "note": "failed: two"}]


def test_a_control_that_only_some_trials_have_is_empty_for_the_others():
    rows = table_rows([({}, record(arm(key="a"), control("dct", 0.7))), ({}, record(arm(key="b")))])
    assert [row["dct test %"] for row in rows] == ["69.00", ""]


def test_levels_are_one_number_a_range_or_nothing():
    levels = {
        "3": ((3, 3), (3,)),
        "0-3": ((0, 3), (1, 2)),
        "1-2": ((1,), (2,)),
        "-": (None, None),
        "2": (None, (2, 2), ()),
    }
    for text, axes in levels.items():
        (row,) = table_rows([({}, record(arm(levels=axes)))])
        assert row["effective level"] == text


def test_every_row_has_the_same_columns_in_the_same_order_where_trials_succeed():
    names = ("magnitude", "random")
    entries = [
        ({"seed": str(n)}, record(arm(key=str(n)), *(control(name, 0.1) for name in names[: n % 3]))) for n in range(6)
    ]
    assert len({tuple(row) for row in table_rows(entries)}) == 1


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["#", "level", "note", "test %"]), st.text(), min_size=1),
        min_size=1,
        max_size=6,
    )
)
def test_csv_gives_back_every_row(rows):
    rows = [{name: value.replace("\r", " ").replace("\0", "") for name, value in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = list(csv.DictReader(io.StringIO(rows_as_csv(rows), newline="")))
    assert found == [{name: row.get(name, "") for name in names} for row in rows]


def printed(entries, capsys):
    show_trials(entries, Settings(paths=PathsSettings(outputs="somewhere")))
    return capsys.readouterr().out


def test_settings_without_effect_in_any_trial_are_named_once(capsys):
    both, one, other = "a.b: 1 has no effect; it needs c=2", "d: 3 has no effect; it needs e", "fc1: not transformed"
    entries = [
        ({"level": "1"}, record(arm(key="a")) | {"notes": [both, one, other]}),
        ({"level": "2"}, record(arm(key="b")) | {"notes": [other, both]}),
        ({"level": "3"}, {"failed": "training diverged"}),
    ]
    assert [line for line in printed(entries, capsys).splitlines() if line.startswith("note")] == [f"note: {both}"]
    show_trials(entries[:2], Settings(search=SearchSettings(n_trials=5)))
    assert "note: search.n_trials: 5 has no effect; it needs search=pareto\n" in capsys.readouterr().out


def test_the_printed_table_begins_with_the_baselines_and_ends_with_the_notes_column(capsys):
    entries = [({"seed": str(seed)}, record(arm(key=str(seed)), seed=seed)) for seed in (0, 1)]
    lines = printed([*entries, ({"seed": "2"}, {"failed": "training diverged"})], capsys).splitlines()
    for seed in (0, 1):
        start = f"baseline mlp on digits, seed {seed}: validation 95.00 %, test 94.00 %, 12,345 parameters"
        assert lines[seed] == start
    assert lines[2].split()[:2] == ["#", "seed"]
    assert lines[2].rstrip().endswith("note")
    assert "49.00" in lines[3]
    assert "failed: training diverged" in lines[5]


def test_notes_on_data_and_checkpoints_are_shown_for_several_trials_too(capsys):
    own = [f"model.checkpoint: stripped the prefix {name}. from 4 names" for name in ("module", "net")]
    shared, other = "dataset: validation is 10 % of the training images", "fc1: not transformed"
    entries = [
        ({"model.checkpoint": str(number)}, record(arm(key=str(number)), notes=[own[number], shared, other]))
        for number in (0, 1)
    ]
    lines = [line for line in printed(entries, capsys).splitlines() if line.startswith("note")]
    assert lines == [f"note: {text}" for text in (own[0], shared, own[1])]


@pytest.mark.parametrize("text", ["[magnitude]", "[red]", "[/]", "\\[unit]"])
def test_brackets_in_values_and_reasons_are_shown(capsys, text):
    entries = [({"compare": text}, record(arm(key="a"))), ({"compare": "[]"}, {"failed": f"shape {text} is wrong"})]
    lines = printed(entries, capsys).splitlines()
    assert text in lines[2]
    assert f"failed: shape {text} is wrong" in lines[3]


def test_a_single_trial_prints_its_notes_and_where_its_record_is(capsys):
    note = "fc1.weight: level 3 was asked for, its axes allow [1, 3]"
    lines = printed([({}, record(key="0123456789abcdef", notes=[note]))], capsys).splitlines()
    assert f"note: {note}" in lines
    assert lines[-1] == "record: somewhere/runs/0123456789abcdef/result.json"


def test_a_long_table_is_not_cut_in_a_log(capsys):
    names = ("magnitude", "random", "unit", "dct", "rotation", "shuffled")
    swept = {"wavelet": "bior2.2", "threshold.percentile": "99.9", "model.recipe.learning_rate": "0.001"}
    other = {name: f"{value}1" for name, value in swept.items()}
    entries = [(swept, record(arm(), *(control(name, 0.3) for name in names))), (other, {"failed": "x" * 100})]
    out = printed(entries, capsys)
    assert "…" not in out
    for text in (*swept.values(), *other.values(), *(f"{name} test %" for name in names)):
        assert text in " ".join(out.split())
