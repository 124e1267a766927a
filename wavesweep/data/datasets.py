"""The data sets by name. Each is read once per process; the network is used only where no copy exists."""

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from wavesweep.data.folder import folder_dataset, folder_listing
from wavesweep.data.images import Preparation
from wavesweep.data.splits import AnySplit, Dataset, Parts, Split, make_dataset
from wavesweep.data.structured import any_dataset
from wavesweep.errors import SettingsError
from wavesweep.models.pretrained import trained_weights
from wavesweep.settings import registry
from wavesweep.settings.schema import DatasetSettings, Settings, TaskSettings
from wavesweep.tasks.load import load_task
from wavesweep.tasks.task import Task
from wavesweep.tasks.usual import CLASSIFICATION

# The share of scikit-learn's digits that is the test split; that data set comes without one.
_DIGITS_TEST_FRACTION = 0.2

# Names of torchvision's classes, and how many classes of images they have. It is imported only where it is needed, here
# and elsewhere, since that takes as long as importing PyTorch.
_TORCHVISION = {
    "mnist": ("MNIST", 10),
    "fashion_mnist": ("FashionMNIST", 10),
    "cifar10": ("CIFAR10", 10),
    "cifar100": ("CIFAR100", 100),
}


@dataclass(frozen=True)
class Source:
    """All that decides what a data set is, and where it lies; `arguments` as JSON.

    `trains`: the network is trained on it, and not only retrained. `pretrained`: it has been trained before.
    """

    name: str
    data: Path
    outputs: Path
    path: str | None
    preparation: Preparation
    trains: bool
    pretrained: bool
    target: str | None
    arguments: str
    progress: bool
    workers: int
    in_memory: bool | None
    task: tuple[str, str | None, str]

    def load_task(self) -> Task:
        """The task that the data is for."""
        name, target, arguments = self.task
        return load_task(TaskSettings(name, target, json.loads(arguments)))


@dataclass(frozen=True)
class FolderForm:
    """What is known of a folder before an image is opened: the shape (channels, height, width) that each is given, the
    number of classes, and the digest of the listing."""

    input_shape: tuple[int, int, int]
    classes: int
    digest: str


def form_of_folder(settings: Settings) -> FolderForm | None:
    """The form of a folder of images for classification; None of other data sets and tasks.

    Raises:
        SettingsError: the folder is missing, or has the wrong layout.
    """
    dataset = settings.dataset
    if dataset.name != "image_folder" or dataset.path is None or settings.task.name != "classification":
        return None
    preparation = _preparation(settings)
    size = preparation.image_size
    classes, digest = folder_listing(dataset.path, preparation, settings.model.recipe.epochs > 0)
    return FolderForm((preparation.channels, size, size), classes, digest)


def load_dataset(settings: Settings) -> Dataset:
    """The data set of `settings`, from memory after the first call.

    Raises:
        SettingsError: it is not there and cannot be downloaded, or has the wrong form.
    """
    dataset, model = settings.dataset, settings.model
    source = Source(
        dataset.name,
        Path(settings.paths.data),
        Path(settings.paths.outputs),
        dataset.path,
        _preparation(settings),
        model.recipe.epochs > 0,
        model.weights is not None,
        dataset.target,
        json.dumps(dataset.arguments, sort_keys=True),
        settings.progress,
        dataset.workers,
        dataset.in_memory,
        (settings.task.name, settings.task.target, json.dumps(settings.task.arguments, sort_keys=True)),
    )
    return _load(source, dataset.validation_fraction, settings.seed)


@lru_cache(maxsize=2)
def _load(source: Source, validation_fraction: float, seed: int) -> Dataset:
    parts, task = _parts(source), source.load_task()
    by_class = task is CLASSIFICATION and isinstance(parts.test, Split)
    if by_class:
        _check_classes(source, parts)
    # Files, and what a factory returns, may be what the weights were trained for.
    is_open = registry.row(registry.DataSet, source.name).is_open
    # Weights have been trained on the training images of ImageNet, so that these would flatter them.
    validates_on_test = parts.train is None or (is_open and source.pretrained and not source.trains)
    if parts.validation is None:
        parted, what = (parts.test, "held-out") if validates_on_test else (parts.train, "training")
        assert parted is not None
        if by_class and isinstance(parted, Split):
            _check_split(parted, what, parts.classes, validation_fraction)
        elif not 0 < math.ceil(len(parted) * validation_fraction) < len(parted):
            allowed = f"takes all of {len(parted)} {what} examples, or none of them"
            raise SettingsError("dataset.validation_fraction", validation_fraction, allowed, "choose another share")
    train = parts.train or parts.test
    has_bytes = isinstance(train, Split) and train.images.dtype == torch.uint8
    statistics = source.preparation.statistics if has_bytes and (is_open or not source.pretrained) else None
    if source.preparation.mean is not None and not source.pretrained and not has_bytes:
        found = "inputs that are no images of bytes in memory, which are taken as they are"
        raise SettingsError("dataset.mean", list(source.preparation.mean), f"has no effect on {found}", "leave it out")
    _check_channels(statistics, train)
    return make_dataset(parts, validation_fraction, seed, statistics, validates_on_test, task)


