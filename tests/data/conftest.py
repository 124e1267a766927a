"""What several files of tests of data look at."""

import pytest
from image_folders import colour, write


@pytest.fixture
def folder(tmp_path):
    """Two classes with two training images and a test image each."""
    names = [f"{part}/{kind}/0.png" for part in ("train", "test") for kind in ("cat", "dog")]
    names += ["train/cat/1.png", "train/dog/1.png"]
    return write(tmp_path / "pictures", {name: colour() for name in names})
