"""Trials of other tasks than classification, from settings to the record: in this process, and small."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from wavesweep.errors import SettingsError
from wavesweep.experiment.trial import objective, run_trial
from wavesweep.settings.schema import (
    DatasetSettings,
    MethodSettings,
    ModelSettings,
    PathsSettings,
    QuantizeSettings,
    Recipe,
    RetrainSettings,
    Settings,
    TaskSettings,
    ThresholdSettings,
)
from wavesweep.sweep.table import table_rows
from wavesweep.tasks import Task, mean_metric

HERE = __name__


def settings_of(tmp_path, task, data, model, **more):
    name, target = (task, None) if "." not in task else ("custom", task)
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.01)
    parts = {
        "model": ModelSettings("custom", target=f"{HERE}.{model}", recipe=recipe),
        "dataset": DatasetSettings("custom", target=f"{HERE}.{data}"),
        "task": TaskSettings(name, target),
        "method": MethodSettings("magnitude"),
        "threshold": ThresholdSettings(percentile=30.0),
        "compare": [],
        "paths": PathsSettings(str(tmp_path)),
        "device": "cpu",
        "progress": False,
    }
    return Settings(**{**parts, **more})


def line():
    inputs = np.random.default_rng(0).standard_normal((60, 4))
    return (inputs[:40], inputs[:40].sum(1)), (inputs[40:], inputs[40:].sum(1))


def sum_network():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def wide_network():
    return nn.Linear(4, 3)


def sentences():
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 5, (60, 7)))
    return tokens[:40], tokens[40:]


def token_network():
    return nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))


def two_inputs():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 60, 4)).astype(np.float32)
    data = {"left": left, "right": right, "target": (left * right).sum(1)}
    return tuple({name: value[part] for name, value in data.items()} for part in (slice(40), slice(40, 60)))


class TwoInputs(nn.Module):
    """A network of two inputs that returns a mapping."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, *, left, right):
        hidden = self.left(left) * self.right(right)
        return {"prediction": self.out(hidden), "hidden": hidden}


class Worst(Task):
    """A task whose one metric is an error in millimetres."""

    metrics = (mean_metric("error", lambda f, w: (f.squeeze(1) - w).abs(), "mm", maximize=False),)

    def loss(self, predictions, targets):
        return (predictions.squeeze(1) - targets).abs().mean()


FINETUNE = {"retrain": RetrainSettings("finetune", epochs=2, quantize_epochs=1)}


@pytest.mark.parametrize(
    ("task", "data", "model", "metrics"),
    [
        ("regression", "line", "sum_network", {"r2", "rmse", "mae", "loss"}),
        ("language_model", "sentences", "token_network", {"bits_per_token", "accuracy", "loss"}),
        ("regression", "two_inputs", "TwoInputs", {"r2", "rmse", "mae", "loss"}),
        (f"{HERE}.Worst", "line", "sum_network", {"error", "loss"}),
    ],
)
def test_a_trial_of_another_task_is_trained_retrained_measured_and_recorded(tmp_path, task, data, model, metrics):
    record = run_trial(settings_of(tmp_path, task, data, model, **FINETUNE))
    main, described = record["arms"][0], record["task"]
    assert set(main["validation"]) == set(main["test"]) == set(record["baseline"]["test"]) == metrics
    assert described["primary"] in metrics
    sign = 1 if described["direction"] == "higher" else -1
    assert objective(record) == sign * main["validation"][described["primary"]]
    assert f"validation_{described['primary']}" in main["retraining"]["curve"][0]
    drop = main["drop"]["test"]  # by resampling the examples
    before, after = (part["test"][described["primary"]] for part in (record["baseline"], main))
    assert drop["lost"] == pytest.approx(sign * (before - after))
    assert drop["low"] <= drop["high"]
    assert drop["examples"] == 20
    (row,) = table_rows([({}, record)])
    assert {f"{split} {described['primary']} {described['unit']}".strip() for split in ("validation", "test")} <= set(
        row
    )
    assert run_trial(settings_of(tmp_path, task, data, model, **FINETUNE)) == record  # read, not computed


def test_importance_is_estimated_for_networks_of_several_inputs(tmp_path):
    rdo = QuantizeSettings(step=0.01, rate_weight=0.1, importance="second_order", images=30)
    record = run_trial(settings_of(tmp_path, "regression", "two_inputs", "TwoInputs", quantize=rdo))
    assert record["arms"][0]["stored_bytes"] > 0
    assert abs(record["arms"][0]["test"]["r2"] - record["baseline"]["test"]["r2"]) < 0.2


def test_without_the_examples_of_the_baseline_there_is_no_interval(tmp_path):
    settings = settings_of(tmp_path, "regression", "line", "sum_network")
    run_trial(settings)
    (file,) = tmp_path.glob("baselines/*/statistics.npz")
    file.write_bytes(file.read_bytes()[:100])
    (main,) = run_trial(replace(settings, threshold=ThresholdSettings(percentile=60.0)))["arms"]
    assert "drop" not in main


@pytest.mark.parametrize(("max_drop", "drop_in"), [(0.05, "units"), (5.0, "percent")])
def test_a_drop_of_quantisation_is_one_of_the_primary_metric(tmp_path, max_drop, drop_in):
    quantize = QuantizeSettings(max_drop=max_drop, max_drop_in=drop_in)
    more = {"quantize": quantize, "threshold": ThresholdSettings(percentile=0.0)}
    record = run_trial(settings_of(tmp_path, "language_model", "sentences", "token_network", **more))
    before, after = (part["validation"]["bits_per_token"] for part in (record["baseline"], record["arms"][0]))
    assert after - before <= (0.05 if drop_in == "units" else 0.05 * before) + 1e-6
    assert record["arms"][0]["step_scale"] > 1  # coarser than eight bits


@pytest.mark.parametrize(
    ("task", "data", "model", "message"),
    [
        ("regression", "line", "wide_network", r"^model=custom: cannot be measured by task=regression: predictions of"),
        ("regression", "line", "token_network", r"^model=custom: does not accept inputs of shape \(4,\)"),
        ("segmentation", "line", "sum_network", r"^model=custom: cannot be measured by task=segmentation"),
    ],
)
def test_a_network_that_does_not_fit_the_task_is_refused_before_training(tmp_path, task, data, model, message):
    with pytest.raises(SettingsError, match=message) as raised:
        run_trial(settings_of(tmp_path, task, data, model))
    assert "\n" not in str(raised.value)
