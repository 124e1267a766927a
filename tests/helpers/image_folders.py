"""Folders of small images for tests."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from wavesweep.data.folder import folder_dataset
from wavesweep.data.images import Preparation

RANDOM = np.random.default_rng(0)


def colour(height=6, width=6):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write(root, files):
    """Write images (arrays become PNG files, bytes are written as they are) at paths below `root`."""
    for name, content in files.items():
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else encoded(content))
    return Path(root)


def decode(folder, size=6, channels=3, outputs=None):
    parts = folder_dataset(str(folder), Preparation(size, channels), outputs or folder.parent / "outputs", False)
    return parts.train, parts.test, parts.classes, parts.digest


def records(folder):
    return sorted((folder.parent / "outputs").glob("images/*/images.json"))


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)