@lru_cache(maxsize=2)  # every seed makes other splits of the same parts
def _parts(source: Source) -> Parts:
    known = registry.rows(registry.DataSet)
    if source.name not in known:
        raise SettingsError("dataset", source.name, f"must be one of {', '.join(known)}")
    parts: Parts = known[source.name].load()(source)
    task = source.load_task()
    if task is not CLASSIFICATION and isinstance(parts.test, Split):
        parts = replace(parts, classes=task.width(parts.test.labels))
    return parts


def forget() -> None:
    """Read files anew from now on, as after they have changed."""
    _load.cache_clear()
    _parts.cache_clear()


def _preparation(settings: Settings) -> Preparation:
    """How files become images: as trained weights ask for, or else as the data set's settings say."""
    dataset = settings.dataset
    if settings.model.weights is None:
        mean, std = _normalization(dataset)
        return Preparation(dataset.image_size, dataset.channels, dataset.resize, mean=mean, std=std)
    wanted = trained_weights(settings.model).transforms()
    return Preparation(
        wanted.crop_size[0],
        3,
        wanted.resize_size[0],
        wanted.interpolation.value,
        tuple(wanted.mean),
        tuple(wanted.std),
    )


def _normalization(dataset: DatasetSettings) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and standard deviation of the channels as given, or of the name that is given; None: of the data."""
    known = registry.rows(registry.Normalization)
    mean = known[dataset.mean].mean if isinstance(dataset.mean, str) else dataset.mean
    std = dataset.mean if dataset.std is None else dataset.std
    std = known[std].std if isinstance(std, str) else std
    return (None, None) if mean is None else (tuple(mean), tuple(std))


def _check_channels(statistics: tuple[Tensor, Tensor] | None, train: AnySplit) -> None:
    """Refuse numbers that are neither one for all channels nor one for each."""
    for name, values in zip(("mean", "std"), statistics or (), strict=False):
        channels = train.images.shape[1] if isinstance(train, Split) else len(values)
        if len(values) not in (1, channels):
            found = [float(f"{value / 255:.4g}") for value in values.flatten().tolist()]
            raise SettingsError(f"dataset.{name}", found, f"must have one number, or {channels}: one per channel")


def _check_classes(source: Source, parts: Parts) -> None:
    """Refuse one class: whatever a network says, it is right."""
    if parts.classes < 2:
        key, value = ("dataset.path", source.path) if source.name == "image_folder" else ("dataset", source.name)
        key, value = ("dataset.target", source.target) if source.target is not None else (key, value)
        raise SettingsError(key, value, "must have at least two classes", "there is one")


def _check_split(split: Split, what: str, classes: int, validation_fraction: float) -> None:
    """Refuse what cannot be split by class; the share of a rare class may still round to no validation image."""
    validation = math.ceil(len(split) * validation_fraction)
    if int(torch.bincount(split.labels).min()) >= 2 and classes <= validation <= len(split) - classes:
        return
    images = len(split)
    rarest = int(torch.bincount(split.labels).min())
    remedy = f"choose from {classes / images:.3g} to {1 - classes / images:.3g}, or add images"
    if rarest < 2 or images < 2 * classes:
        remedy = f"no share does: add images, so that every class has two (one of them has {rarest})"
    raise SettingsError(
        "dataset.validation_fraction",
        validation_fraction,
        f"takes {validation} of {images} {what} images; both parts need at least one of each of "
        f"the {classes} classes, and every class two images",
        remedy,
    )


def digits(source: Source) -> Parts:
    """scikit-learn's digits, 8x8."""
    bunch = load_digits()
    images = torch.from_numpy((bunch.images * (255 / 16)).round().astype(np.uint8))[:, None]
    labels = torch.from_numpy(bunch.target).long()
    # Fixed, whatever the seed: all runs report on the same test images.
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_DIGITS_TEST_FRACTION, random_state=0, stratify=labels.numpy()
    )
    return Parts(Split(images[train], labels[train]), Split(images[test], labels[test]), 10)


def mnist(source: Source) -> Parts:
    """MNIST."""
    return _torchvision("mnist", source.data)


def fashion_mnist(source: Source) -> Parts:
    """Fashion-MNIST."""
    return _torchvision("fashion_mnist", source.data)


def cifar10(source: Source) -> Parts:
    """CIFAR-10."""
    return _torchvision("cifar10", source.data)


def cifar100(source: Source) -> Parts:
    """CIFAR-100."""
    return _torchvision("cifar100", source.data)


def image_folder(source: Source) -> Parts:
    """The user's directory of images."""
    return folder_dataset(
        source.path, source.preparation, source.outputs, source.progress, source.trains, source.pretrained
    )


def custom(source: Source) -> Parts:
    """What the user's factory returns."""
    task, arguments = source.load_task(), json.loads(source.arguments)
    return any_dataset(source.target, arguments, task, source.workers, source.in_memory)


def _torchvision(name: str, data: Path) -> Parts:
    import torchvision

    loader_name, classes = _TORCHVISION[name]
    loader = getattr(torchvision.datasets, loader_name)
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
    return Parts(parts[0], parts[1], classes)


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
