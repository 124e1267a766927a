"""The data sets by name. Each is read once per process; the network is used only where no copy exists."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from wavesweep.config import Settings
from wavesweep.data.folder import folder_dataset
from wavesweep.data.splits import Dataset, Split, make_dataset
from wavesweep.errors import SettingsError

# The share of scikit-learn's digits that is the test split; that data set comes without one.
_DIGITS_TEST_FRACTION = 0.2

_TORCHVISION: dict[str, tuple[type, int]] = {
    "mnist": (torchvision.datasets.MNIST, 10),
    "fashion_mnist": (torchvision.datasets.FashionMNIST, 10),
    "cifar10": (torchvision.datasets.CIFAR10, 10),
    "cifar100": (torchvision.datasets.CIFAR100, 100),
}


def load_dataset(settings: Settings) -> Dataset:
    """The data set of `settings`, from memory after the first call.

    Raises:
        SettingsError: it is not there and cannot be downloaded, or has the wrong form.
    """
    dataset = settings.dataset
    return _load(
        dataset.name,
        Path(settings.paths.data),
        Path(settings.paths.outputs),
        dataset.validation_fraction,
        settings.seed,
        dataset.path,
        dataset.image_size,
        dataset.channels,
        settings.progress,
    )


@lru_cache(maxsize=2)
def _load(
    name: str,
    data: Path,
    outputs: Path,
    validation_fraction: float,
    seed: int,
    path: str | None,
    image_size: int,
    channels: int,
    progress: bool,
) -> Dataset:
    load_parts: dict[str, Callable[[], tuple[Split, Split, int, str | None]]] = {
        "digits": _digits,
        **{key: lambda key=key: _torchvision(key, data) for key in _TORCHVISION},  # type: ignore[misc]
        "image_folder": lambda: folder_dataset(path, image_size, channels, outputs, progress),
    }
    if name not in load_parts:
        raise SettingsError("dataset", name, f"must be one of {', '.join(load_parts)}")
    train, test, classes, digest = load_parts[name]()
    _check_split(train, classes, validation_fraction)
    return make_dataset(train.images, train.labels, test, classes, validation_fraction, seed, digest)


def _check_split(train: Split, classes: int, validation_fraction: float) -> None:
    """Refuse what cannot be split by class; the share of a rare class may still round to no validation image."""
    validation = math.ceil(len(train) * validation_fraction)
    if int(torch.bincount(train.labels).min()) >= 2 and classes <= validation <= len(train) - classes:
        return
    raise SettingsError(
        "dataset.validation_fraction",
        validation_fraction,
        f"takes {validation} of {len(train)} training images; both parts need at least one of each of "
        f"the {classes} classes, and every class two images",
        f"choose from {classes / len(train):.3g} to {1 - classes / len(train):.3g}, or add images",
    )


def _digits() -> tuple[Split, Split, int, None]:
    bunch = load_digits()
    images = torch.from_numpy((bunch.images * (255 / 16)).round().astype(np.uint8))[:, None]
    labels = torch.from_numpy(bunch.target).long()
    # Fixed, whatever the seed: all runs report on the same test images.
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_DIGITS_TEST_FRACTION, random_state=0, stratify=labels.numpy()
    )
    return Split(images[train], labels[train]), Split(images[test], labels[test]), 10, None


def _torchvision(name: str, data: Path) -> tuple[Split, Split, int, None]:
    loader, classes = _TORCHVISION[name]
    parts = []
    for train in (True, False):
        try:
            part = loader(root=str(data), train=train, download=False)
        except RuntimeError:
            part = _download(name, loader, data, train)
        except (AssertionError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SettingsError(
                "dataset", name, f"has a damaged file in paths.data={data} ({reason})", "remove it, or set paths.data"
            ) from None
        images = torch.as_tensor(part.data)
        # MNIST and its kin are (count, height, width), CIFAR is (count, height, width, channels).
        images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
        parts.append(Split(images.contiguous(), torch.as_tensor(part.targets).long()))
    return parts[0], parts[1], classes, None


def _download(name: str, loader: type, data: Path, train: bool) -> Any:
    try:
        return loader(root=str(data), train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError(
            "dataset",
            name,
            f"is not in paths.data={data} and could not be downloaded ({reason})",
            f"put torchvision's {loader.__name__} files there, or set paths.data to a directory that has them",
        ) from None
