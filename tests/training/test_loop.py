"""Whole retrainings of the digits MLP in this process: the file, its sparsity and its record."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from retrainings import ALL, COLUMNS, CPU, KINDS, KMEANS, LOOSE, RATE, arm_of, coded_of, file_of, settings_of, untimed
from workloads import assert_same

import wavesweep
from wavesweep.compression import compressor
from wavesweep.errors import SettingsError, TrialError
from wavesweep.experiment.baseline import load_workload, obtain_early_weights
from wavesweep.experiment.trial import run_trial
from wavesweep.measure.quality import evaluate
from wavesweep.models.zoo import build_model
from wavesweep.quantization.rate_distortion import quantize_rate_distortion
from wavesweep.settings.effective import effective_retraining
from wavesweep.settings.keys import trial_directory
from wavesweep.settings.schema import (
    CodecSettings,
    MethodSettings,
    QuantizeSettings,
    RetrainSettings,
    ThresholdSettings,
)
from wavesweep.training import loop
from wavesweep.training.masked import Masked
from wavesweep.transform.basis import make_basis


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Shared, so that the baseline is trained once and each retraining runs once."""
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize("name", KINDS)
def test_the_sparsity_of_the_file_is_the_one_that_was_asked_for(name, outputs):
    record = run_trial(settings_of(outputs, **KINDS[name]))
    arm = arm_of(record)
    assert arm["retraining"]["chosen_epoch"] > 0
    wanted = {"fc1.weight": 64 * 24, "fc2.weight": 240}
    kept = {tensor: size - int(0.8 * size + 0.5) for tensor, size in wanted.items()}
    coded = coded_of(file_of(record, outputs))
    assert {tensor: int(np.count_nonzero(coded[tensor].symbols)) for tensor in wanted} == kept
    assert {layer["name"]: (layer["kept"], layer["nonzero"]) for layer in arm["layers"]} == {
        tensor: (number, number) for tensor, number in kept.items()
    }
    assert arm["kept_coefficients"] == arm["nonzero_coefficients"] == sum(kept.values())
    assert arm["coefficient_sparsity"] == pytest.approx(1 - sum(kept.values()) / sum(wanted.values()))
    # The decoded coefficients are not zero either, so a codebook has no zero in it.
    for tensor in wanted:
        assert np.count_nonzero(coded[tensor].coefficients()) == kept[tensor]
    curve = arm["retraining"]["curve"]
    assert curve[-1]["sparsity"] == pytest.approx(arm["coefficient_sparsity"])
    sparsities = [row["sparsity"] for row in curve]
    assert sparsities == sorted(sparsities)
    assert [row["round"] for row in curve] == sorted(row["round"] for row in curve)


@pytest.mark.parametrize("name", [*KINDS, *LOOSE])
def test_the_file_is_the_network_that_was_measured_in_the_chosen_epoch(name, outputs):
    settings = settings_of(outputs, **{**KINDS, **LOOSE}[name])
    record = run_trial(settings)
    arm = arm_of(record)
    dataset = load_workload(settings).dataset
    model = build_model(settings.model, dataset.input_shape, dataset.classes, seed=99)
    wavesweep.load(file_of(record, outputs), model)
    for split in ("validation", "test"):
        found = evaluate(model, dataset, getattr(dataset, split), split, CPU)
        assert {measure: arm[split][measure] for measure in found} == pytest.approx(found)
    retraining = arm["retraining"]
    row = retraining["curve"][retraining["chosen_epoch"] - 1]
    assert row["epoch"] == retraining["chosen_epoch"]
    assert row["validation_accuracy"] == arm["validation"]["accuracy"]
    assert row["validation_loss"] == pytest.approx(arm["validation"]["loss"])
    assert row["sparsity"] == pytest.approx(arm["coefficient_sparsity"])


@pytest.mark.parametrize("name", [*KINDS, "finetune, rate-distortion"])
def test_it_is_never_worse_than_without_retraining_and_better_on_these_data(name, outputs):
    changes = {**KINDS, **LOOSE}[name]
    retrained = run_trial(settings_of(outputs, **changes))
    plain = run_trial(settings_of(outputs, **{**changes, "retrain": RetrainSettings()}))
    retraining = arm_of(retrained)["retraining"]
    assert "retraining" not in arm_of(plain)
    assert retraining["one_shot_validation_accuracy"] == arm_of(plain)["validation"]["accuracy"]
    assert arm_of(retrained)["validation"]["accuracy"] > arm_of(plain)["validation"]["accuracy"] + 0.05
    measured = [row for row in retraining["curve"] if row["quantized"]] or retraining["curve"][-1:]
    best = max(row["validation_accuracy"] for row in measured)
    assert arm_of(retrained)["validation"]["accuracy"] == best
    # Of equal epochs the last.
    assert retraining["chosen_epoch"] == max(r["epoch"] for r in measured if r["validation_accuracy"] == best)


