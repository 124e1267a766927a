"""Two studies and their figures, on records that the tests invent."""

import json

import pandas as pd
import pytest
from records import example, write_record

from wavesweep.analysis.charts.paired import paired_in_trials
from wavesweep.analysis.statistics.evidence import evidence
from wavesweep.analysis.studies.catalogue.all import STUDIES
from wavesweep.analysis.studies.catalogue.deep_compression_densenet import SHARES, SIZES, counted_ratio
from wavesweep.analysis.studies.catalogue.wavelet_vs_magnitude import as_shown, deepest
from wavesweep.analysis.studies.records import rows_of

X = "threshold.percentile"
CLAMPED = {"method.name": "clamped_wavelet", "wavelet": "bior4.4", "level": 5}
REAL = CLAMPED | {"method.name": "wavelet"}
# Weights of DenseNet-BC-100-12 for 100 classes, among its parameters.
DENSENET_WEIGHTS, DENSENET_PARAMETERS = 775_944, 800_032


def write_study(outputs, name, records):
    keys = [write_record(outputs, record).parent.name for record in records]
    path = outputs / "sweeps" / "one" / "sweep.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"arguments": [], "experiments": {name: keys}, "keys": keys}))
    chosen = STUDIES[name]
    (one,) = evidence(chosen.compared(rows_of(chosen, outputs)), chosen.by, chosen.measures)
    return chosen, one


def trial(settings, accuracies, seed):
    """A record with an arm per method, of these test accuracies; arms that need no wavelet are shared."""
    record = example(settings | {"seed": seed, "compare": list(accuracies)[1:]})
    shared = f"{settings[X]} {seed}"
    template = record["arms"][0]
    record["arms"] = [
        template
        | {"method": method, "arm_key": f"{method} {record['key'] if 'wavelet' in method else shared}"}
        | {"test": template["test"] | {"accuracy": accuracy}}
        for method, accuracy in accuracies.items()
    ]
    record["baseline"]["key"] = f"seed{seed}"
    return record


@pytest.fixture(scope="module")
def wavelets(tmp_path_factory):
    """Three seeds in which the clamped form equals magnitude, and the real one is 5 or 6 points better."""
    records = []
    for percentile, magnitude in ((10.0, 0.9), (50.0, 0.6)):
        for seed in range(3):
            others = {"magnitude": magnitude + 0.01 * seed, "random": 0.1}
            real = magnitude + 0.01 * seed + 0.05 + 0.01 * (seed == 0)
            records.append(trial(REAL | {X: percentile}, {"wavelet": real, **others}, seed))
            records.append(trial(REAL | {X: percentile, "level": 1}, {"wavelet": 0.2, **others}, seed))
            records.append(trial(CLAMPED | {X: percentile}, {"clamped_wavelet": others["magnitude"], **others}, seed))
    return write_study(tmp_path_factory.mktemp("wavelets"), "wavelet_vs_magnitude", records)


def test_the_clamped_form_differs_from_magnitude_by_nothing_and_the_real_one_with_its_interval(wavelets):
    chosen, one = wavelets
    ours = chosen.ours(one)
    assert set(chosen.published) <= set(ours)
    for share in ("9.6 %", "47.8 %"):
        assert "(+0.00 [+0.00, +0.00])" in ours[f"bior4.4, level clamped, {share} of the network pruned"]
    # 6, 5 and 5 points: mean 5.33, half a width of 4.303 * 0.577 / sqrt(3).
    assert ours["bior4.4, 47.8 % of the network pruned"] == "66.33 ± 0.58 (+5.33 [+3.90, +6.77])"
    assert ours["magnitude, 47.8 % of the network pruned"] == "61.00 ± 1.00"
    lines = chosen.tables(one)[1].splitlines()
    assert "| bior4.4 | 50 | 3 | +5.33 | +3.90 to +6.77 |" in lines
    assert "| bior4.4, level clamped | 10 | 3 | +0.00 | +0.00 to +0.00 |" in lines
    assert all(chart(one).figure is not None for chart in chosen.charts)


def test_every_level_of_the_real_transform_has_its_differences_and_the_clamped_form_has_none(wavelets):
    chosen, one = wavelets
    *_, heading, rows = chosen.tables(one)
    assert "at each level" in heading
    # At level 1 all seeds have 20 %: less 90, 91 and 92, and less 60, 61 and 62.
    assert rows.splitlines()[2:] == [
        "| bior4.4 | 1 | -71.00 ± 2.48 | -41.00 ± 2.48 |",
        "| bior4.4 | 5 | +5.33 ± 1.43 | +5.33 ± 1.43 |",
    ]


def test_methods_without_a_wavelet_are_there_once_and_lower_levels_are_left_to_the_full_table(wavelets):
    chosen, one = wavelets
    assert len(one.table) == 10
    magnitude = one.table[one.table["method"] == "magnitude"]
    assert magnitude[["method.name", "wavelet", "level"]].drop_duplicates().to_numpy().tolist() == [["-", "-", "-"]]
    shown = chosen.shown(one.table)
    assert len(shown) == 8
    assert set(shown.loc[shown["method"] == "wavelet", "level"]) == {"5"}


