"""Images from a directory of `train/<class>/*` and `test/<class>/*`, decoded once and kept on disk."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wavesweep.data.splits import Split, StoredImages
from wavesweep.errors import SettingsError
from wavesweep.runtime.progress import steps
from wavesweep.runtime.records import once, storing
from wavesweep.runtime.shapes import Images

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder

# What Pillow raises for files that are broken, hostile or no images at all.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
_LAYOUT_TEXT = "must be a directory that holds train/<class>/* and test/<class>/*, or val/<class>/*"
# A part of a folder that takes more than this stays on disk.
_MEMORY_BYTES = 2 * 2**30
# Files whose decoding is under way or waits at once.
_QUEUED = 4096


@dataclass(frozen=True)
class Preparation:
    """From a file to an input: squares of `image_size` pixels, of 1 or 3 channels.

    With `resize`, the shorter side gets that length by `interpolation` and the centre is cut out; without it the image
    is stretched to the square. `mean` and `std` of channels from 0 to 1 are those to normalise by, if not the data's.
    """

    image_size: int
    channels: int
    resize: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def pixels(self) -> str:
        """What decides the pixels, for a digest."""
        cut = "" if self.resize is None else f" {self.resize} {self.interpolation}"
        return f"{self.image_size} {self.channels}{cut}"

    @property
    def statistics(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation in bytes, shape (channels, 1, 1)."""
        if self.mean is None or self.std is None:
            return None
        return torch.tensor(self.mean)[:, None, None] * 255, torch.tensor(self.std)[:, None, None] * 255


def folder_dataset(
    path: str | None,
    preparation: Preparation,
    outputs: Path,
    progress: bool,
    trains: bool = True,
    pretrained: bool = False,
) -> tuple[Split | None, Split, int, str]:
    """Training and held-out images, the number of classes, and a digest of the folder's listing.

    Decoded images lie under `<outputs>/images/<digest>`, so that each is decoded once, whatever the number of
    trials and processes.

    Args:
        path: the folder. Held-out images are those of `test/`, or of `val/` where there is no `test/`.
        preparation: of each image.
        outputs: where records are.
        progress: whether to show it.
        trains: whether the network is trained on these images; if not, there may be no `train/` (None is returned).
        pretrained: whether it has been trained before; if both, `train/` is decoded only when it is asked for.

    Raises:
        SettingsError: the folder is missing, has the wrong layout, or holds a file that is no image.
    """
    if path is None:
        raise SettingsError("dataset.path", None, _LAYOUT_TEXT, "set dataset.path=DIRECTORY")
    root = Path(path)
    held_out = "val" if (root / "val").is_dir() and not (root / "test").exists() else "test"
    names = ("train", held_out) if trains or (root / "train").exists() else (held_out,)
    folders = {name: _listed(root, name) for name in names}
    classes = folders[held_out].classes
    if folders[names[0]].classes != classes:
        only = sorted(set(folders["train"].classes) ^ set(classes))
        raise SettingsError("dataset.path", path, f"train and {held_out} must have the same classes", f"differ: {only}")
    later = pretrained and not trains
    together = [{name: folder} for name, folder in folders.items()] if later else [folders]
    stored = [_Stored(each, preparation, path, outputs, progress) for each in together]
    splits = {name: part.split(name, later and name == "train") for part in stored for name in part.folders}
    return splits.get("train"), splits[held_out], len(classes), _listing_digest(folders, preparation)


def _listed(root: Path, part: str) -> "ImageFolder":
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(str(root / part))
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError("dataset.path", str(root), _LAYOUT_TEXT, f"{part}: {reason}") from None


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
        self, folders: "Mapping[str, ImageFolder]", preparation: Preparation, path: str, outputs: Path, progress: bool
    ) -> None:
        self.folders, self._preparation, self._path, self._progress = folders, preparation, path, progress
        self._outputs = outputs
        self._directory = outputs / "images" / _listing_digest(folders, preparation)

    def split(self, name: str, later: bool) -> Split:
        """One part; `later`: it is decoded only when it is asked for."""
        labels = torch.tensor(self.folders[name].targets)
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
        return len(self.folders[name].samples), self._preparation.channels, size, size

    def _only(self, name: str, index: Tensor) -> StoredImages | None:
        """Some images of one part, decoded into a directory of their own when they are asked for; None if all are."""
        if (self._directory / "images.json").exists():
            return None
        folder = copy(self.folders[name])
        folder.samples = [folder.samples[number] for number in index.tolist()]
        folder.targets = [folder.targets[number] for number in index.tolist()]
        stored = _Stored({name: folder}, self._preparation, self._path, self._outputs, self._progress)
        return stored.later(name)

    def _decode(self, into: Path) -> dict[str, Any]:
        for name, folder in self.folders.items():
            files = [file for file, _ in folder.samples]
            _decode_part(name, files, into, self._preparation, self._progress)
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


def _decode_part(part: str, files: list[str], into: Path, preparation: Preparation, progress: bool) -> None:
    size, channels = preparation.image_size, preparation.channels

    def decode_file(file: str) -> np.ndarray:
        try:
            with Image.open(file) as opened:
                image = _eight_bits(opened).convert("RGB" if channels == 3 else "L")
                return np.asarray(_square(image, preparation)).reshape(size, size, channels).transpose(2, 0, 1)
        except _UNREADABLE as error:
            raise SettingsError(
                "dataset.path", file, "cannot be read as an image", f"remove or mend it ({error})"
            ) from None

    with storing(into):
        shape = (len(files), channels, size, size)
        images = np.lib.format.open_memmap(into / f"{part}.npy", mode="w+", dtype=np.uint8, shape=shape)
        _reserve(into / f"{part}.npy")
        with ThreadPoolExecutor() as pool:
            starts = range(0, len(files), _QUEUED)
            decoded = chain.from_iterable(pool.map(decode_file, files[at : at + _QUEUED]) for at in starts)
            for index, image in steps(enumerate(decoded), len(files), f"decoding {part}", progress):
                images[index] = image
        images.flush()


def _reserve(path: Path) -> None:
    """Give a file its space on the disk now: a mapping for which there is none later ends the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _square(image: Image.Image, preparation: Preparation) -> Image.Image:
    size = preparation.image_size
    if preparation.resize is not None:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as transforms

        resized = transforms.resize(image, [preparation.resize], InterpolationMode(preparation.interpolation))
        cut: Image.Image = transforms.center_crop(resized, [size])
        return cut
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit greys at 255 when it converts them; scale them instead."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))


def _listing_digest(folders: "Mapping[str, ImageFolder]", preparation: Preparation) -> str:
    """Digest of all file names and sizes: enough to see that a folder changed, without reading it."""
    digest = hashlib.sha256(f"{preparation.pixels}\n".encode())
    for part, folder in folders.items():
        for file, _ in folder.samples:
            name = Path(file).relative_to(folder.root).as_posix()
            try:
                size = Path(file).stat().st_size
            except OSError as error:  # such as a link to nowhere
                raise SettingsError(
                    "dataset.path", file, "cannot be read as an image", f"remove or mend it ({error.strerror})"
                ) from None
            digest.update(f"{part}/{name} {size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
