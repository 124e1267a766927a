"""The table of a sensitivity scan: what is read from it, and what is refused with which words."""

import pytest

from wavesweep.errors import SettingsError
from wavesweep.pruning.plan import TensorPlan
from wavesweep.pruning.sensitivity import COLUMNS, check_workload, curves_for, read_table, table_csv
from wavesweep.settings.schema import DatasetSettings, ModelSettings, Settings

ROW = dict.fromkeys(COLUMNS, "") | {"model": "mlp", "dataset": "digits"}
ROWS = [
    ROW | {"tensor": "fc1.weight", "weights": 6, "percentile": 90.0, "accuracy_lost": 0.25},
    ROW | {"tensor": "fc1.weight", "weights": 6, "percentile": 50.0, "accuracy_lost": -0.01},
    ROW | {"tensor": "fc2.weight", "weights": 8, "percentile": 50.0, "accuracy_lost": 0.5},
]
AGAIN = "python -m wavesweep -m experiment=sensitivity"


def plan(name, shape, percentile=None):
    return TensorPlan(name, shape, True, "", percentile=percentile)


PLANS = (plan("fc2.weight", (2, 4)), plan("fc1.weight", (2, 3)))


@pytest.fixture
def written(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def refusal(action):
    with pytest.raises(SettingsError) as raised:
        action()
    error = raised.value
    assert "\n" not in str(error)
    assert error.key == "threshold.sensitivity"
    assert AGAIN in str(error)
    return str(error)


def test_what_a_scan_writes_is_what_an_allocation_reads(written):
    table = read_table(written(table_csv(ROWS)))
    assert table.workloads == {("mlp", "digits")}
    assert table.weights == {"fc1.weight": 6, "fc2.weight": 8}
    assert curves_for(table, PLANS) == (((50.0, 0.5),), ((50.0, -0.01), (90.0, 0.25)))


def test_a_table_needs_no_more_than_the_columns_that_are_used(written):
    content = "tensor,weights,percentile,accuracy_lost,model,dataset\nfc1.weight,6,50,0.1,mlp,digits\n"
    assert read_table(written(content)).curves == {"fc1.weight": ((50.0, 0.1),)}


def test_the_digest_is_that_of_the_content_wherever_it_lies(written):
    content = table_csv(ROWS)
    digests = [read_table(written(content, name)).digest for name in ("one.csv", "two.csv")]
    assert digests[0] == digests[1] != read_table(written(table_csv(ROWS[:2]))).digest


def test_a_missing_file_is_named_with_what_makes_one(tmp_path):
    path = tmp_path / "nosuch.csv"
    text = refusal(lambda: read_table(str(path)))
    assert text.startswith(f"threshold.sensitivity={path}: cannot be read (No such file or directory); {AGAIN}")
    assert "cannot be read" in refusal(lambda: read_table(str(tmp_path)))


def with_values(**values):
    return table_csv([ROWS[0], ROWS[1] | values])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "must have the columns"),
        ("\n\n", "must have the columns"),
        ("model,dataset,tensor,percentile\n", "lacks weights, accuracy_lost"),
        (",".join(COLUMNS) + "\n", "must have rows, has none"),
        (b"\x80\x81,\xff\n", "must be a CSV table"),
        (table_csv(ROWS) + b'"fc1', "must be a CSV table"),
        (table_csv(ROWS) + b"mlp,digits\n", "must have numbers in line 5"),
        (with_values(percentile="most"), "must have numbers in line 3"),
        (with_values(weights="6.5"), "must have numbers in line 3"),
        (with_values(accuracy_lost=""), "must have numbers in line 3"),
        (with_values(percentile=100.5), "percentiles from 0 to 100 and accuracy_lost from -1 to 1; see line 3"),
        (with_values(percentile="nan"), "percentiles from 0 to 100"),
        (with_values(accuracy_lost=25), "accuracy_lost from -1 to 1; see line 3"),
        (with_values(accuracy_lost="inf"), "accuracy_lost from -1 to 1"),
        (with_values(weights=7), "must give fc1.weight one number of weights; see line 3"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused_with_the_reason(written, content, expected):
    path = written(content)
    text = refusal(lambda: read_table(path))
    assert text.startswith(f"threshold.sensitivity={path}: ")
    assert expected in text


def test_a_tensor_that_the_table_lacks_is_named(written):
    table = read_table(written(table_csv(ROWS)))
    text = refusal(lambda: curves_for(table, [*PLANS, plan("fc3.weight", (3, 3)), plan("fc4.weight", (3, 3))]))
    assert "must have rows for every tensor; lacks fc3.weight, fc4.weight" in text
    assert "layers.overrides" in text


def test_a_tensor_with_a_percentile_of_its_own_needs_no_rows(written):
    table = read_table(written(table_csv(ROWS)))
    own = (plan("fc3.weight", (3, 3), percentile=50.0), plan("fc1.weight", (9, 9), percentile=50.0))
    assert curves_for(table, [*own, PLANS[0]]) == ((), (), ((50.0, 0.5),))


def test_a_tensor_of_another_size_is_another_network(written):
    table = read_table(written(table_csv(ROWS)))
    text = refusal(lambda: curves_for(table, [plan("fc1.weight", (2, 4))]))
    assert "its fc1.weight has 6 weights, not 8" in text


def test_the_table_of_another_model_or_data_set_is_refused(written):
    table = read_table(written(table_csv(ROWS)))
    settings = Settings()
    check_workload(table, settings)
    for other in (Settings(model=ModelSettings("lenet5")), Settings(dataset=DatasetSettings("mnist"))):
        text = refusal(lambda other=other: check_workload(table, other))
        assert f"must be of {other.model.name} on {other.dataset.name}, is of mlp on digits" in text