def test_the_deepest_level_is_max():
    table = pd.DataFrame({"method": ["wavelet", "wavelet", "magnitude"], "level": ["5", "max", "-"]})
    assert deepest(table)["level"].tolist() == ["max", "-"]


def test_differences_are_those_in_the_same_trial():
    rows = pd.DataFrame({X: [50.0] * 3, "key": list("abc"), "seed": [0, 1, 2], "test_accuracy": [0.5, 0.6, 0.7]})
    # That of trial d keeps another number of weights.
    reference = pd.DataFrame({"key": ["c", "d", "b", "a"], "test_accuracy": [0.6, 0.1, 0.5, 0.5]})
    found = paired_in_trials(rows, reference, X)[50.0]
    assert found.n == 3
    assert found.mean == pytest.approx(20 / 3)
    assert found.low < 0 < found.high
    # Another quantiser of the same networks makes no more of them.
    again = pd.concat([rows, rows.assign(key=["d", "e", "f"], test_accuracy=[0.1, 0.2, 0.3])])
    others = pd.concat([reference, pd.DataFrame({"key": ["e", "f"], "test_accuracy": [0.0, 0.0]})])
    found = paired_in_trials(again, others, X)[50.0]
    assert found.n == 3
    assert found.mean == pytest.approx((0 + (10 + 20) / 2 + (10 + 30) / 2) / 3)


def test_the_published_sizes_of_densenet_follow_from_its_count():
    published = STUDIES["deep_compression_densenet"].published
    for (_, bits), share in SIZES.items():
        assert f"{counted_ratio(share, bits):.2f}" == published[f"{share:g} % and {bits} bits: times smaller"]


def test_the_published_shares_are_round_percentiles_of_94_percent_of_the_network():
    for percentile, share in SHARES.items():
        assert 0.9405 * percentile == pytest.approx(float(share), abs=0.06)
    assert pytest.approx(0.970, abs=0.0005) == DENSENET_WEIGHTS / DENSENET_PARAMETERS


def test_files_of_densenet_stand_beside_the_count(tmp_path):
    records = []
    for retrain, percentile, bits in (("none", 50.0, None), ("iterative", 90.0, None), ("iterative", 50.0, 8)):
        quantizer = "none" if bits is None else "kmeans"
        record = example(
            {"method.name": "magnitude", "compare": [], "retrain.name": retrain, X: percentile}
            | {"quantize.name": quantizer, "quantize.bits": bits or 8}
        )
        arm = record["arms"][0] | {"method": "magnitude", "arm_key": record["key"], "compression_ratio": 5.5}
        arm |= {"total_coefficients": 900, "nonzero_coefficients": 430}
        arm["test"] = arm["test"] | {"accuracy": 0.5}
        record["arms"] = [arm]
        record["baseline"]["parameters"] = 1000
        records.append(record)
    chosen, one = write_study(tmp_path, "deep_compression_densenet", records)
    ours = chosen.ours(one)
    assert ours["direct, 47.0 % of the network pruned: test accuracy, %"] == "50.00"
    assert ours["iterative, 84.7 % of the network pruned: test accuracy, %"] == "50.00"
    assert ours["47 % and 8 bits: times smaller"] == "7.55 by that count, 5.50 as a file"
    assert set(ours) <= set(chosen.published)
    assert chosen.charts[0](one).figure is not None


def test_lines_of_what_was_not_retrained_look_alike_in_every_panel(tmp_path):
    settings = [("haar", "none"), ("haar", "iterative"), ("db2", "none")]
    records = [
        trial({"wavelet": wavelet, "level": 1, "retrain.name": name, X: percentile}, {"wavelet": 0.5}, 0)
        for wavelet, name in settings
        for percentile in (50.0, 80.0)
    ]
    chosen, found = write_study(tmp_path, "charter", records)
    panels = chosen.charts[0](found).figure.axes
    filled = [
        {line.get_label(): line.get_markerfacecolor() != "white" for line in axes.lines if "level" in line.get_label()}
        for axes in panels
    ]
    # db2, then haar.
    assert filled == [{"level 1, before": False}, {"level 1, before": False, "level 1, after": True}]


def test_arms_of_a_wavelet_with_more_coefficients_than_weights_are_left_to_the_full_table():
    table = pd.DataFrame(
        {
            "method": ["wavelet", "magnitude", "magnitude", "magnitude"],
            "wavelet": ["haar", "(haar)", "(bior2.2)", "(bior2.2)"],
            "level": ["5", "(1)", "(4)", "(5)"],
            "method.name": ["wavelet", "(wavelet)", "(wavelet)", "(wavelet)"],
            X: [50.0, 50.0, 50.0, 90.0],
            "weight_sparsity_mean": [0.1, 0.499, 0.5, 0.9],
        }
    )
    shown = as_shown(table)
    assert shown.index.tolist() == [0, 2, 3]
    assert shown[["wavelet", "level", "method.name"]].to_numpy().tolist() == [
        ["haar", "5", "wavelet"],
        ["-"] * 3,
        ["-"] * 3,
    ]
