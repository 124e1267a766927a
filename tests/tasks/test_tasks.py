"""The tasks: metrics against scikit-learn and formulas, however they are cut into batches; batches of any structure."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    jaccard_score,
    mean_absolute_error,
    precision_score,
    r2_score,
    recall_score,
    root_mean_squared_error,
)
from torch import nn

from wavesweep.errors import SettingsError
from wavesweep.settings.schema import TaskSettings
from wavesweep.tasks import Inputs, Metric, Task, mean_metric
from wavesweep.tasks.load import load_task
from wavesweep.tasks.usual import CLASSIFICATION, Classification, LanguageModel, Regression, Segmentation

RNG = np.random.default_rng(0)


def measured(task, predictions, targets, size):
    """The metrics of a task over batches of that size."""
    found = {}
    for metric in task.metrics:
        state = None
        for batch in zip(torch.split(predictions, size), torch.split(targets, size), strict=True):
            state = metric.update(state, *batch)
        found[metric.name] = metric.result(state)
    return found


@pytest.mark.parametrize("size", [40, 7])
def test_metrics_of_classification_are_those_of_scikit_learn(size):
    logits, labels = torch.from_numpy(RNG.standard_normal((40, 4))), torch.from_numpy(RNG.integers(0, 3, 40))
    predicted, macro = logits.argmax(1), {"average": "macro", "zero_division": 0}
    assert measured(CLASSIFICATION, logits, labels, size) == pytest.approx(
        {
            "accuracy": accuracy_score(labels, predicted),
            "precision": precision_score(labels, predicted, **macro),
            "recall": recall_score(labels, predicted, **macro),
            "f1": f1_score(labels, predicted, **macro),
        }
    )


@pytest.mark.parametrize("size", [40, 7])
@pytest.mark.parametrize("numbers", [1, 3])
def test_metrics_of_regression_are_those_of_scikit_learn(size, numbers):
    found, wanted = (torch.from_numpy(RNG.standard_normal((40, numbers)) + 50).float() for _ in range(2))
    expected = {
        "r2": r2_score(wanted, found),
        "rmse": root_mean_squared_error(wanted.flatten(), found.flatten()),
        "mae": mean_absolute_error(wanted, found),
    }
    assert measured(Regression(), found, wanted, size) == pytest.approx(expected, rel=1e-4)
    flat = measured(Regression(), found, wanted.squeeze(1), size) if numbers == 1 else expected
    assert flat == pytest.approx(expected, rel=1e-4)


def test_predictions_are_never_broadcast_to_targets():
    with pytest.raises(ValueError, match=r"predictions of shape \(8, 8\) for targets of \(8,\)"):
        Regression().loss(torch.zeros(8, 8), torch.zeros(8))


@pytest.mark.parametrize("size", [6, 4])
def test_metrics_of_segmentation_are_those_of_scikit_learn(size):
    logits, targets = (
        torch.from_numpy(RNG.standard_normal((6, 3, 5, 5))),
        torch.from_numpy(RNG.integers(0, 3, (6, 5, 5))),
    )
    targets[0] = 7  # ignored
    seen = targets != 7
    wanted, predicted = targets[seen], logits.argmax(1)[seen]
    assert measured(Segmentation(ignore=7), logits, targets, size) == pytest.approx(
        {
            "mean_iou": jaccard_score(wanted, predicted, average="macro"),
            "pixel_accuracy": accuracy_score(wanted, predicted),
        }
    )
    entropy = F.cross_entropy(logits.movedim(1, -1)[seen], wanted)
    assert float(Segmentation(ignore=7).loss(logits, targets)) == pytest.approx(float(entropy))


@pytest.mark.parametrize("size", [6, 4])
def test_bits_per_token_are_the_cross_entropy_of_the_tokens_that_count(size):
    logits, tokens = torch.from_numpy(RNG.standard_normal((6, 5, 9))), torch.from_numpy(RNG.integers(0, 9, (6, 5)))
    tokens[:, 3:] = -100
    found = measured(LanguageModel("character"), logits, tokens, size)
    nats = F.cross_entropy(logits[:, :3].flatten(0, 1), tokens[:, :3].flatten())
    assert found["bits_per_character"] == pytest.approx(float(nats) / math.log(2), rel=1e-5)
    assert found["accuracy"] == pytest.approx(
        accuracy_score(tokens[:, :3].flatten(), logits[:, :3].argmax(-1).flatten())
    )
    assert LanguageModel("character").primary_metric.maximize is False


def test_a_language_model_predicts_the_token_that_follows():
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 0]])
    inputs, targets = LanguageModel().split(tokens)
    assert inputs.only.tolist() == [[1, 2, 3], [5, 6, 7]]
    assert targets.tolist() == [[2, 3, 4], [6, 7, 0]]
    inputs, targets = LanguageModel().split({"input_ids": tokens, "attention_mask": (tokens > 0).long()})
    assert set(inputs.kwargs) == {"input_ids", "attention_mask"}
    assert targets.tolist() == [[2, 3, 4, -100], [6, 7, -100, -100]]


def test_batches_are_split_by_their_structure():
    one, two, three = torch.zeros(2), torch.ones(2), torch.full((2,), 2.0)
    task = Regression()
    inputs, targets = task.split((one, two, three))
    assert inputs.args == (one, two)
    assert targets is three
    inputs, targets = task.split({"image": one, "label": two, "age": three})
    assert (dict(inputs.kwargs), targets) == ({"image": one, "age": three}, two)
    inputs, targets = task.split(one)
    assert (inputs.only, targets) == (one, one)
    for wrong, message in (({"a": one}, "none of labels, label"), ((one,), "1 parts")):
        with pytest.raises(ValueError, match=message):
            task.split(wrong)


def test_inputs_call_a_network_with_all_their_arguments():
    class Network(nn.Module):
        def forward(self, one, *, other):
            return one - other

    given = Inputs((torch.ones(2),), {"other": torch.full((2,), 3.0)})
    assert given.changed(lambda tensor: 2 * tensor).call(Network()).tolist() == [-4.0, -4.0]
    assert given.only is None


class Own(Task):
    """A task of a user's own."""

    def __init__(self, **kwargs):
        self.metrics = (mean_metric("error", lambda f, w: (f - w).abs(), "mm", maximize=False),)
        for name, value in kwargs.items():
            setattr(self, name, value)

    def loss(self, predictions, targets):
        return (predictions - targets).abs().mean()


