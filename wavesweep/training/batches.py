"""The batches of an epoch: their order and augmentation follow from the seed and the epoch alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from wavesweep.data.examples import Examples, count_of
from wavesweep.data.splits import AnySplit, Dataset, Split, StoredImages
from wavesweep.runtime.seeding import reseed
from wavesweep.settings.schema import Recipe

_CROP_PADDING = 4


@dataclass(frozen=True)
class Batch:
    """Images (not normalised yet) and labels of one step, their positions in the split, and the share of the epoch that
    lies before it."""

    images: Tensor
    labels: Tensor
    index: Tensor
    share: float

    @property
    def count(self) -> int:
        """How many examples it has."""
        return len(self.labels)

    def content(self, dataset: Dataset) -> Any:
        """What the task gets: normalised images and their labels."""
        return dataset.normalise(self.images), self.labels


@dataclass(frozen=True)
class StructuredBatch:
    """A batch of examples of any structure, on the device of the training."""

    examples: Any
    share: float

    @property
    def count(self) -> int:
        """How many examples it has."""
        return count_of(self.examples)

    def content(self, _dataset: Dataset) -> Any:
        """What the task gets."""
        return self.examples


AnyBatch = Batch | StructuredBatch


class TrainingBatches:
    """The batches of the training split, epoch by epoch; tensors that fit lie on the device."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        self._dataset, self._device, split = dataset, device, dataset.train
        self._split: AnySplit = split
        self._images: Tensor | StoredImages | None = None
        self._labels = torch.zeros(0)
        if isinstance(split, Split):
            self._images, self._labels = to_device_if_fits(split.images, device), split.labels.to(device)

    def of_epoch(self, recipe: Recipe, seed: int, epoch: int) -> Iterator[AnyBatch]:
        """Those of one epoch, in an order that follows from the seed and the epoch alone."""
        if self._images is not None:
            yield from epoch_batches(self._images, self._labels, recipe, seed, epoch)
            return
        assert isinstance(self._split, Examples)
        order = _order(len(self._split), seed, epoch)[0]
        done, total = 0, len(self._split)
        for examples in self._split.batches(recipe.batch_size, order, _epoch_seed(seed, epoch)):
            count = count_of(examples)
            if not count == 1 < min(recipe.batch_size, total):  # as below
                yield StructuredBatch(self._dataset.on_device(examples, self._device), done / total)
            done += count


def to_device_if_fits(images: Tensor | StoredImages, device: torch.device) -> Tensor | StoredImages:
    """The images of a split on the device, if they leave half of a GPU's free memory to the training; otherwise where
    they are, and each batch is moved."""
    if device.type == "cuda" and isinstance(images, Tensor) and images.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return images
    return images.to(device)


def epoch_batches(
    images: Tensor | StoredImages, labels: Tensor, recipe: Recipe, seed: int, epoch: int
) -> Iterator[Batch]:
    """The batches of one epoch, in an order and with augmentations that follow from the seed and the epoch alone."""
    order, generator = _order(len(labels), seed, epoch)
    # Moved at once: each copy to a GPU waits for what it still has to do.
    order_of = {device: order.to(device) for device in {images.device, labels.device}}
    for start in range(0, len(order), recipe.batch_size):
        part = slice(start, start + recipe.batch_size)
        index = order_of[labels.device][part]
        if len(index) == 1 < min(recipe.batch_size, len(order)):
            continue  # a rest of one image, on which batch normalisation cannot train
        chosen = images[order_of[images.device][part]].to(labels.device)
        if recipe.augment:
            chosen = augmented(chosen, generator)
        yield Batch(chosen, labels[index], index, start / len(order))


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


def _order(count: int, seed: int, epoch: int) -> tuple[Tensor, torch.Generator]:
    """The order of an epoch, and the generator of what follows; random numbers of networks begin with it as well."""
    generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
    reseed(_epoch_seed(seed, epoch))  # dropout and the like of a user's own model
    return torch.randperm(count, generator=generator), generator


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop after padding by 4 pixels of zero, and random horizontal flip; shape (n, c, h, w)."""
    count, _, height, width = images.shape
    padded = F.pad(images, (_CROP_PADDING,) * 4)
    shifts = torch.randint(0, 2 * _CROP_PADDING + 1, (2, count), generator=generator).to(images.device)
    flips = torch.rand(count, generator=generator).to(images.device) < 0.5
    rows = shifts[0, :, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = shifts[1, :, None] + torch.where(flips[:, None], columns.flip(1), columns)
    batch = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
