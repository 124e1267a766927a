"""Methods at equal stored bytes: on lines whose distance is known."""

import math

import numpy as np
import pytest
from records import example, write_record
from scipy import stats

from wavesweep.analysis.statistics.equal_bytes import (
    at_sizes,
    differences_at_sizes,
    differences_over_sizes,
    reached,
    sizes_compared,
    wavelets_as_methods,
)
from wavesweep.analysis.statistics.evidence import evidence
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.analysis.studies.catalogue.all import STUDIES
from wavesweep.analysis.table.collect import collect

SEEDS = (0, 1, 2, 3)
# By how much accuracy lies above the common line: the wavelet's differs by seed, so that it has a spread.
ABOVE = {"wavelet": (0.020, 0.022, 0.024, 0.026), "magnitude": (0.0,) * 4, "dct": (0.01,) * 4}
# Sizes are those of the wavelet times a factor. The largest file of `dct` is smaller than the largest that is compared.
FACTORS = {"wavelet": (1.0, 1.0, 1.0), "magnitude": (0.5, 1.5, 1.5), "dct": (0.5, 0.4, 0.25)}
SIZES = (1000, 4000, 16000)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    for retraining, shift in (("none", 0.0), ("rate", 0.05)):
        for method, above in ABOVE.items():
            for seed in SEEDS:
                for number, size in enumerate(SIZES):
                    settings = {
                        "seed": seed, "method.name": method, "compare": [], "retrain.name": retraining,
                        "threshold.percentile": 10.0 * number,
                    }  # fmt: skip
                    record = example(settings)
                    arm = record["arms"][0] | {"method": method, "arm_key": record["key"]}
                    arm["stored_bytes"] = round(size * FACTORS[method][number])
                    accuracy = 0.05 * math.log(arm["stored_bytes"]) + 0.001 * seed**2 + above[seed] + shift
                    arm["validation"] = arm["validation"] | {"accuracy": accuracy}
                    arm["test"] = arm["test"] | {"accuracy": accuracy}
                    record["arms"] = [arm]
                    write_record(outputs, record)
    study = STUDIES["do_wavelets_help"]
    (one,) = evidence(collect(outputs).trials, study.by, study.measures)
    return one


def test_sizes_lie_between_those_of_the_wavelet(found):
    assert sizes_compared(found.workload, "none") == [2000, 8000]
    assert sizes_compared(found.workload, "gradual") == []


def test_what_is_reached_is_interpolated_seed_by_seed(found):
    table = reached(found.workload).set_index(["retraining", "stored_bytes", "method"])
    expected = [0.05 * math.log(2000) + 0.001 * seed**2 + ABOVE["wavelet"][seed] for seed in SEEDS]
    row = table.loc[("none", 2000, "wavelet")]
    assert (row["mean"], row["std"]) == pytest.approx((np.mean(expected), np.std(expected, ddof=1)))
    assert table.loc[("none", 8000, "dct"), "seeds"] == 0
    assert set(table["seeds"]) == {0, 4}


def test_differences_are_paired_by_seed(found):
    table = differences_at_sizes(found.workload).set_index(["retraining", "stored_bytes", "method"])
    assert len(table) == 2 * 2 * 2
    expected = np.array(ABOVE["wavelet"])
    for size in (2000, 8000):
        row = table.loc[("rate", size, "magnitude")]
        assert (row["n"], row["mean"]) == (4, pytest.approx(expected.mean()))
        assert (row["low"], row["high"]) == pytest.approx(tuple(stats.ttest_1samp(expected, 0).confidence_interval()))
    assert table.loc[("rate", 8000, "dct"), "n"] == 0
    # Three tests in each family: the fourth could not be made.
    p = stats.ttest_1samp(expected, 0).pvalue
    assert table.loc[("none", 2000, "magnitude"), "adjusted_p"] == pytest.approx(3 * p)


def test_differences_over_sizes_leave_out_what_one_does_not_reach(found):
    table = differences_over_sizes(found.workload).set_index(["retraining", "method"])
    assert table.loc[("none", "magnitude"), "stored_bytes"] == 2
    assert table.loc[("none", "dct"), "stored_bytes"] == 1
    assert table.loc[("none", "dct"), "mean"] == pytest.approx(0.013)


def test_a_larger_file_that_is_no_better_leaves_the_curve_level(found):
    rows = found.workload.rows
    rows = rows[(rows["retrain.name"] == "none") & (rows["method"] == "magnitude")].copy()
    largest = rows["stored_bytes"] == rows["stored_bytes"].max()
    rows.loc[largest, ["validation_accuracy", "test_accuracy"]] = 0.1
    at = at_sizes(rows, "magnitude", [6000, 20000, 24000, 25000])
    assert at[20000].tolist() == at[24000].tolist() == at[6000].tolist()
    assert at[25000].isna().all()


def test_a_seed_that_one_method_lacks_makes_no_pairs(found):
    rows = found.workload.rows
    fewer = Workload("", "", rows[(rows["method"] != "magnitude") | (rows["seed"] != 3)])
    table = differences_over_sizes(fewer).set_index(["retraining", "method"])
    assert table.loc[("none", "magnitude"), ["stored_bytes", "n"]].tolist() == [2, 3]


def test_without_the_wavelet_there_is_nothing_to_compare(found):
    rows = found.workload.rows
    alone = Workload("", "", rows[rows["method"] == "dct"])
    study = STUDIES["do_wavelets_help"]
    one = evidence(alone.rows, study.by, study.measures)[0]
    assert differences_at_sizes(alone).empty
    assert len(study.tables(one)) == 6
    assert [chart(one).figure is None for chart in study.charts] == [False, True]


def test_the_page_has_the_tables_and_the_charts(found):
    study = STUDIES["do_wavelets_help"]
    text = "\n".join(study.tables(found))
    assert "| one shot | magnitude | 2 | 4 | +2.30 | +1.89 to +2.71 |" in text
    assert "| bits in the loss | dct | 8,000 | 0 | - | - | - | - | - |" in text
    assert all(chart(found).figure is not None for chart in study.charts)


def test_wavelets_other_than_haar_are_methods_of_their_own(tmp_path):
    for method, wavelet in (("wavelet", "haar"), ("wavelet", "db3"), ("shuffled", "db3"), ("dct", "db3")):
        record = example({"method.name": method, "wavelet": wavelet, "compare": []})
        record["arms"] = [record["arms"][0] | {"method": method, "arm_key": record["key"]}]
        write_record(tmp_path, record)
    found = wavelets_as_methods(collect(tmp_path).trials)
    assert set(zip(found["method"], found["wavelet"], strict=True)) == {
        ("wavelet", "haar"), ("db3", "db3"), ("shuffled", "db3"), ("dct", "db3"),
    }  # fmt: skip


def test_what_stands_in_for_others_is_last(tmp_path):
    for seed, name in enumerate(("digits", "digits", "mnist")):
        write_record(tmp_path, example({"dataset.name": name, "seed": seed}))
    found = evidence(collect(tmp_path).trials, ("method",), ("test_accuracy",))
    assert [one.workload.dataset for one in found] == ["mnist", "digits"]
