"""What lies in a directory of `train/<class>/*`, `val/<class>/*` and `test/<class>/*`, without reading an image."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wavesweep.data.images import Preparation, unreadable
from wavesweep.errors import SettingsError
from wavesweep.runtime.terminal import short_name

LAYOUT_TEXT = "must be a directory that holds train/<class>/* and test/<class>/*, or val/<class>/*"
# What the folder of the validation images may be called.
_VALIDATION = ("val", "valid", "validation")
# Endings of files that are taken for images: those of torchvision's ImageFolder.
_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
# Directories that systems and archives leave behind, beside those whose names begin with a dot.
_NOT_OF_THE_USER = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}


@dataclass(frozen=True)
class Listing:
    """The images of one part of a folder, class by class.

    Attributes:
        root: the directory of the part.
        classes: the names of its directories, sorted.
        files: paths of the images.
        labels: their classes, as indices.
        hidden: what was left out, by paths below `root`: directories in the place of a class, and image files.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: tuple[int, ...]
    hidden: tuple[str, ...] = ()

    def part(self, index: Sequence[int]) -> "Listing":
        """The images with these numbers."""
        files = tuple(self.files[number] for number in index)
        return Listing(self.root, self.classes, files, tuple(self.labels[number] for number in index))


@dataclass(frozen=True)
class Roles:
    """The names of the parts: what is trained on, chosen by and reported; None where there is no such part."""

    train: str | None
    validation: str | None
    test: str

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are there."""
        return tuple(name for name in (self.train, self.validation, self.test) if name is not None)


def roles(root: Path, trains: bool) -> Roles:
    """Which part of a folder is for what; `trains`: training images are needed.

    `test/` is the test split; where there is none, the validation folder is in its place.

    Raises:
        SettingsError: there are several folders for validation.
    """
    validation = [name for name in _VALIDATION if (root / name).is_dir()]
    if len(validation) > 1:
        allowed = "must have one directory of validation images"
        raise SettingsError("dataset.path", str(root), allowed, f"it has {' and '.join(validation)}: keep one of them")
    has_test = (root / "test").exists() or not validation
    train = "train" if trains or (root / "train").exists() else None
    if has_test:
        return Roles(train, validation[0] if validation else None, "test")
    return Roles(train, None, validation[0])


def listed(root: Path, part: str) -> Listing:
    """The images of one part.

    Hidden files and directories, such as `.ipynb_checkpoints` and the `._*` files of macOS, are left out.

    Raises:
        SettingsError: it is missing, has no class, or a class without an image.
    """
    directory = root / part
    try:
        names = sorted(entry.name for entry in directory.iterdir() if entry.is_dir())
    except OSError as error:
        raise _refusal(root, part, str(error.strerror)) from None
    classes = [name for name in names if not _is_hidden(name)]
    hidden = [name for name in names if _is_hidden(name)]
    if not classes:
        raise _refusal(root, part, "it has no directory of a class")
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for path, is_hidden in _images_below(directory / name):
            if is_hidden:
                hidden.append(os.path.relpath(path, directory))
            else:
                files.append(path)
                labels.append(label)
    seen = set(labels)
    empty = [name for label, name in enumerate(classes) if label not in seen]
    if empty:
        text = f"it has no image ({', '.join(_ENDINGS)}) of the classes {', '.join(map(short_name, empty[:5]))}"
        raise _refusal(root, part, text)
    return Listing(directory, tuple(classes), tuple(files), tuple(labels), tuple(hidden))


def listing_digest(parts: Mapping[str, Listing], preparation: Preparation) -> str:
    """Digest of all file names and sizes: enough to see that a folder changed, without reading it.

    Raises:
        SettingsError: what is named as an image is no file, as a link to nowhere.
    """
    digest = hashlib.sha256(f"{preparation.pixels}\n".encode())
    for part, listing in parts.items():
        for file in listing.files:
            try:
                found = os.stat(file)  # noqa: PTH116 - of millions of files
            except OSError as error:
                raise unreadable(file, str(error.strerror)) from None
            if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
                raise unreadable(file, "it is no file")
            name = Path(file).relative_to(listing.root).as_posix()
            digest.update(f"{part}/{name} {found.st_size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def hidden_note(parts: Mapping[str, Listing]) -> str | None:
    """What was left out of a folder, in a line; None if nothing was."""
    found = [f"{part}/{name}" for part, listing in parts.items() for name in listing.hidden]
    if not found:
        return None
    others = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"dataset.path: left out, as hidden: {', '.join(map(short_name, found[:3]))}{others}"


def _images_below(directory: Path) -> Iterator[tuple[str, bool]]:
    """Paths of images, and whether each is hidden."""
    for folder, _, names in sorted(os.walk(directory, followlinks=True)):
        is_hidden = any(map(_is_hidden, Path(folder).relative_to(directory).parts))
        for name in sorted(names):
            if name.lower().endswith(_ENDINGS):
                yield os.path.join(folder, name), is_hidden or _is_hidden(name)  # noqa: PTH118 - of millions of files


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _NOT_OF_THE_USER


def _refusal(root: Path, part: str, reason: str) -> SettingsError:
    return SettingsError("dataset.path", str(root), LAYOUT_TEXT, f"{part}: {reason}")