class Lossless(Task):
    """A task without a loss."""

    metrics = (mean_metric("error", lambda f, w: f - w),)


def own(**arguments):
    return load_task(TaskSettings("custom", f"{__name__}.Own", arguments))


def test_a_task_of_ones_own_is_loaded_by_its_name():
    described = own().primary_metric.described()
    assert described == {"name": "custom", "primary": "error", "unit": "mm", "direction": "lower"}


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        (f"{__name__}.Own", {"metrics": []}, "must have metrics"),
        (
            f"{__name__}.Own",
            {"primary": "other"},
            "has the primary metric other, which is none of its metrics; use error",
        ),
        (f"{__name__}.Lossless", {}, "must have a loss"),
        ("torch.nn.Identity", {}, "must return a wavesweep.tasks.Task, returned Identity"),
        ("nowhere.Task", {}, "cannot be imported"),
    ],
)
def test_what_is_no_task_is_refused_in_a_line(target, arguments, message):
    with pytest.raises(SettingsError, match=message) as raised:
        load_task(TaskSettings("custom", target, arguments))
    assert str(raised.value).startswith(f"task.target={target}: ")
    assert "\n" not in str(raised.value)


def test_wrong_arguments_of_a_task_are_refused():
    with pytest.raises(SettingsError, match=r"^task\.arguments=.*unexpected keyword argument 'ignored'"):
        load_task(TaskSettings("segmentation", None, {"ignored": 3}))


def test_metrics_are_frozen_and_classification_is_one():
    with pytest.raises(AttributeError):
        Classification().metrics[0].name = "other"
    assert isinstance(Classification().metrics[0], Metric)
    assert CLASSIFICATION.primary_metric.is_accuracy
