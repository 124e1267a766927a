"""Workloads: what makes one, its networks before pruning, and which of its settings matter."""

import pandas as pd
import pytest
from records import example, write_record

from wavesweep.analysis.charts.lines import looks_of
from wavesweep.analysis.charts.sizes import bars
from wavesweep.analysis.charts.style import LOOKS
from wavesweep.analysis.statistics.descriptions import matters
from wavesweep.analysis.statistics.seeds import networks_before
from wavesweep.analysis.statistics.workloads import Workload, workloads
from wavesweep.analysis.table.collect import collect


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_a_network_that_two_machines_trained_counts_once_whatever_the_order(order):
    rows = pd.DataFrame({"baseline_key": ["a", "a", "a", "b"], "baseline_test_accuracy": [0.5, 0.5, 0.75, 1.0]})
    found = networks_before(rows.iloc[order], "baseline_test_accuracy")
    assert found.to_dict() == {"a": 0.625, "b": 1.0}
    assert networks_before(rows, "baseline_test_f1").empty


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_the_bars_of_the_network_before_are_means_of_networks_whatever_the_order(order):
    accuracies = {f"baseline_{split}_accuracy": [0.5, 0.75, 1.0] for split in ("validation", "test")}
    sizes = {"dense_bytes": 4000, "baseline_gzip_bytes": [3000, 3200, 3500], "baseline_int8_bytes": None}
    rows = pd.DataFrame({"baseline_key": ["a", "a", "b"], **accuracies, **sizes})
    # Nobody measured the int8 weights, which have no bar.
    dense, compressed = bars(Workload("net", "data", rows.iloc[order]), [])
    assert (dense.size, dense.validation, dense.test) == (4000, 0.8125, 0.8125)
    assert compressed.size == 3300


def test_known_methods_keep_their_looks_and_others_take_those_that_are_free():
    found = looks_of(pd.Series(["haar", "magnitude", "bior2.2", "haar", "random"]))
    assert found["magnitude"] == LOOKS["magnitude"]
    assert found["random"] == LOOKS["random"]
    assert len({(style.color, style.marker) for style in found.values()}) == 4
    assert looks_of(pd.Series(["magnitude", "wavelet"])) == {name: LOOKS[name] for name in ("wavelet", "magnitude")}


def test_a_shared_arm_counts_once(tmp_path):
    for wavelet in ("haar", "db2"):
        for seed in (0, 1):
            record = example({"wavelet": wavelet, "seed": seed})
            for arm in record["arms"]:
                arm["arm_key"] = f"{arm['method']}-{seed}" + (f"-{wavelet}" if arm["method"] == "wavelet" else "")
            write_record(tmp_path, record)
    (workload,) = workloads(collect(tmp_path).trials)
    assert sorted(workload.means["method"]) == ["magnitude", "random", "wavelet", "wavelet"]
    assert len(workload.singles) == 8


def test_different_networks_are_different_workloads(tmp_path):
    torchvision = {"model.name": "resnet18", "model.source": "torchvision"}
    expected = {
        "mlp on digits": {},
        "lenet300 on digits": {"model.name": "lenet300"},
        "mlp on image_folder (y)": {"dataset.name": "image_folder", "dataset.path": "/x/y"},
        "resnet18 on digits": {"model.name": "resnet18"},
        "resnet18 (torchvision) on digits": torchvision,
        "resnet18 (torchvision, DEFAULT) on digits": torchvision | {"model.weights": "DEFAULT"},
        'custom (net.build, {"n": 1}, w.pt) on custom (net.data)': {
            "model.name": "custom",
            "model.target": "net.build",
            "model.arguments": {"n": 1},
            "model.checkpoint": "/x/w.pt",
            "dataset.name": "custom",
            "dataset.target": "net.data",
        },
    }
    for settings in expected.values():
        write_record(tmp_path, example(settings))
    labels = [workload.label for workload in workloads(collect(tmp_path).trials)]
    assert sorted(labels) == sorted(expected)


def test_folders_of_one_name_are_told_apart(tmp_path):
    for path in ("/one/photos", "/two/photos", "/two/others"):
        write_record(tmp_path, example({"dataset.name": "image_folder", "dataset.path": path}))
    found = workloads(collect(tmp_path).trials)
    assert {one.dataset for one in found} == {
        "image_folder (/one/photos)",
        "image_folder (/two/photos)",
        "image_folder (others)",
    }
    assert len({one.slug for one in found}) == 3


def test_long_names_are_cut_and_stay_apart(tmp_path):
    for end in "ab":
        arguments = {f"argument_{number}": number for number in range(30)} | {"last": end}
        write_record(tmp_path, example({"model.name": "custom", "model.arguments": arguments}))
    slugs = {one.slug for one in workloads(collect(tmp_path).trials)}
    assert len(slugs) == 2
    assert all(len(slug) < 150 for slug in slugs)


RETRAINED = {
    "method": "wavelet", "method.name": "wavelet", "retrain.name": "finetune", "retrain.epochs": 3, "retrain.rounds": 3,
    "retrain.step": 0.2, "retrain.rewind_epoch": 1, "quantize.name": "uniform", "quantize.bits": 8, "layout": "auto",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"retrain.name": "none"}, "retrain.epochs"),
        ({"method": "magnitude"}, "layout"),
        ({"quantize.step": 0.5}, "quantize.bits"),
        ({"quantize.bits": None}, "quantize.bits"),
    ],
)
def test_settings_without_effect_do_not_matter(changes, name):
    assert matters(pd.Series(RETRAINED), name)
    assert not matters(pd.Series(RETRAINED | changes), name)


@pytest.mark.parametrize("name", ["retrain.rounds", "retrain.step", "retrain.rewind_epoch"])
def test_settings_of_other_retrainings_do_not_matter(name):
    assert not matters(pd.Series(RETRAINED), name)
