"""Quality against scikit-learn, and evaluation of networks."""

import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support
from torch import nn

from wavesweep.data import splits
from wavesweep.data.splits import Dataset, Parts, Split, make_dataset
from wavesweep.errors import TrialError
from wavesweep.measure.quality import evaluate, forward, quality_of

CPU = torch.device("cpu")


def assert_as_sklearn(quality, logits, labels, classes):
    predicted, labels = logits.argmax(1).numpy(), labels.numpy()
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    shares = logits.double().softmax(1).numpy()
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "loss": log_loss(labels, shares, labels=np.arange(classes)),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    assert asdict(quality) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(classes=st.integers(2, 6), count=st.integers(1, 40), seed=st.integers(0, 1000), data=st.data())
def test_quality_is_that_of_scikit_learn(classes, count, seed, data):
    # Few labels, so that classes often occur in neither, or in only one, of labels and predictions.
    present = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes))
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.choice(present, count))
    logits = torch.from_numpy(rng.standard_normal((count, classes)))
    logits[:, rng.integers(classes)] -= 15 * rng.integers(2)  # a class that is never predicted
    logits[:, rng.integers(classes)] -= 10
    assert_as_sklearn(quality_of(logits, labels, classes), logits, labels, classes)


def test_classes_that_never_occur():
    logits = torch.tensor([[5.0, 0, 0, 0], [5, 0, 0, 0], [0, 5, 0, 0], [0, 5, 0, 0]])
    labels = torch.tensor([0, 0, 1, 2])  # class 2 is never predicted, class 3 is nowhere
    quality = quality_of(logits, labels, 4)
    assert quality.accuracy == 0.75
    assert quality.precision == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert quality.recall == pytest.approx((1 + 1 + 0) / 3)
    assert quality.f1 == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert_as_sklearn(quality, logits, labels, 4)


def test_loss_is_the_mean_cross_entropy():
    quality = quality_of(torch.zeros(3, 4), torch.tensor([0, 1, 2]), 4)
    assert quality.loss == pytest.approx(math.log(4))


def dataset_of(count=200):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 3, 3), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 4
    return make_dataset(Parts(Split(images, labels), Split(images[:20], labels[:20]), 4), 0.25, seed=0)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(9, 4))


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
@pytest.mark.parametrize("batch_values", [9 * 7, 1 << 20])
def test_evaluation_is_the_quality_of_the_logits(monkeypatch, cache_bytes, batch_values):
    monkeypatch.setattr("wavesweep.data.splits._CACHE_BYTES", cache_bytes)
    monkeypatch.setattr("wavesweep.measure.quality._BATCH_VALUES", batch_values)
    dataset, model = dataset_of(), network()
    images = (dataset.validation.images.float() - dataset.mean) / dataset.std
    with torch.inference_mode():
        logits = model[2](images.flatten(1))
    expected = asdict(quality_of(logits, dataset.validation.labels, 4))
    assert len(dataset.validation) == 50
    assert evaluate(model, dataset, dataset.validation, "validation", CPU) == pytest.approx(expected, abs=1e-6)


def test_a_loss_that_is_not_finite_names_the_split():
    model = network()
    nn.init.constant_(model[2].weight, float("nan"))
    dataset = dataset_of()
    with pytest.raises(TrialError, match="the validation loss is nan"):
        evaluate(model, dataset, dataset.validation, "validation", CPU)


class Unusual(nn.Module):
    """Changes its inputs, and has random numbers in evaluation."""

    def forward(self, images):
        images -= 0.5
        return nn.functional.dropout(images.flatten(1), 0.5)


@pytest.mark.parametrize("kept", [True, False])
def test_a_split_is_the_same_after_any_network_and_so_is_what_is_measured(monkeypatch, kept):
    if not kept:
        monkeypatch.setattr(splits, "_CACHE_BYTES", 0)
    images = torch.rand(30, 1, 1, 4, generator=torch.Generator().manual_seed(0))
    split = Split(images.clone(), torch.arange(30) % 4)
    dataset = Dataset(split, split, split, 4, torch.zeros(()), torch.ones(()))
    torch.manual_seed(1)
    random_state = torch.get_rng_state()
    first, second = (forward(Unusual(), dataset, split, torch.device("cpu")) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(split.images, images)
    assert torch.equal(torch.get_rng_state(), random_state)