@pytest.mark.parametrize("kind", ["finetune", "gradual"])
def test_where_retraining_only_harms_the_one_shot_arm_is_kept(kind, outputs):
    absurd = RetrainSettings(kind, epochs=2, quantize_epochs=1, learning_rate=100.0, optimizer="adam")
    threshold = ThresholdSettings(percentile=20.0)
    record = run_trial(settings_of(outputs, retrain=absurd, threshold=threshold))
    plain = run_trial(settings_of(outputs, threshold=threshold))
    assert arm_of(record)["retraining"]["chosen_epoch"] == 0
    assert "wavelet: no epoch of retraining was better on validation; the one-shot arm is kept" in record["notes"]
    assert arm_of(record)["validation"] == arm_of(plain)["validation"]
    assert arm_of(record)["test"] == arm_of(plain)["test"]
    mine, others = (coded_of(file_of(found, outputs)) for found in (record, plain))
    assert mine.keys() == others.keys()
    for name in mine:
        assert np.array_equal(mine[name].symbols, others[name].symbols)
        assert mine[name].reconstruction == others[name].reconstruction
    for key in ("kept_coefficients", "nonzero_coefficients", "coefficient_sparsity", "weight_sparsity", "layers"):
        assert arm_of(record)[key] == arm_of(plain)[key]


