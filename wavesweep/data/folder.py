"""Images from a directory of `train/<class>/*` and `test/<class>/*`, decoded once and kept on disk."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wavesweep.data.images import Preparation, decoded
from wavesweep.data.listing import LAYOUT_TEXT, Listing, hidden_note, listed, listing_digest, roles
from wavesweep.data.splits import Parts, Split, StoredImages
from wavesweep.errors import SettingsError
from wavesweep.runtime.progress import steps
from wavesweep.runtime.records import once, storing
from wavesweep.runtime.shapes import Images

# A part of a folder that takes more than this stays on disk.
_MEMORY_BYTES = 2 * 2**30
# Files whose decoding is under way or waits at once.
_QUEUED = 4096


def folder_dataset(
    path: str | None,
    preparation: Preparation,
    outputs: Path,
    progress: bool,
    trains: bool = True,
    pretrained: bool = False,
) -> Parts:
    """Training, validation and test images, and a digest of the folder's listing.

    Decoded images lie under `<outputs>/images/<digest>`, so that each is decoded once, whatever the number of
    trials and processes.

    Args:
        path: the folder. Test images are those of `test/`, and validation images those of `val/`, `valid/` or
            `validation/`; where there is no `test/`, those are the test images.
        preparation: of each image.
        outputs: where records are.
        progress: whether to show it.
        trains: whether the network is trained on these images; if not, there may be no `train/`.
        pretrained: whether it has been trained before; if both, `train/` is decoded only when it is asked for.

    Raises:
        SettingsError: the folder is missing, has the wrong layout, or holds a file that is no image.
    """
    if path is None:
        raise SettingsError("dataset.path", None, LAYOUT_TEXT, "set dataset.path=DIRECTORY")
    root = Path(path)
    names = roles(root, trains)
    folders = {name: listed(root, name) for name in names.names}
    classes = folders[names.test].classes
    for name, folder in folders.items():
        if folder.classes != classes:
            only = sorted(set(folder.classes) ^ set(classes))
            allowed = f"{name} and {names.test} must have the same classes"
            raise SettingsError("dataset.path", path, allowed, f"differ: {only}")
    later = pretrained and not trains
    together = [{name: folder} for name, folder in folders.items()] if later else [folders]
    stored = [_Stored(each, preparation, path, outputs, progress) for each in together]
    splits = {name: part.split(name, later and name == names.train) for part in stored for name in part.folders}
    note = hidden_note(folders)
    return Parts(
        None if names.train is None else splits[names.train],
        splits[names.test],
        len(classes),
        listing_digest(folders, preparation),
        None if names.validation is None else splits[names.validation],
        () if note is None else (note,),
    )


def folder_listing(path: str, preparation: Preparation, trains: bool) -> tuple[int, str]:
    """How many classes a folder has, and the digest of its listing; no image is opened.

    Raises:
        SettingsError: the folder is missing, or has the wrong layout.
    """
    root = Path(path)
    names = roles(root, trains)
    folders = {name: listed(root, name) for name in names.names}
    return len(folders[names.test].classes), listing_digest(folders, preparation)


class _LaterImages(StoredImages):
    """Images that are decoded when they are asked for; of a part of them, which `only` gives, no others.

    `only` gives None if all are decoded.
    """

    def __init__(
        self, opened: Callable[[], Tensor], shape: Sequence[int], only: Callable[[Tensor], StoredImages | None]
    ) -> None:
        super().__init__(opened, shape)
        self._only = only

    def part(self, index: Tensor) -> StoredImages:
        images = self._only(index)
        return super().part(index) if images is None else images


class _Stored:
    """Parts of a folder that are decoded together, into one directory."""

    def __init__(
        self, folders: Mapping[str, Listing], preparation: Preparation, path: str, outputs: Path, progress: bool
    ) -> None:
        self.folders, self._preparation, self._path, self._progress = folders, preparation, path, progress
        self._outputs = outputs
        self._directory = outputs / "images" / listing_digest(folders, preparation)

    def split(self, name: str, later: bool) -> Split:
        """One part; `later`: it is decoded only when it is asked for."""
        labels = torch.tensor(self.folders[name].labels)
        if later:
            return Split(self.later(name), labels)
        images = self._opened(name)()
        stays = images.numel() > _MEMORY_BYTES
        return Split(StoredImages(self._opened(name), images.shape) if stays else images, labels)

    def later(self, name: str) -> "_LaterImages":
        """The images of one part, not decoded yet."""
        return _LaterImages(self._opened(name), self._shape(name), partial(self._only, name))

    def _opened(self, name: str) -> Callable[[], Tensor]:
        @cache
        def opened() -> Tensor:
            done, stored = self._directory / "images.json", self._directory / f"{name}.npy"
            once(done, self._decode, Images)
            images = _stored_images(stored, self._shape(name))
            if images is None:  # lost or damaged; the same ones come out again
                done.unlink(missing_ok=True)
                once(done, self._decode, Images)
                images = _stored_images(stored, self._shape(name))
                assert images is not None, f"{stored} is damaged"
            return torch.from_numpy(images)

        return opened

    def _shape(self, name: str) -> tuple[int, int, int, int]:
        size = self._preparation.image_size
        return len(self.folders[name].files), self._preparation.channels, size, size

    def _only(self, name: str, index: Tensor) -> StoredImages | None:
        """Some images of one part, decoded into a directory of their own when they are asked for; None if all are."""
        if (self._directory / "images.json").exists():
            return None
        folder = self.folders[name].part(index.tolist())
        stored = _Stored({name: folder}, self._preparation, self._path, self._outputs, self._progress)
        return stored.later(name)

    def _decode(self, into: Path) -> dict[str, Any]:
        for name, folder in self.folders.items():
            _decode_part(name, folder.files, into, self._preparation, self._progress)
        classes = next(iter(self.folders.values())).classes
        size, channels = self._preparation.image_size, self._preparation.channels
        return {"source": self._path, "classes": classes, "image_size": size, "channels": channels}


def _stored_images(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The decoded images at `path`, not read yet; None where there are none of that shape."""
    try:
        images = np.load(path, mmap_mode="c")
    except Exception:  # whatever a damaged header is taken for: a number too large, another kind of file
        return None
    fits = isinstance(images, np.ndarray) and images.shape == shape and images.dtype == np.uint8
    return images if fits else None


def _decode_part(part: str, files: Sequence[str], into: Path, preparation: Preparation, progress: bool) -> None:
    size, channels = preparation.image_size, preparation.channels
    with storing(into):
        shape = (len(files), channels, size, size)
        images = np.lib.format.open_memmap(into / f"{part}.npy", mode="w+", dtype=np.uint8, shape=shape)
        _reserve(into / f"{part}.npy")
        with ThreadPoolExecutor() as pool:
            starts = range(0, len(files), _QUEUED)
            found = chain.from_iterable(
                pool.map(partial(decoded, preparation=preparation), files[at : at + _QUEUED]) for at in starts
            )
            for index, image in steps(enumerate(found), len(files), f"decoding {part}", progress):
                images[index] = image
        images.flush()


def _reserve(path: Path) -> None:
    """Give a file its space on the disk now: a mapping for which there is none later ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
