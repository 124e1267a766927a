"""Retraining through the command line: its settings, its records, and kills in the middle of it."""

import csv
import json

import pytest
import torch
from command_line import QUICK, records, results, run, started, wait_until, without_timings

pytestmark = pytest.mark.integration

FEW = (QUICK, "compare=[]")
# Seconds of retraining, so that a kill falls into it.
LONG = (
    "model.recipe.epochs=2",
    "retrain.epochs=40",
    "retrain.batch_size=16",
    "compare=[magnitude]",
)


def only(directory):
    """The single trial of a directory: its own directory and record."""
    (path,) = results(directory)
    return path.parent, json.loads(path.read_text())


def curves(directory):
    with (directory / "learning_curves.csv").open() as file:
        return list(csv.DictReader(file))


def test_gradual_pruning_keeps_the_sparsity_and_raises_the_accuracy(tmp_path, forked):
    sweep = forked.run(tmp_path, "-m", "retrain=none,gradual", "retrain.epochs=5", "threshold.percentile=95", *FEW)
    assert sweep.status == 0, sweep.stderr
    found = {record["settings"]["retrain"]["name"]: (key, record) for key, record in records(tmp_path).items()}
    (_, plain), (key, gradual) = found["none"], found["gradual"]
    before, after = plain["arms"][0], gradual["arms"][0]
    assert after["kept_coefficients"] == after["nonzero_coefficients"] == before["kept_coefficients"]
    assert after["test"]["accuracy"] > before["test"]["accuracy"] + 0.2
    assert after["retraining"]["one_shot_validation_accuracy"] == before["validation"]["accuracy"]
    rows = curves(tmp_path / "outputs" / "runs" / key)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5]
    assert [row["quantized"] for row in rows] == ["False"] * 3 + ["True"] * 2
    assert float(rows[-1]["sparsity"]) == pytest.approx(after["coefficient_sparsity"])
    assert not list(tmp_path.glob("outputs/**/retraining.pt"))


def test_a_learned_rate_gives_a_small_file(tmp_path, forked):
    settings = ("retrain=rate", "retrain.epochs=4", "threshold=none", "quantize.other=quantized")
    outcome = forked.run(tmp_path, *settings, *FEW)
    assert outcome.status == 0, outcome.stderr
    directory, record = only(tmp_path)
    arm = record["arms"][0]
    assert record["settings"]["retrain"]["optimizer"] == "adam"
    assert arm["retraining"]["chosen_epoch"] == 4
    assert arm["compression_ratio"] > 25
    assert arm["validation"]["accuracy"] > 0.6
    assert arm["stored_bytes"] == (directory / "model.wsz").stat().st_size
    estimates = [int(row["estimated_bytes"]) for row in curves(directory)]
    assert len(estimates) == 4
    assert estimates[-1] == pytest.approx(arm["stored_bytes"], rel=0.2)


@pytest.mark.slow
def test_processes_share_a_retraining_and_give_the_records_of_one(tmp_path, forked):
    sweep = ("-m", "retrain=gradual", "retrain.epochs=12", "quantize.bits=3,4,6", "threshold.percentile=80,90", *FEW)
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert forked.run(alone, *sweep).status == 0
    outcome = run(together, *sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=3")
    assert outcome.status == 0, outcome.stderr
    for directory in (alone, together):
        assert len(list(directory.glob("outputs/retrained/*/trained.pt.gz"))) == 2
        assert len(results(directory)) == 6
    assert without_timings(records(together)) == without_timings(records(alone))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("retrain=finetune", "retrain.epochs=2"), "error: retrain.epochs=2: is too few for 1 round(s) of pruning"),
        (("retrain=rewind", "retrain.rewind_epoch=2"), "error: retrain.rewind_epoch=2: must be below the 2 epochs"),
        (("retrain=rate", "quantize=kmeans"), "error: quantize.name=kmeans: is not for retrain=rate"),
        (("retrain=gradual", "retrain.ramp=1.5"), "error: retrain.ramp=1.5: must be a number from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense_are_one_line_and_train_nothing(tmp_path, forked, arguments, line):
    outcome = forked.run(tmp_path, *arguments, *FEW)
    assert outcome.status == 2
    assert outcome.error.startswith(line)
    assert not list(tmp_path.glob("outputs/baselines/*"))


def test_a_retraining_that_diverges_is_one_line(tmp_path, forked):
    outcome = forked.run(tmp_path, "retrain=finetune", "retrain.learning_rate=1e38", "retrain.optimizer=sgd", *FEW)
    assert outcome.status == 1
    assert outcome.error.startswith("error: retraining diverged: ")
    assert outcome.error.endswith("; lower retrain.learning_rate")
    assert "Traceback" not in outcome.stderr


def retrained_epochs(directory):
    """The epochs in the checkpoints of retraining, by the directory of an arm or of what arms share."""
    found = {}
    for path in directory.glob("outputs/*/*/retraining.pt"):
        try:
            found[path.parent.name] = len(torch.load(path, weights_only=True)["curve"])
        except FileNotFoundError:  # the arm ended a moment ago
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        ("retrain=gradual",),
        ("retrain=finetune", "quantize=kmeans", "quantize.bits=4", "retrain.quantize_epochs=20"),
        ("retrain=rate", "threshold=none", "quantize.other=quantized"),
    ],
    ids=["gradual", "codebooks", "rate"],
)
def test_a_killed_retraining_goes_on_from_its_last_epoch_to_the_same_bytes(tmp_path, extra):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole, *extra, *LONG).status == 0
    for epochs in (3, 15, 30):
        with started(killed, *extra, *LONG) as process:
            assert wait_until(
                lambda wanted=epochs: max(retrained_epochs(killed).values(), default=0) >= wanted, process
            )
            process.kill()
            process.communicate()
        assert not results(killed)
    seen = retrained_epochs(killed)
    assert max(seen.values()) >= 30

    outcome = run(killed, *extra, *LONG)
    assert outcome.status == 0, outcome.stderr
    assert not retrained_epochs(killed)
    assert without_timings(records(killed)) == without_timings(records(whole))
    files = {path.relative_to(whole): path.read_bytes() for path in whole.glob("outputs/**/model.wsz")}
    assert len(files) == 3
    for path, content in files.items():
        assert (killed / path).read_bytes() == content
