"""The charts as data: what is drawn is what the table says, and every chart says what it shows."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from analysis_command import command
from records import example, write_record, write_records

from wavesweep.analysis.charts import heatmap, history, layers, pareto, sizes, training
from wavesweep.analysis.charts.all import all_charts, charts_of
from wavesweep.analysis.charts.style import LOOKS, encoded, styled
from wavesweep.analysis.html_report.page import _tried
from wavesweep.analysis.statistics.choices import choices
from wavesweep.analysis.statistics.descriptions import describe
from wavesweep.analysis.statistics.workloads import workloads
from wavesweep.analysis.table.collect import collect
from wavesweep.analysis.table.details import search_histories, sensitivity

NAMES = (
    "accuracy_bytes",
    "accuracy_sparsity",
    "before_after",
    "wavelet_level",
    "layers",
    "learning_curves",
    "history",
    "inference_time",
)


def write_curves(outputs, key, epochs=4):
    rows = [
        f"{method},{epoch},0.{epoch},0.{epoch + 4}" for method in ("wavelet", "random") for epoch in range(1, epochs)
    ]
    text = "method,epoch,sparsity,validation_accuracy\n" + "\n".join(rows) + "\n"
    (outputs / "runs" / key / "learning_curves.csv").write_text(text)


def write_scan(outputs):
    directory = outputs / "sensitivity" / "one"
    directory.mkdir(parents=True)
    rows = [
        f"mlp,digits,0,wavelet,haar,1,auto,{tensor},{percentile},{percentile / 200}"
        for tensor in ("fc1.weight", "fc2.weight", "fc3.weight")
        for percentile in (50, 90)
    ]
    header = "model,dataset,seed,method,wavelet,level,layout,tensor,percentile,accuracy_lost"
    (directory / "table.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("records")
    write_records(directory, 320, seeds=2)
    write_records(directory, 2, seeds=2, settings={"retrain.name": "gradual", "threshold.percentile": 95.0})
    for row in collect(directory).trials.query("`retrain.name` == 'gradual'")["key"].unique():
        write_curves(directory, row)
    write_scan(directory)
    return directory


@pytest.fixture(scope="module")
def workload(outputs):
    (found,) = workloads(collect(outputs).trials)
    return found


@pytest.fixture(scope="module")
def charts(workload, outputs):
    return {chart.name: chart for chart in charts_of(workload, outputs)}


def texts(figure):
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_there_is_every_chart(charts):
    assert tuple(charts) == NAMES
    assert all(chart.figure is not None for chart in charts.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_says_its_data_seeds_and_split(charts, name):
    said = texts(charts[name].figure)
    assert "mlp on digits" in said
    assert "seed" in said
    assert "split" in said
    axes = charts[name].figure.axes[0]
    assert charts[name].figure.get_suptitle()
    assert any(one.get_xlabel() for one in charts[name].figure.axes)
    assert axes.get_ylabel() or axes.get_yticklabels()


@pytest.mark.integration
def test_equal_data_give_equal_bytes(charts, workload, outputs):
    again = {chart.name: chart for chart in charts_of(replace(workload), outputs)}
    for name in NAMES:
        first = encoded(charts[name].figure, "svg")
        assert first == encoded(again[name].figure, "svg")
        assert b"<text" in first
        assert b"<dc:date>" not in first


def test_the_means_are_those_of_the_table(workload):
    rows = workload.rows[workload.rows["is_main"] & (workload.rows["retrain.name"] == "none")]
    expected = rows.groupby(["threshold.percentile", "wavelet", "level"])["validation_accuracy"].mean()
    means = workload.means[workload.means["is_main"] & (workload.means["retrain.name"] == "none")]
    assert len(means) == len(expected) == 160
    assert (means["seeds"] == 2).all()
    for _, mean in means.iterrows():
        wanted = expected[mean["threshold.percentile"], mean["wavelet"], mean["level"]]
        assert mean["validation_accuracy"] == pytest.approx(wanted, abs=1e-12)


def test_the_points_and_fronts_drawn_are_those_of_the_table(charts, workload):
    axes = charts["accuracy_bytes"].figure.axes[0]
    for curve in pareto.curves(workload.means, pareto.STORED_BYTES):
        (points,) = [one for one in axes.collections if one.get_gid() == f"points-{curve.method}"]
        drawn = np.sort(points.get_offsets().data, axis=0)
        wanted = np.column_stack([curve.points["stored_bytes"], 100 * curve.points["validation_accuracy"]])
        np.testing.assert_allclose(drawn, np.sort(wanted.astype(float), axis=0))
        (line,) = [one for one in axes.lines if one.get_label() == curve.method]
        best = -1.0
        for size, accuracy in zip(*line.get_data(), strict=True):  # by rising size, so each must be better
            assert accuracy > best
            assert not ((wanted[:, 0] <= size) & (wanted[:, 1] > accuracy + 1e-9)).any()
            best = accuracy


def test_the_baseline_is_drawn(charts, workload):
    lines = charts["accuracy_bytes"].figure.axes[0].lines
    assert any(np.allclose(line.get_ydata(), 100 * workload.baseline["validation"]) for line in lines)


def test_methods_differ_without_colour():
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)
    assert len({str(look.line) for look in LOOKS.values()}) == len(LOOKS)


def test_the_heat_map_has_the_means_of_one_slice(workload):
    found = heatmap.best_slice(workload)
    assert found.accuracy.shape == (10, 2)
    for wavelet in found.accuracy.index:
        for level in found.accuracy.columns:
            rows = workload.rows[workload.rows["is_main"]]
            for name, value in {**found.fixed, "wavelet": wavelet, "level": level}.items():
                rows = rows[rows[name].isna() if pd.isna(value) else rows[name] == value]
            assert found.accuracy.loc[wavelet, level] == pytest.approx(rows["validation_accuracy"].mean())


def test_layers_have_sparsity_and_energy(workload, outputs):
    chosen = choices(workload)[0]
    record = json.loads((outputs / "runs" / chosen.row["keys"][0] / "result.json").read_text())
    from wavesweep.analysis.table import details

    means = layers.layer_means(details.layers(outputs, [record["key"]]))
    layer = record["arms"][0]["layers"][0]
    row = means[(means["method"] == "wavelet") & (means["name"] == layer["name"])].iloc[0]
    assert row["sparsity"] == pytest.approx(1 - layer["nonzero"] / layer["coefficients"])
    assert row["energy"] == pytest.approx(1 - layer["error"] ** 2)
    assert len(sensitivity(outputs, "mlp", "digits")) == 6
    assert sensitivity(outputs, "mlp", "mnist").empty


def test_choices_keep_their_constraints(workload):
    smallest, accurate, knee = choices(workload)
    means = workload.means
    assert smallest.row["accuracy_drop"] <= 1
    assert smallest.row["stored_bytes"] == means[means["accuracy_drop"] <= 1]["stored_bytes"].min()
    assert accurate.row["compression_ratio"] >= 10
    ten = means[means["compression_ratio"] >= 10]
    assert accurate.row["validation_accuracy"] == ten["validation_accuracy"].max()
    assert "2 seeds" in smallest.words
    assert "test" in knee.words
    assert describe(knee.row, workload.varying) in knee.words


def test_the_words_say_that_nothing_satisfies_a_constraint(tmp_path):
    record = example()
    for arm in record["arms"]:
        arm["validation"]["accuracy"] = 0.5
        arm["compression_ratio"] = 3.0
    write_record(tmp_path, record)
    (workload,) = workloads(collect(tmp_path).trials)
    smallest, accurate, _ = choices(workload)
    assert smallest.row is None
    assert smallest.words.startswith("None: no setting loses at most 1 point")
    assert accurate.row is None
    assert "3.0 times smaller" in accurate.words


def with_drops(seed, accuracy=0.95):
    """A record that says what was lost, and that its validation images may be known."""
    record = example({"seed": seed})
    record["key"] = str(seed) * 16
    record["splits"] = {
        "validation": 144,
        "test": 360,
        "validation_from": "train",
        "validation_may_be_trained_on": True,
    }
    for split, lost in (("validation", 0.02), ("test", 0.03)):
        record["baseline"][split]["accuracy"] = accuracy
        for arm in record["arms"]:
            arm[split]["accuracy"] = accuracy - lost
            arm["drop"] = arm.get("drop", {}) | {
                split: {"low": 100 * lost - 1.5 - seed, "high": 100 * lost + 1.5 + seed}
            }
    return record


def test_points_lost_and_their_intervals_are_columns_and_words(tmp_path):
    write_record(tmp_path, with_drops(0))
    trials = collect(tmp_path).trials
    names = [f"{split}accuracy_drop{end}" for split in ("", "test_") for end in ("", "_low", "_high")]
    assert trials.loc[0, names].tolist() == pytest.approx([2.0, 0.5, 3.5, 3.0, 1.5, 4.5])
    assert trials.loc[0, ["validation_images", "test_images", "validation_from"]].tolist() == [144, 360, "train"]
    (workload,) = workloads(trials)
    words = choices(workload)[2].words
    assert "loses 2.0 points of validation accuracy (93.0 %, 95 % interval of the loss 0.5 to 3.5; " in words
    assert "test 92.0 %, 3.0 points lost, 95 % interval of the loss 1.5 to 4.5; one seed" in words
    assert "95.0 % on validation (144 images), 95.0 % on test (360 images)" in _tried(workload)
    assert "In 1 trial the network may have been trained on the validation images" in _tried(workload)


def test_of_several_seeds_the_interval_is_that_of_one_on_average(tmp_path):
    for seed in (0, 1):
        write_record(tmp_path, with_drops(seed))
    (workload,) = workloads(collect(tmp_path).trials)
    words = choices(workload)[2].words
    assert "(93.0 %, 95 % interval of the loss with one seed, on average, 0.0 to 4.0; test 92.0 %, 3.0 points" in words


def test_records_from_before_there_were_intervals_have_none(tmp_path):
    write_record(tmp_path, example())
    trials = collect(tmp_path).trials
    assert trials[["accuracy_drop_low", "test_images", "validation_may_be_trained_on"]].isna().all().all()
    (workload,) = workloads(trials)
    assert "interval" not in choices(workload)[2].words
    assert "may have been trained" not in _tried(workload)


def test_charts_without_data_say_why(tmp_path):
    write_record(tmp_path, example())
    (workload,) = workloads(collect(tmp_path).trials)
    left_out = {chart.name: chart.text for chart in charts_of(workload, tmp_path) if chart.figure is None}
    assert left_out.keys() == {"wavelet_level", "learning_curves", "history"}
    assert left_out["learning_curves"] == "no trial was retrained (retrain=none)"


def test_the_history_grows_to_the_hypervolume_of_all():
    points = np.random.default_rng(0).random((50, 2))
    volume = history.hypervolume_so_far(points, (True, True), (0.0, 0.0))
    assert (np.diff(volume) >= 0).all()
    assert volume[-1] == pytest.approx(history.hypervolume(points, (True, True), (0.0, 0.0)))
    best = history.best_so_far(np.array([np.nan, 1.0, np.nan, 0.5, 2.0]), maximize=False)
    np.testing.assert_array_equal(best, [np.nan, 1, 1, 0.5, 0.5])


def test_a_study_has_its_history(outputs, workload):
    directory = outputs / "studies" / "pareto $x<b>"
    directory.mkdir(parents=True)
    key = workload.rows["key"].iloc[0]
    (directory / "history.csv").write_text(
        "number,key,state,accuracy,stored_bytes,seconds,cached,reason,params\n"
        f"0,{key},complete,0.9,1000,1.0,False,,{{}}\n1,,fail,,,1.0,False,out of memory,{{}}\n"
        f"2,{key},complete,0.8,500,1.0,True,,{{}}\n"
    )
    assert list(search_histories(outputs)) == ["pareto $x<b>"]
    (drawn,) = [drawn for drawn in all_charts([workload], outputs) if drawn.chart.name.startswith("study")]
    assert drawn.workload is workload
    said = texts(drawn.chart.figure)
    assert "3 trials of the study, 1 without a value; objectives: accuracy, stored_bytes" in said
    assert drawn.chart.figure.axes[1].lines[1].get_ydata().tolist() == [1000, 1000, 500]
    assert encoded(drawn.chart.figure, "svg")


def test_learning_curves_are_those_of_the_files(charts, workload):
    assert len(training.retrained(workload)) == 1
    axes = charts["learning_curves"].figure.axes[0]
    assert any(np.allclose(line.get_ydata(), [50, 60, 70]) for line in axes.lines)


def test_sizes_are_those_before_and_after(workload):
    bars = sizes.bars(workload, choices(workload))
    assert [bar.label for bar in bars][:3] == ["before: float32", "before: float32, gzip", "before: int8 weights"]
    assert bars[0].size == workload.rows["dense_bytes"].iloc[0]
    assert {bar.size for bar in bars[3:]} == {choice.row["stored_bytes"] for choice in choices(workload)}


@pytest.mark.integration
def test_hostile_names_are_text(tmp_path):
    name = r"$\frac{<script>alert(1)</script>&"
    write_record(tmp_path, example({"model.name": name}))
    write_record(tmp_path, example({"model.name": name, "wavelet": "$x$", "seed": 1}))
    (workload,) = workloads(collect(tmp_path).trials)
    for chart in charts_of(workload, tmp_path):
        if chart.figure is not None:
            assert b"<script" not in encoded(chart.figure, "svg")


@pytest.mark.integration
def test_the_command_writes_svg_and_png(tmp_path):
    write_records(tmp_path, 2, seeds=1)
    done = command(tmp_path, script="figures")
    assert done.returncode == 0, done.stderr
    assert "left out mlp-digits_learning_curves: no trial was retrained" in done.stdout
    written = sorted(path.name for path in (tmp_path / "analysis" / "figures").iterdir())
    assert "mlp-digits_accuracy_bytes.png" in written
    assert "mlp-digits_accuracy_bytes.svg" in written


@pytest.mark.parametrize("script", ["figures", "report"])
def test_errors_are_one_line(tmp_path, script):
    absent = command(tmp_path / "absent", script=script)
    empty = command(tmp_path, script=script)
    for done in (absent, empty):
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert str(tmp_path) in done.stderr
        assert "python -m wavesweep" in done.stderr


def test_style_does_not_leak(charts):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with styled():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
    assert dict(matplotlib.rcParams) == before


@pytest.mark.integration
def test_titles_of_learning_curves_stay_within_their_panels(tmp_path):
    several = {
        "retrain.epochs": (4, 30),
        "retrain.rounds": (2, 3),
        "retrain.ramp": (0.7, 0.25),
        "quantize.bits": (8, 5),
    }
    for number, kind in enumerate(("finetune", "iterative", "gradual", "rewind")):
        changes = {key: values[(number + shift) % 2] for shift, (key, values) in enumerate(several.items())}
        record = example({"retrain.name": kind, "retrain.quantize_epochs": number, **changes})
        write_record(tmp_path, record)
        write_curves(tmp_path, record["key"])
    (workload,) = workloads(collect(tmp_path).trials)
    with styled():
        figure = training.curves(workload, tmp_path).figure
    encoded(figure, "png")  # lays it out, and warns where axes vanish
    for axes in figure.axes[:3]:
        assert axes.get_title(loc="left").count("\n") > 2
        assert axes.get_window_extent().width > 0.25 * figure.bbox.width
