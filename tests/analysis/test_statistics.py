"""Bands, paired comparisons and importance, against scipy and sums by hand."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import example, write_record, write_records
from scipy import stats

from wavesweep.analysis.statistics.equal_bytes import compare_fronts
from wavesweep.analysis.statistics.importance import setting_importance
from wavesweep.analysis.statistics.pairs import compare_arms, holm, paired
from wavesweep.analysis.statistics.seeds import seed_bands
from wavesweep.analysis.table.collect import collect


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    write_records(outputs, 120, seeds=3, settings={"level": 2, "compare_match": "bytes"})
    return collect(outputs).trials


def test_a_band_is_over_the_seeds_of_equal_settings(trials):
    bands = seed_bands(trials, ["test_accuracy", "stored_bytes"])
    assert len(bands) == 40 * 3
    assert set(bands["seeds"]) == {3}
    band = bands.iloc[7]
    same = ["method", "wavelet", "threshold.percentile", "layout"]
    rows = trials[(trials[same] == band[same]).all(axis=1)]
    numbers = rows["test_accuracy"].tolist()
    assert len(numbers) == 3
    assert band["test_accuracy_mean"] == pytest.approx(statistics.mean(numbers))
    assert band["test_accuracy_std"] == pytest.approx(statistics.stdev(numbers))
    assert (band["stored_bytes_min"], band["stored_bytes_max"]) == (
        rows["stored_bytes"].min(),
        rows["stored_bytes"].max(),
    )


def test_missing_settings_are_equal_and_unknown_ones_part(tmp_path):
    for seed in (0, 1):
        write_record(tmp_path, example({"seed": seed}))
        record = example({"seed": seed})
        record["settings"]["novel"], record["key"] = 1, f"{seed}" * 16
        write_record(tmp_path, record)
    bands = seed_bands(collect(tmp_path).trials)
    assert bands["seeds"].tolist() == [2] * 6
    one = seed_bands(collect(tmp_path).trials.query("seed == 0"))
    assert one["test_accuracy_std"].isna().all()
    empty = seed_bands(collect(tmp_path).trials.head(0))
    assert list(empty.columns) == list(bands.columns)


def test_a_seed_that_is_there_twice_counts_once(trials):
    twice = pd.concat([trials, trials])
    pd.testing.assert_frame_equal(seed_bands(twice), seed_bands(trials))


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(-50, 50).map(lambda n: n / 8), min_size=2, max_size=30))
def test_the_interval_and_the_test_are_scipys(differences):
    found = paired(differences)
    assert found.n == len(differences)
    assert found.mean == pytest.approx(np.mean(differences))
    if len(set(differences)) > 1:
        low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.t_test_p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    else:
        assert found.low == found.high == pytest.approx(differences[0])
        assert found.t_test_p is None
    assert found.p == (stats.wilcoxon(differences).pvalue if any(differences) else 1.0)


def test_fewer_than_two_pairs_have_no_interval():
    one, none = paired([0.5]), paired([])
    assert (one.n, one.mean, one.low, one.high, one.p) == (1, 0.5, None, None, None)
    assert (none.n, none.low, none.high, none.p) == (0, None, None, None)
    assert math.isnan(none.mean)
    with pytest.raises(ValueError, match="finite"):
        paired([0.1, math.nan])


def test_arms_of_a_trial_are_pairs_if_their_sizes_are_equal(trials):
    found = compare_arms(trials, "wavelet", "random")
    wide = trials.pivot(index="key", columns="method", values="test_accuracy")
    differences = wide["wavelet"] - wide["random"]
    assert (found.n, found.seeds, found.left_out) == (120, 3, 0)
    assert found.mean == pytest.approx(differences.mean())
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    opposite = compare_arms(trials, "random", "wavelet")
    assert (opposite.mean, opposite.p) == (pytest.approx(-found.mean), pytest.approx(found.p))


def test_pairs_of_a_seed_may_be_averaged_first(trials):
    found = compare_arms(trials, "wavelet", "random", unit="seed")
    wide = trials.pivot(index=["seed", "key"], columns="method", values="test_accuracy")
    differences = (wide["wavelet"] - wide["random"]).groupby("seed").mean()
    assert (found.n, found.seeds) == (3, 3)
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(differences, 0).confidence_interval()))
    with pytest.raises(ValueError, match="unit"):
        compare_arms(trials, "wavelet", "random", unit="epoch")


def test_pairs_of_other_sizes_and_the_same_arms_again_do_not_count(tmp_path):
    for number, factor in enumerate((1.0, 1.01, 1.5)):
        record = example({"seed": number, "compare_match": "bytes"})
        for arm in record["arms"]:
            arm["arm_key"] = f"{number}{arm['method']}"
        record["arms"][0]["stored_bytes"] = 10_000
        record["arms"][1]["stored_bytes"] = round(10_000 * factor)
        write_record(tmp_path, record)
        record["settings"]["wavelet"], record["key"] = "db1", f"copy{number}"  # the same arms in another trial
        write_record(tmp_path, record)
    write_record(tmp_path, example({"seed": 9, "compare_match": "coefficients"}))
    found = compare_arms(collect(tmp_path).trials, "wavelet", "magnitude")
    assert (found.n, found.left_out) == (2, 1)


def test_fronts_are_compared_by_seed_where_both_reach(tmp_path):
    # Straight lines over the logarithm of the bytes, so that interpolation is exact: 0.1 apart everywhere.
    for seed in (0, 1, 2):
        for size in (1000, 2000, 8000):
            record = example({"seed": seed, "threshold.percentile": size / 100})
            for arm, offset in zip(record["arms"], (0.1, 0.0, 0.0), strict=True):
                arm["stored_bytes"] = size if arm["method"] != "magnitude" else round(size * 1.5)
                accuracy = 0.05 * math.log(arm["stored_bytes"]) + offset + 0.01 * seed
                arm["validation"]["accuracy"] = arm["test"]["accuracy"] = accuracy
            write_record(tmp_path, record)
    rows = collect(tmp_path).trials
    found = compare_fronts(rows, "wavelet", "magnitude", [1200, 1500, 3000, 8000, 9000])
    assert found["n"].tolist() == [0, 3, 3, 3, 0]
    assert found["mean"].tolist()[1:4] == pytest.approx([0.1] * 3)
    assert found["low"].isna().tolist() == [True, False, False, False, True]
    mixed = rows.assign(**{"model.name": ["a", "b"] * (len(rows) // 2) + ["a"] * (len(rows) % 2)})
    with pytest.raises(ValueError, match=r"model\.name"):
        compare_fronts(mixed, "wavelet", "magnitude", [3000])
    assert compare_fronts(rows, "wavelet", "dct", [3000])["n"].tolist() == [0]
    assert compare_fronts(rows.head(0), "wavelet", "dct", [3000])["n"].tolist() == [0]


def test_holms_adjustment_is_that_of_its_definition():
    # Sorted 0.01, 0.02, 0.03, 0.4 times 4, 3, 2, 1, none below the one before it.
    assert holm([0.02, 0.4, 0.01, 0.03]) == pytest.approx([0.06, 0.4, 0.04, 0.06])
    assert holm([0.5, math.nan, 0.9]) == pytest.approx([1.0, math.nan, 1.0], nan_ok=True)
    assert holm([]) == []


@pytest.mark.integration
def test_importance_finds_what_decides_and_is_repeatable(trials):
    rows = trials[trials["is_main"]].head(60)
    first = setting_importance(rows)
    assert first.index[0] == "threshold.percentile"
    assert first.sum() == pytest.approx(1.0)
    assert set(first.index) == {"threshold.percentile", "wavelet", "seed"}
    pd.testing.assert_series_equal(first, setting_importance(rows))


def test_importance_of_settings_in_step_with_missing_values_or_without_effect(tmp_path):
    for number in range(12):
        step = None if number % 2 else 0.5
        record = example(
            {"seed": number % 3, "quantize.step": step, "quantize.other": ("float16", "float32")[number % 2]}
        )
        record["arms"][0]["validation"]["accuracy"] = 0.9 if step else 0.5
        record["key"] = f"k{number}"
        write_record(tmp_path, record)
    rows = collect(tmp_path).trials
    found = setting_importance(rows)
    assert set(found.index) == {"quantize.step", "seed"}  # quantize.other goes with the step
    assert found["quantize.step"] > 0.95
    assert (setting_importance(rows, "dense_bytes") == 0).all()
    assert setting_importance(rows.head(3)).empty


@pytest.mark.parametrize("right", [9_801, 123, 5_000])
def test_equal_differences_of_rounded_accuracies_have_no_p(right):
    # 61 of 10,000 images more, each time: equal except for the last bits.
    differences = [(right + offset + 61) / 10_000 - (right + offset) / 10_000 for offset in (0, 7, 113)]
    found = paired(differences)
    assert found.t_test_p is None
    assert found.low == found.mean == found.high == pytest.approx(0.0061)
