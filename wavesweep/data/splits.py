"""Images and labels in memory, and the split into training, validation and test."""

from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

# Normalised images are kept beside the bytes when they take no more than this.
_CACHE_BYTES = 512 * 2**20


@dataclass
class Split:
    """Images as bytes, shape (count, channels, height, width), and their classes, shape (count,)."""

    images: Tensor
    labels: Tensor
    _normalised: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """The three splits of a data set; `mean` and `std` are those of each channel over the training images."""

    train: Split
    validation: Split
    test: Split
    classes: int
    mean: Tensor
    std: Tensor
    digest: str | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return tuple(self.train.images.shape[1:])

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes to float32 with mean 0 and standard deviation 1 per channel, on the images' device."""
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return images.float().sub_(mean).div_(std)

    def inputs(self, split: Split, device: torch.device) -> Tensor | None:
        """All normalised images of a split on the device, kept for the next call; None if they are too many."""
        if split.images.numel() * 4 > _CACHE_BYTES:
            return None
        if str(device) not in split._normalised:
            split._normalised[str(device)] = self.normalise(split.images.to(device))
        return split._normalised[str(device)]


def make_dataset(
    train_images: Tensor,
    train_labels: Tensor,
    test: Split,
    classes: int,
    validation_fraction: float,
    seed: int,
    digest: str | None = None,
) -> Dataset:
    """Carve the validation split out of the training images, with the same share of each class."""
    rest, validation = train_test_split(
        np.arange(len(train_labels)),
        test_size=validation_fraction,
        random_state=seed,
        stratify=train_labels.numpy(),
    )
    rest_index, validation_index = torch.from_numpy(np.sort(rest)), torch.from_numpy(np.sort(validation))
    train = Split(train_images[rest_index], train_labels[rest_index])
    mean, std = _channel_statistics(train.images)
    return Dataset(
        train,
        Split(train_images[validation_index], train_labels[validation_index]),
        test,
        classes,
        mean,
        std,
        digest,
    )


def _channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, shape (channels, 1, 1), exact for bytes."""
    histograms = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])
    values = torch.arange(256, dtype=torch.float64)
    share = histograms.double() / histograms.sum(1, keepdim=True)
    mean = share @ values
    std = (share @ values**2 - mean**2).sqrt().clamp_min(1e-6)
    return mean.float()[:, None, None], std.float()[:, None, None]
