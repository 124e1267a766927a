"""Inputs and labels, and the split into training, validation and test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from wavesweep.data.examples import Examples
from wavesweep.tasks.task import Inputs, Task, map_tensors
from wavesweep.tasks.usual import CLASSIFICATION

# Normalised images are kept beside the bytes when they take no more than this.
_CACHE_BYTES = 512 * 2**20
# Images whose values are counted at once.
_COUNTED = 4096


class StoredImages:
    """Images that stay on disk: of what is a tensor otherwise, the rows that are asked for.

    `opened` gives all of them as a memory map, and is called when the first ones are needed.
    """

    device = torch.device("cpu")
    dtype = torch.uint8

    def __init__(self, opened: Callable[[], Tensor], shape: Sequence[int], rows: Tensor | None = None) -> None:
        self._opened = opened
        self._rows = torch.arange(shape[0]) if rows is None else rows
        self.shape = torch.Size((len(self._rows), *shape[1:]))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        return self._opened()[self._rows[index]]

    def part(self, index: Tensor) -> "StoredImages":
        """Those with these numbers, still on disk."""
        return StoredImages(self._opened, self.shape, self._rows[index])

    def to(self, _device: torch.device) -> "StoredImages":
        """Themselves: batches are moved when they are read."""
        return self


@dataclass
class Split:
    """Inputs, shape (count, ...), and their classes, shape (count,), or what else the task aims at, shape (count, ...).

    Images are bytes, shape (count, channels, height, width); tokens int64, shape (count, length); other inputs floats.
    """

    images: Tensor | StoredImages
    labels: Tensor
    _normalised: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, index: Tensor) -> "Split":
        """The inputs with these numbers, and their classes."""
        images = self.images.part(index) if isinstance(self.images, StoredImages) else self.images[index]
        return Split(images, self.labels[index])

    def head(self, most: int) -> "Split":
        """The first `most` inputs; evenly spaced ones where they come class by class, as those of a folder do."""
        has_classes = self.labels.dim() == 1 and not self.labels.is_floating_point()
        comes_by_class = has_classes and len(self) > 1 and bool((self.labels.diff() >= 0).all())
        return self.evenly_spaced(most) if comes_by_class else self.part(torch.arange(min(most, len(self))))

    def evenly_spaced(self, most: int) -> "Split":
        """At most so many inputs, evenly spaced."""
        count = min(most, len(self))
        return self if count == len(self) else self.part(torch.arange(count) * len(self) // max(count, 1))


AnySplit = Split | Examples


@dataclass(frozen=True)
class Parts:
    """A data set as its source gives it.

    Attributes:
        train: what is trained on; None where nothing is, and there is none.
        test: what is reported.
        classes: their number; of tasks without classes that of the numbers to predict, 0 where it is not known.
        digest: what stands for the content in keys.
        validation: what choices are made by; None where it is to be taken from one of the others.
        notes: what a reader must know about it.
    """

    train: "AnySplit | None"
    test: "AnySplit"
    classes: int
    digest: str | None = None
    validation: "AnySplit | None" = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """The three splits of a data set; images are normalised by `mean` and `std`, in bytes, of each channel.

    `validation_from` is what the validation split was taken from, `train` or `test`; `own` where it came by itself.
    `notes` are what a reader must know about the data. `task` says what a network is to make of it.
    """

    train: AnySplit
    validation: AnySplit
    test: AnySplit
    classes: int
    mean: Tensor
    std: Tensor
    digest: str | None = None
    validation_from: str = "train"
    notes: tuple[str, ...] = ()
    task: Task = CLASSIFICATION

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image, or the shape of another input; empty where a network takes several."""
        if self._has_plain_inputs and isinstance(self.train, Split):
            return tuple(self.train.images.shape[1:])
        only = self.inputs_of(1).only
        return () if only is None else tuple(only.shape[1:])

    @property
    def has_tokens(self) -> bool:
        """Whether inputs are indices into a vocabulary."""
        if self._has_plain_inputs and isinstance(self.train, Split):
            return self.train.images.dtype == torch.int64
        return any(tensor.dtype == torch.int64 for tensor in self.inputs_of(1).tensors)

    @property
    def calibration(self) -> AnySplit:
        """Inputs for estimates that need no labels: of training where there are any, or else of validation."""
        return self.train if len(self.train) else self.validation

    @property
    def example(self) -> Tensor | Inputs:
        """One input as the network gets it, shape (1, ...): zeros, but real tokens, as some (padding) are special.

        Of other tasks than classification a real one, and all of them where the network takes several.
        """
        if self._has_plain_inputs and isinstance(self.calibration, Split):
            return self.calibration.images[:1].clone() if self.has_tokens else torch.zeros(1, *self.input_shape)
        given = self.inputs_of(1)
        return given if given.only is None else given.only

    @property
    def _has_plain_inputs(self) -> bool:
        """Whether the network takes the inputs of the splits as they are."""
        return self.task is CLASSIFICATION and isinstance(self.train, Split)

    def first(self, count: int) -> Any:
        """A batch of the first examples for calibration, as the task gets it."""
        split = self.calibration
        if isinstance(split, Split):
            return self.normalise(split.images[:count].clone()), split.labels[:count]
        return split.head(count).content()

    def inputs_of(self, count: int) -> Inputs:
        """The inputs of that batch, copied."""
        return self.task.split(self.first(count))[0].changed(Tensor.clone)

    def on_device(self, batch: Any, device: torch.device) -> Any:
        """A batch of a split of examples on the device."""
        return map_tensors(lambda tensor: tensor.to(device), batch)

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes to float32 with mean 0 and standard deviation 1 per channel, on their device; others as they are."""
        if images.dtype != torch.uint8:
            return images.float() if images.is_floating_point() else images
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return images.float().sub_(mean).div_(std)

    def inputs(self, split: Split, device: torch.device) -> Tensor | None:
        """All normalised images of a split on the device, kept for the next call; None if they are too many."""
        if prod(split.images.shape) * 4 > _CACHE_BYTES:
            return None
        if str(device) not in split._normalised:
            split._normalised[str(device)] = self.normalise(split.images[:].to(device))
        return split._normalised[str(device)]


def make_dataset(
    parts: Parts,
    validation_fraction: float,
    seed: int,
    statistics: tuple[Tensor, Tensor] | None = None,
    validates_on_test: bool = False,
    task: Task = CLASSIFICATION,
) -> Dataset:
    """The three splits; validation is carved out of the training images, with the same share of each class.

    Args:
        parts: what the data set has; one without training images has an empty training split. Where it has validation
            images of its own, nothing is carved.
        validation_fraction: share of what validation is taken from.
        seed: of that choice.
        statistics: mean and standard deviation to normalise by; those of the training images by default.
        validates_on_test: carve it out of `test`, which keeps the rest; training keeps all of its images.
        task: what the data is for; of other tasks than classification the share is one of all examples.
    """
    by_class = task is CLASSIFICATION
    train, test = parts.train or parts.test.part(torch.arange(0)), parts.test
    validation: AnySplit
    if parts.validation is not None:
        validation, taken_from = parts.validation, "own"
    elif validates_on_test:
        (test, validation), taken_from = _carved(test, validation_fraction, seed, by_class), "test"
    else:
        (train, validation), taken_from = _carved(train, validation_fraction, seed, by_class), "train"
    unknown = torch.zeros(()), torch.ones(())
    found = Dataset(train, validation, test, parts.classes, *unknown, parts.digest, taken_from, parts.notes, task)
    of_channels = found.calibration
    if statistics is None and isinstance(of_channels, Split) and of_channels.images.dtype == torch.uint8:
        statistics = _channel_statistics(of_channels.images)
    return found if statistics is None else replace(found, mean=statistics[0], std=statistics[1])


def _carved(split: AnySplit, fraction: float, seed: int, by_class: bool) -> tuple[AnySplit, AnySplit]:
    """The rest of a split, and that share of it."""
    classes = split.labels.numpy() if by_class and isinstance(split, Split) else None
    rest, chosen = train_test_split(np.arange(len(split)), test_size=fraction, random_state=seed, stratify=classes)
    return split.part(torch.from_numpy(np.sort(rest))), split.part(torch.from_numpy(np.sort(chosen)))


def _channel_statistics(images: Tensor | StoredImages) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, shape (channels, 1, 1), exact for bytes."""
    histograms = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for start in range(0, len(images), _COUNTED):
        for histogram, channel in zip(histograms, images[start : start + _COUNTED].unbind(1), strict=True):
            histogram += torch.bincount(channel.flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64)
    share = histograms.double() / histograms.sum(1, keepdim=True)
    mean = share @ values
    std = (share @ values**2 - mean**2).sqrt().clamp_min(1e-6)
    return mean.float()[:, None, None], std.float()[:, None, None]