@pytest.mark.parametrize("name", ["gradual", "rate", "rewound weights, codebooks"])
def test_the_learning_curves_have_a_row_per_arm_and_epoch(name, outputs):
    settings = settings_of(outputs, ("magnitude", "random"), **{**KINDS, **LOOSE}[name])
    record = run_trial(settings)
    with (trial_directory(settings, record["key"]) / "learning_curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    extra = ["estimated_bytes"] if name == "rate" else []
    assert set(rows[0]) == {*COLUMNS, "seconds", *extra}
    epochs = 6 if "rewound" in name else settings.retrain.epochs
    for number, method in enumerate(("wavelet", "magnitude", "random")):
        mine = rows[number * epochs : (number + 1) * epochs]
        assert [(row["method"], int(row["epoch"])) for row in mine] == [(method, n + 1) for n in range(epochs)]
        for row, recorded in zip(mine, arm_of(record, number)["retraining"]["curve"], strict=True):
            for key, value in recorded.items():
                assert row[key] == str(value)
    assert len(rows) == 3 * epochs
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_without_retraining_there_are_no_learning_curves(outputs):
    settings = settings_of(outputs)
    directory = trial_directory(settings, run_trial(settings)["key"])
    assert (directory / "layers.csv").exists()
    assert not (directory / "learning_curves.csv").exists()


@pytest.mark.parametrize("method", ["wavelet", "unit"])
def test_compared_arms_are_retrained_with_the_same_counts(method, outputs):
    changes = KINDS["gradual, regrown"] | {"method": MethodSettings(method)}
    threshold = ThresholdSettings(scope="global", percentile=75.0)
    record = run_trial(settings_of(outputs, ("magnitude", "dct"), threshold=threshold, **changes))
    assert [arm["method"] for arm in record["arms"]] == [method, "magnitude", "dct"]
    counts = {arm["kept_coefficients"] for arm in record["arms"]}
    assert len(counts) == 1
    for arm in record["arms"]:
        # One-shot quantisation may round what is kept to zero.
        if arm["retraining"]["chosen_epoch"] > 0:
            assert arm["nonzero_coefficients"] == arm["kept_coefficients"]
        assert len(arm["retraining"]["curve"]) == 3
    assert sum(arm["retraining"]["chosen_epoch"] > 0 for arm in record["arms"]) >= 2
    assert not [note for note in record["notes"] if "were asked for" in note and "keeps" in note]


def test_an_epoch_that_is_measured_as_the_file_is_quantised_once(tmp_path, monkeypatch):
    quantised = []

    def counted(tensor, *rest):
        quantised.append(tensor.plan.name)
        return quantize_rate_distortion(tensor, *rest)

    monkeypatch.setattr(compressor, "quantize_rate_distortion", counted)
    record = run_trial(settings_of(tmp_path, **LOOSE["finetune, rate-distortion"]))
    assert arm_of(record)["retraining"]["chosen_epoch"] == 2
    # The last epoch, and the arm that is not retrained.
    assert set(Counter(quantised).values()) == {2}


@pytest.mark.parametrize("name", ["iterative, regrown, a step a band", "rate of all tensors, a step a band"])
def test_the_same_settings_give_the_same_record_and_bytes(name, outputs, tmp_path):
    first, second = (run_trial(settings_of(where, **{**KINDS, **LOOSE}[name])) for where in (outputs, tmp_path))
    assert file_of(first, outputs).read_bytes() == file_of(second, tmp_path).read_bytes()
    one, other = (json.loads(json.dumps(untimed(record))) for record in (first, second))
    for record in (one, other):
        record["settings"].pop("paths", None)
    assert one == other


def test_another_seed_gives_another_order_and_other_weights(outputs):
    settings = settings_of(outputs, **KINDS["finetune"])
    other = run_trial(replace(settings, seed=1))
    assert file_of(run_trial(settings), outputs).read_bytes() != file_of(other, outputs).read_bytes()


DIVERGING = {"learning_rate": 1e38, "optimizer": "sgd"}


@pytest.mark.parametrize("batch_size", [64, 100_000], ids=["within an epoch", "in its last step"])
@pytest.mark.parametrize(
    "changes",
    [
        {"retrain": RetrainSettings("finetune", epochs=2, quantize_epochs=1)},
        {"retrain": RetrainSettings("gradual", epochs=2, quantize_epochs=1)},
        {"retrain": RetrainSettings("finetune", epochs=1, quantize_epochs=0)},
        {"retrain": RetrainSettings("finetune", epochs=1, quantize_epochs=0), **KMEANS},
        {"retrain": RetrainSettings("finetune", epochs=1, quantize_epochs=0), "quantize": QuantizeSettings("none")},
        {"retrain": RetrainSettings("rate", epochs=2), "threshold": ALL},
    ],
    ids=["finetune", "gradual", "uniform", "kmeans", "none", "rate"],
)
def test_a_retraining_that_diverges_says_so_in_one_line(outputs, changes, batch_size):
    retrain = replace(changes["retrain"], batch_size=batch_size, **DIVERGING)
    settings = settings_of(outputs, **{**changes, "retrain": retrain})
    for again in ("", r" \(failed earlier; retry_failed=true runs it again\)"):
        with pytest.raises(
            TrialError, match=rf"^retraining diverged: [^\n]* in epoch 1; lower retrain\.learning_rate{again}$"
        ):
            run_trial(settings)


def test_epochs_that_do_not_suffice_train_nothing(tmp_path):
    settings = settings_of(tmp_path, retrain=RetrainSettings("iterative", epochs=5, rounds=4))
    with pytest.raises(SettingsError, match=r"^retrain\.epochs=5: is too few for 4 round"):
        run_trial(settings)
    assert not (tmp_path / "baselines").exists()


def test_early_weights_are_those_that_the_baseline_had(tmp_path, monkeypatch):
    settings, seen = settings_of(tmp_path), {}
    original = loop.write_checkpoint

    def write_checkpoint(path, content):
        seen[len(content["curve"]) + 1] = {name: value.clone() for name, value in content["network"].items()}
        original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_checkpoint", write_checkpoint)
        run_trial(settings)
    assert list(seen) == [1, 2, 3, 4]
    workload = load_workload(settings)
    for epoch in (1, 3):
        found = obtain_early_weights(settings, workload, CPU, epoch)
        assert found.keys() == seen[epoch].keys()
        assert all(torch.equal(found[name], seen[epoch][name]) for name in found)
        assert not torch.equal(found["fc1.weight"], seen[4]["fc1.weight"])
    initial = build_model(settings.model, (1, 8, 8), 10, settings.seed).state_dict()
    assert_same(obtain_early_weights(settings, workload, CPU, 0), initial)


@pytest.mark.parametrize("epoch", [0, 2])
def test_rewinding_starts_every_round_from_the_early_weights_under_the_new_mask(outputs, tmp_path, monkeypatch, epoch):
    settings = settings_of(
        tmp_path, retrain=RetrainSettings("rewind", rounds=2, rewind="weights", rewind_epoch=epoch, quantize_epochs=1)
    )
    started = {}

    def begin_epoch(strategy, epoch, original=Masked.begin_epoch):
        original(strategy, epoch)
        started[epoch] = strategy.plain_state(), strategy.coefficients.pruned()

    monkeypatch.setattr(Masked, "begin_epoch", begin_epoch)
    record = run_trial(settings)
    early = obtain_early_weights(settings, load_workload(settings), CPU, epoch)
    length = 4 - epoch
    assert list(started) == list(range(2 * length))
    for number in (0, length):
        state, tensors = started[number]
        for name in ("fc1.bias", "fc2.bias"):
            assert torch.equal(state[name], early[name])
        for tensor in tensors:
            basis = make_basis(tensor.basis, tensor.plan.view)
            expected = basis.analyse(early[tensor.plan.name]) * tensor.mask
            assert torch.allclose(tensor.coefficients, expected, atol=1e-6)
            assert torch.allclose(state[tensor.plan.name], basis.synthesise(expected), atol=1e-6)
    # The masks are those of the trained network, in equal ratios.
    kept = [int(sum(tensor.mask.sum() for tensor in started[number][1])) for number in (0, length)]
    assert kept[1] == arm_of(record)["kept_coefficients"]
    assert kept[0] == sum(round(size * (last / size) ** 0.5) for size, last in ((1536, 307), (240, 48)))
    one_shot = coded_of(file_of(run_trial(settings_of(outputs, quantize=QuantizeSettings("none"))), outputs))
    assert all(
        (started[0][1][i].mask.numpy() | (one_shot[name].symbols == 0)).all()
        for i, name in enumerate(one_shot)
        if "weight" in name
    )


@pytest.mark.integration
def test_a_larger_rate_weight_gives_a_smaller_file_and_estimates_it(outputs):
    sizes, sparsities = [], []
    for weight in (0.1, 1.0, 10.0):
        quantize = QuantizeSettings(other="quantized")
        record = run_trial(
            settings_of(outputs, retrain=replace(RATE, rate_weight=weight), threshold=ALL, quantize=quantize)
        )
        arm = arm_of(record)
        sizes.append(arm["stored_bytes"])
        sparsities.append(arm["coefficient_sparsity"])
        assert arm["retraining"]["chosen_epoch"] == 3
        assert arm["retraining"]["one_shot_validation_accuracy"] is None
        estimated = arm["retraining"]["curve"][-1]["estimated_bytes"]
        assert 0 < arm["stored_bytes"] - estimated < 120 + 0.15 * arm["stored_bytes"]
    assert sizes[0] > 1.05 * sizes[1] > 1.05 * 1.05 * sizes[2]
    assert sparsities == sorted(set(sparsities))


def test_learned_steps_per_layer_or_band_are_in_the_file(outputs):
    steps = {}
    for name, per in (("rate", 1), ("rate of all tensors, a step a band", 4)):
        coded = coded_of(file_of(run_trial(settings_of(outputs, **LOOSE[name])), outputs))
        steps[per] = coded["fc1.weight"].reconstruction.steps
        assert len(steps[per]) == (1 if per == 1 else len(coded["fc1.weight"].band_symbols()) > 1 and len(steps[per]))
    assert len(steps[1]) == 1 < len(steps[4])


def test_huffman_and_plain_files_of_a_rate_hold_the_same_symbols(outputs):
    found = [
        coded_of(file_of(run_trial(settings_of(outputs, **LOOSE["rate"], codec=CodecSettings(codec))), outputs))
        for codec in ("range", "huffman", "none")
    ]
    for other in found[1:]:
        assert all(np.array_equal(found[0][name].symbols, other[name].symbols) for name in found[0])


def test_what_has_no_effect_for_a_kind_is_not_in_the_arms_key():
    plain = {name: RetrainSettings(name) for name in ("finetune", "iterative", "gradual", "rewind", "rate")}
    parts = {
        "epochs": ({"epochs": 7}, {"finetune", "iterative", "gradual", "rate"}),
        "schedule": ({"schedule": "constant"}, {"finetune", "iterative", "gradual", "rate"}),
        "rounds": ({"rounds": 2}, {"iterative", "rewind"}),
        "ramp": ({"ramp": 0.2}, {"gradual", "rate"}),
        "rewind_epoch": ({"rewind_epoch": 2}, {"rewind"}),
        "quantize_epochs": ({"quantize_epochs": 1}, {"finetune", "iterative", "gradual", "rewind"}),
        "rate_weight": ({"rate_weight": 2.0}, {"rate"}),
        "freeze_epochs": ({"freeze_epochs": 2}, {"rate"}),
        "learning_rate": ({"learning_rate": 0.5}, set(plain)),
    }
    for change, kinds in parts.values():
        differ = {
            name
            for name, kind in plain.items()
            if effective_retraining(replace(kind, **change), QuantizeSettings())
            != effective_retraining(kind, QuantizeSettings())
        }
        assert differ == kinds
