"""What a reader must know about the images that a trial is trained on, chosen by and reported on."""

from typing import Any

from wavesweep.data.splits import Dataset
from wavesweep.models.pretrained import trained_weights
from wavesweep.settings.effective import NO_EFFECT
from wavesweep.settings.schema import DatasetSettings, Settings

# How to give validation images that were not trained on, where one can.
_REMEDIES = {
    "image_folder": "; give val/ beside train/ and test/ for validation",
    "custom": "; return (train, validation, test) from dataset.target",
}


def splits_record(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    """How many images each split has, where those for validation come from, and whether they may be known."""
    return {
        "train": len(dataset.train),
        "validation": len(dataset.validation),
        "test": len(dataset.test),
        "validation_from": dataset.validation_from,
        "validation_may_be_trained_on": may_be_trained_on(settings, dataset),
    }


def may_be_trained_on(settings: Settings, dataset: Dataset) -> bool:
    """Whether the network comes trained, and validation is a part of what it may have been trained on."""
    model = settings.model
    if dataset.validation_from != "train":
        return False
    if model.weights is not None:  # of ImageNet, which a folder of as many classes may be
        return dataset.classes == len(trained_weights(model).meta["categories"])
    return model.checkpoint is not None or not model.recipe.epochs


def split_notes(settings: Settings, dataset: Dataset) -> list[str]:
    """Notes about the splits."""
    chosen, notes = settings.dataset, list(dataset.notes)
    fraction = chosen.validation_fraction
    if dataset.validation_from == "own" and fraction != DatasetSettings().validation_fraction:
        notes.append(
            f"dataset.validation_fraction: {fraction!r} {NO_EFFECT}; the data set has validation images of its own"
        )
    if may_be_trained_on(settings, dataset):
        names = {"checkpoint": settings.model.checkpoint, "weights": settings.model.weights}
        what = next((f"model.{name}" for name, value in names.items() if value is not None), "the network")
        notes.append(
            f"dataset: validation is {100 * fraction:g} % of the training images, on which {what} may have been "
            f"trained, so the points lost on it may be too few: see those on test{_REMEDIES.get(chosen.name, '')}"
        )
    return notes
