"""Images from a directory of `train/<class>/*` and `test/<class>/*`, decoded once and kept on disk."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from wavesweep.data.splits import Split
from wavesweep.errors import SettingsError
from wavesweep.progress import steps
from wavesweep.store.records import once, storing

# What Pillow raises for files that are broken, hostile or no images at all.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
_LAYOUT_TEXT = "must be a directory that holds train/<class>/* and test/<class>/*"


def folder_dataset(
    path: str | None, image_size: int, channels: int, outputs: Path, progress: bool
) -> tuple[Split, Split, int, str]:
    """Training and test images, the number of classes, and a digest of the folder's listing.

    Decoded images lie under `<outputs>/images/<digest>`, so that each is decoded once, whatever the number of
    trials and processes. Images are resized to `image_size` squared if they have another size.

    Raises:
        SettingsError: the folder is missing, has the wrong layout, or holds a file that is no image.
    """
    if path is None:
        raise SettingsError("dataset.path", None, _LAYOUT_TEXT, "set dataset.path=DIRECTORY")
    folders = {}
    for part in ("train", "test"):
        try:
            folders[part] = ImageFolder(str(Path(path) / part))
        except (FileNotFoundError, NotADirectoryError) as error:
            reason = " ".join(str(error).split())
            raise SettingsError("dataset.path", path, _LAYOUT_TEXT, f"{part}: {reason}") from None
    classes = folders["train"].classes
    if folders["test"].classes != classes:
        only = sorted(set(folders["test"].classes) ^ set(classes))
        raise SettingsError("dataset.path", path, "train and test must have the same classes", f"differ: {only}")
    digest = _listing_digest(folders, image_size, channels)
    directory = outputs / "images" / digest

    def decode(into: Path) -> dict[str, Any]:
        for part, folder in folders.items():
            _decode_part(part, [file for file, _ in folder.samples], into, image_size, channels, progress)
        return {"source": str(path), "classes": classes, "image_size": image_size, "channels": channels}

    once(directory / "images.json", decode)
    splits = []
    for part, folder in folders.items():
        images = np.load(directory / f"{part}.npy", mmap_mode="c")
        splits.append(Split(torch.from_numpy(images), torch.tensor(folder.targets)))
    return splits[0], splits[1], len(classes), digest


def _decode_part(part: str, files: list[str], into: Path, image_size: int, channels: int, progress: bool) -> None:
    def decode_file(file: str) -> np.ndarray:
        try:
            with Image.open(file) as opened:
                image = _eight_bits(opened).convert("RGB" if channels == 3 else "L")
                if image.size != (image_size, image_size):
                    image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
                return np.asarray(image).reshape(image_size, image_size, channels).transpose(2, 0, 1)
        except _UNREADABLE as error:
            raise SettingsError(
                "dataset.path", file, "cannot be read as an image", f"remove or mend it ({error})"
            ) from None

    with storing(into):
        images = np.lib.format.open_memmap(
            into / f"{part}.npy",
            mode="w+",
            dtype=np.uint8,
            shape=(len(files), channels, image_size, image_size),
        )
        with ThreadPoolExecutor() as pool:
            for index, image in steps(
                enumerate(pool.map(decode_file, files)), len(files), f"decoding {part}", progress
            ):
                images[index] = image
        images.flush()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit greys at 255 when it converts them; scale them instead."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))


def _listing_digest(folders: dict[str, ImageFolder], image_size: int, channels: int) -> str:
    """Digest of all file names and sizes: enough to see that a folder changed, without reading it."""
    digest = hashlib.sha256(f"{image_size} {channels}\n".encode())
    for part, folder in folders.items():
        for file, _ in folder.samples:
            name = Path(file).relative_to(folder.root).as_posix()
            try:
                size = Path(file).stat().st_size
            except OSError as error:  # such as a link to nowhere
                raise SettingsError(
                    "dataset.path", file, "cannot be read as an image", f"remove or mend it ({error.strerror})"
                ) from None
            digest.update(f"{part}/{name} {size}\n".encode())
    return digest.hexdigest()[:16]
