"""What records say of their splits: whether validation may be known to a network that comes trained."""

import pytest
import torch

from wavesweep.data.splits import Dataset, Split
from wavesweep.experiment.splits import may_be_trained_on, split_notes, splits_record
from wavesweep.settings.schema import DatasetSettings, ModelSettings, Recipe, Settings

HERE = "wavesweep.experiment.splits"
TRAINED, UNTRAINED = Recipe(epochs=3), Recipe(epochs=0)


def split(count):
    return Split(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.arange(count) % 2)


def dataset(validation_from="train", classes=2, notes=()):
    numbers = torch.zeros(()), torch.ones(())
    return Dataset(split(8), split(4), split(6), classes, *numbers, None, validation_from, notes)


CASES = {
    "trained here": (ModelSettings(recipe=TRAINED), "train", False),
    "a checkpoint": (ModelSettings(checkpoint="m.pt", recipe=UNTRAINED), "train", True),
    "a checkpoint that is trained on": (ModelSettings(checkpoint="m.pt", recipe=TRAINED), "train", True),
    "trained by its factory": (ModelSettings(name="custom", target="a.b", recipe=UNTRAINED), "train", True),
    "a checkpoint and images of its own": (ModelSettings(checkpoint="m.pt", recipe=UNTRAINED), "own", False),
    "a checkpoint and a part of test": (ModelSettings(checkpoint="m.pt", recipe=UNTRAINED), "test", False),
}


@pytest.mark.parametrize(("model", "taken_from", "expected"), CASES.values(), ids=CASES)
def test_validation_may_be_known_to_a_network_that_comes_trained(model, taken_from, expected):
    settings = Settings(model=model)
    assert may_be_trained_on(settings, dataset(taken_from)) is expected
    assert bool(split_notes(settings, dataset(taken_from))) is expected
    assert splits_record(settings, dataset(taken_from)) == {
        "train": 8,
        "validation": 4,
        "test": 6,
        "validation_from": taken_from,
        "validation_may_be_trained_on": expected,
    }


@pytest.mark.parametrize("classes", [1000, 17])
def test_a_folder_of_other_classes_than_the_weights_is_not_what_they_were_trained_on(monkeypatch, classes):
    weights = type("Weights", (), {"meta": {"categories": ["x"] * 1000}})
    monkeypatch.setattr(f"{HERE}.trained_weights", lambda _: weights)
    model = ModelSettings(name="resnet18", source="torchvision", weights="DEFAULT", recipe=TRAINED)
    assert may_be_trained_on(Settings(model=model), dataset(classes=classes)) is (classes == 1000)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("image_folder", "; give val/ beside train/ and test/ for validation"),
        ("custom", "; return (train, validation, test) from dataset.target"),
        ("mnist", "see those on test"),
    ],
)
def test_the_note_names_the_remedy_of_its_data_set(name, remedy):
    settings = Settings(model=CASES["a checkpoint"][0], dataset=DatasetSettings(name=name, validation_fraction=0.2))
    (note,) = split_notes(settings, dataset())
    assert note.startswith(
        "dataset: validation is 20 % of the training images, on which model.checkpoint may have been"
    )
    assert note.endswith(remedy)


def test_the_fraction_has_no_effect_where_validation_images_are_given():
    settings = Settings(dataset=DatasetSettings(validation_fraction=0.2))
    (note,) = split_notes(settings, dataset("own"))
    assert note.startswith("dataset.validation_fraction: 0.2 has no effect; ")
    assert split_notes(Settings(), dataset("own")) == []
    assert split_notes(settings, dataset()) == []


def test_notes_of_the_data_are_kept():
    assert split_notes(Settings(), dataset(notes=("dataset.path: x",))) == ["dataset.path: x"]
