"""Data of the user's own: what a factory may return, what becomes of it, and what is refused."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch.utils.data import Dataset, TensorDataset

from wavesweep.data.datasets import forget, load_dataset
from wavesweep.errors import SettingsError
from wavesweep.experiment.checks import check_inputs
from wavesweep.experiment.inputs import input_digests
from wavesweep.settings.schema import DatasetSettings, ModelSettings, Recipe, RetrainSettings, Settings

HERE = f"{__name__}."
CPU = torch.device("cpu")


def settings(factory, **arguments):
    chosen = DatasetSettings(name="custom", validation_fraction=0.25, target=HERE + factory, arguments=arguments)
    return Settings(dataset=chosen, progress=False)


def load(factory, **arguments):
    return load_dataset(settings(factory, **arguments))


def parts(kind="images", count=24, classes=3):
    """Pairs of tensors, each input distinct."""
    generator = torch.Generator().manual_seed(5)
    shapes = {"images": (3, 4, 5), "signals": (2, 9), "tokens": (7,), "features": (6,)}
    made = []
    for size in (count, 6):
        shape = (size, *shapes[kind])
        if kind == "images":
            inputs = torch.randint(0, 256, shape, generator=generator).byte()
        elif kind == "tokens":
            inputs = torch.randint(0, 99, shape, generator=generator)
        else:
            inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
        made.append((inputs, torch.arange(size) % classes))
    return tuple(made)


def lists(**options):
    """The same as lists of arrays and numbers."""
    return [([item.numpy() for item in inputs], labels.tolist()) for inputs, labels in parts(**options)]


class Items(Dataset):
    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.inputs[index], int(self.labels[index])


def items(**options):
    """The same as datasets that give numbers as classes."""
    return [Items(*pair) for pair in parts(**options)]


def tensor_datasets(**options):
    """The same as datasets that give tensors as classes."""
    return tuple(TensorDataset(*pair) for pair in parts(**options))


@pytest.mark.parametrize("kind", ["images", "tokens", "signals", "features"])
def test_the_splits_are_those_of_the_factory_and_training_is_parted(kind):
    dataset = load("parts", kind=kind)
    (inputs, _), (test_inputs, test_labels) = parts(kind)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (18, 6, 6)
    assert torch.bincount(dataset.validation.labels).tolist() == [2, 2, 2]
    assert (dataset.classes, dataset.input_shape) == (3, tuple(inputs.shape[1:]))
    assert torch.equal(dataset.test.images, test_inputs.to(dataset.test.images.dtype))
    assert torch.equal(dataset.test.labels, test_labels)
    both = torch.cat([dataset.train.images, dataset.validation.images]).flatten(1)
    assert sorted(both.tolist()) == sorted(inputs.to(both.dtype).flatten(1).tolist())


@pytest.mark.parametrize("factory", ["lists", "items", "tensor_datasets"])
@pytest.mark.parametrize("kind", ["images", "tokens"])
def test_lists_and_datasets_are_the_same_data(factory, kind):
    assert load(factory, kind=kind).digest == load("parts", kind=kind).digest


def test_bytes_are_normalised_and_other_inputs_are_not():
    images, tokens, signals = (load("parts", kind=kind) for kind in ("images", "tokens", "signals"))
    torch.testing.assert_close(images.inputs(images.train, CPU).mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    for dataset, dtype in ((tokens, torch.int64), (signals, torch.float32)):
        assert torch.equal(dataset.inputs(dataset.train, CPU), dataset.train.images)
        assert dataset.train.images.dtype == dtype


def test_an_example_is_zeros_or_real_tokens():
    assert torch.equal(load("parts", kind="images").example, torch.zeros(1, 3, 4, 5))
    tokens = load("parts", kind="tokens")
    assert torch.equal(tokens.example, tokens.train.images[:1])


def test_the_content_is_in_the_key():
    first, again, other = (input_digests(settings("parts", count=count)) for count in (24, 24, 27))
    assert first == again != other
    assert first["dataset"] == load("parts", count=24).digest


@pytest.mark.parametrize(
    ("recipe", "retrain", "shrink", "key"),
    [
        (Recipe(augment=True), RetrainSettings(), False, "model.recipe.augment"),
        (Recipe(), RetrainSettings(name="finetune", augment=True), False, "retrain.augment"),
        (Recipe(), RetrainSettings(), True, "shrink"),
    ],
)
def test_what_is_for_images_is_refused_for_tokens(recipe, retrain, shrink, key):
    class Workload:
        dataset, model = load("parts", kind="tokens"), torch.nn.Linear(3, 2)

    chosen = settings("parts", kind="tokens")
    chosen.model, chosen.retrain, chosen.shrink = ModelSettings(recipe=recipe), retrain, shrink
    with pytest.raises(SettingsError, match="is for images") as raised:
        check_inputs(chosen, Workload)
    assert raised.value.key == key
    Workload.dataset = load("parts", kind="images")
    check_inputs(chosen, Workload)


TOKENS, LABELS = torch.arange(24).reshape(8, 3), torch.arange(8) % 2
GOOD = (TOKENS, LABELS)
WRONG = {
    "no pair": (
        TOKENS,
        "must return (train, test) or (train, validation, test), each a pair (inputs, classes) of tensors or a Dataset",
    ),
    "one part": ((GOOD,), "must return (train, test)"),
    "no data": ((GOOD, 3), "test cannot be read as such (TypeError"),
    "ragged": ((([TOKENS[0], TOKENS[1, :2]], [0, 1]), GOOD), "train cannot be read as such (RuntimeError"),
    "words": ((([TOKENS[0]], ["cat"]), GOOD), "train cannot be read as such"),
    "too few classes": (((TOKENS, LABELS[:5]), GOOD), "must return one integer class per input"),
    "float classes": (
        ((TOKENS, LABELS.float()), GOOD),
        "one integer class per input; those of train are torch.float32",
    ),
    "no inputs": (((TOKENS[:0], LABELS[:0]), GOOD), "must return one integer class per input"),
    "one number": (((torch.tensor(1.0), torch.tensor(0)), GOOD), "must return inputs that are not empty; those of tr"),
    "no features": (((torch.zeros(8, 0), LABELS), GOOD), "must return inputs that are not empty"),
    "no pixels": (((torch.zeros(8, 1, 0, 0).byte(), LABELS), GOOD), "those of train are of shape (8, 1, 0, 0)"),
    "numbers": (((TOKENS[:, 0], LABELS), GOOD), "images as uint8 (n, channels, height, width), tokens as int64"),
    "flat bytes": (((TOKENS.byte(), LABELS), GOOD), "train is torch.uint8 of shape (8, 3)"),
    "infinity": (((TOKENS / 0, LABELS), GOOD), "must return finite numbers; train holds NaN or infinity"),
    "negative token": (((TOKENS - 1, LABELS), GOOD), "must return no negative classes or tokens; train has one"),
    "negative class": ((GOOD, (TOKENS, LABELS - 1)), "must return no negative classes or tokens; test has one"),
    "other length": ((GOOD, (TOKENS[:, :2], LABELS)), "one shape and type in train and test; they are (3,) of torch.i"),
    "other type": ((GOOD, (TOKENS.float(), LABELS)), "one shape and type in train and test"),
    "new class in test": ((GOOD, (TOKENS, LABELS + 1)), "must return classes 0, 1, ..., and each of them in train"),
    "missing class": (((TOKENS, LABELS * 2), GOOD), "must return classes 0, 1, ..., and each of them in train"),
}


def wrong(name):
    return WRONG[name][0]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_is_refused_in_one_line(name):
    with pytest.raises(SettingsError) as raised:
        load("wrong", name=name)
    text = str(raised.value)
    assert text.startswith(f"dataset.target={HERE}wrong: ")
    assert WRONG[name][1] in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "must be package.module.factory; set it to a function that returns (train, test)"),
        ("nowhere.data", "cannot be imported (No module named 'nowhere')"),
        (f"{HERE}nothing", "cannot be imported"),
        (
            f"{HERE}parts",
            "failed (TypeError: parts() got an unexpected keyword argument 'colour'); see dataset.arguments",
        ),
    ],
)
def test_a_factory_that_cannot_be_called_is_named(target, message):
    chosen = DatasetSettings(name="custom", target=target, arguments={"colour": 1})
    with pytest.raises(SettingsError) as raised:
        load_dataset(Settings(dataset=chosen))
    assert str(raised.value).startswith(f"dataset.target={target}: {message}")


def random_parts():
    """Different each time, except for the seeds."""
    numbers = [torch.rand(6, 4), torch.from_numpy(np.random.rand(6, 4)), torch.full((6, 4), random.random())]
    inputs = torch.cat([one.float() for one in numbers])
    return (inputs, torch.arange(18) % 3), (inputs[:6], torch.arange(6) % 3)


def test_random_data_are_the_same_each_time():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = load("random_parts")
    forget()
    assert load("random_parts").digest == first.digest
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert after[:2] == before[:2]
    assert torch.equal(after[2], before[2])


def test_all_seeds_share_one_call_of_the_factory(monkeypatch):
    forget()
    calls = []
    monkeypatch.setitem(globals(), "counted", lambda: calls.append(1) or parts())
    digests = {input_digests(replace(settings("counted"), seed=seed))["dataset"] for seed in range(5)}
    assert (len(digests), len(calls)) == (1, 1)


def test_trained_weights_bring_their_figures_and_are_validated_on_what_they_have_not_seen(monkeypatch):
    monkeypatch.setattr("wavesweep.data.datasets.trained_weights", lambda model: model_weights)
    model_weights = torchvision.models.ResNet18_Weights.DEFAULT
    chosen = settings("parts", count=24)
    chosen.dataset.validation_fraction = 0.5
    chosen.model = ModelSettings(name="resnet18", source="torchvision", weights="DEFAULT", recipe=Recipe(epochs=0))
    dataset = load_dataset(chosen)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (24, 3, 3)
    assert (dataset.mean.flatten() / 255).tolist() == pytest.approx([0.485, 0.456, 0.406])


def three_splits(count=24, validation=9, classes=3):
    train, test = parts("features", count, classes)
    return train, (train[0][:validation] + 1, train[1][:validation]), test


def test_three_splits_are_taken_as_they_are():
    dataset, two = load("three_splits"), load("parts", kind="features")
    train, validation, test = three_splits()
    for found, given in zip((dataset.train, dataset.validation, dataset.test), (train, validation, test), strict=True):
        assert torch.equal(found.images, given[0].float())
        assert torch.equal(found.labels, given[1])
    assert (dataset.validation_from, two.validation_from) == ("own", "train")
    assert len({dataset.digest, two.digest, load("three_splits", validation=8).digest}) == 3


def test_three_splits_must_be_alike():
    with pytest.raises(SettingsError, match=r"must return classes 0, 1, \.\.\., and each of them in train"):
        load("one_new_class")
    with pytest.raises(SettingsError, match=r"one shape and type in train, validation and test; they are \(6,\)"):
        load("one_new_shape")


def one_new_class():
    train, validation, test = three_splits()
    return train, (validation[0], validation[1] + 1), test


def one_new_shape():
    train, validation, test = three_splits()
    return train, (validation[0][:, :5], validation[1]), test


def test_one_class_is_refused():
    with pytest.raises(SettingsError, match=r"^dataset\.target=.*parts: must have at least two classes; there is one"):
        load("parts", classes=1)
