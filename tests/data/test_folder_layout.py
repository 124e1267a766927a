"""Which directories of a folder are classes and splits, and which folders are refused."""

import sys
from pathlib import Path

import pytest
import torch
from image_folders import colour, decode, pixels_of, write

from wavesweep.data.datasets import load_dataset
from wavesweep.data.folder import folder_dataset
from wavesweep.data.images import Preparation
from wavesweep.errors import SettingsError
from wavesweep.settings.schema import DatasetSettings, PathsSettings, Settings


def test_hidden_files_and_directories_are_neither_images_nor_classes(folder):
    expected = decode(folder)
    hidden = {".ipynb_checkpoints/0.png": colour(), "__MACOSX/cat/._0.png": b"\0\5\x16\7", "cat/._0.png": b"\0\5\x16\7"}
    hidden |= {"cat/.thumbnails/0.png": colour(), "dog/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg": colour()}
    write(folder / "train", hidden)
    write(folder / "test", {".hidden/0.png": colour(), "dog/.DS_Store": b""})
    found = decode(folder)
    assert found[2:] == expected[2:]
    assert torch.equal(found[0].images, expected[0].images)
    assert found[0].labels.tolist() == expected[0].labels.tolist()
    (note,) = folder_dataset(str(folder), Preparation(6, 3), folder.parent / "outputs", False).notes
    assert note.startswith(
        "dataset.path: left out, as hidden: train/.ipynb_checkpoints, train/__MACOSX, train/cat/._0."
    )
    assert note.endswith(" and 3 more")


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_notes_and_errors_obey_no_name(folder):
    write(folder, {"train/cat/.\x1b[31m\n.png": colour(), "train/\x1b[2J/none.txt": b""})
    with pytest.raises(SettingsError, match=r"it has no image .* of the classes '.x1b\[2J'$"):
        decode(folder)
    remove(folder / "train/\x1b[2J")
    (note,) = folder_dataset(str(folder), Preparation(6, 3), folder.parent / "outputs", False).notes
    assert note.isprintable()


def test_a_folder_may_itself_be_below_a_hidden_directory(folder):
    moved = folder.rename(folder.with_name(".cache"))
    assert len(decode(moved)[0]) == 4


def three_parts(folder, validation="val"):
    write(folder, {f"{validation}/{kind}/{number}.png": colour() for kind in ("cat", "dog") for number in range(3)})
    return folder_dataset(str(folder), Preparation(6, 3), folder.parent / "outputs", False)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_three_parts_side_by_side_are_the_three_splits(folder, name):
    expected = decode(folder)
    parts = three_parts(folder, name)
    files = [folder / name / kind / f"{number}.png" for kind in ("cat", "dog") for number in range(3)]
    assert parts.validation.images.tolist() == [pixels_of(file).transpose(2, 0, 1).tolist() for file in files]
    assert parts.validation.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(parts.train.images, expected[0].images)
    assert torch.equal(parts.test.images, expected[1].images)
    assert parts.digest != expected[3]  # it is another data set than the one without
    chosen = DatasetSettings("image_folder", 0.5, str(folder), image_size=6)
    outputs = PathsSettings(outputs=str(folder.parent / "outputs"))
    for seed in (0, 1):
        dataset = load_dataset(Settings(dataset=chosen, paths=outputs, progress=False, seed=seed))
        assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [4, 6, 2]
        assert dataset.validation_from == "own"


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_without_test_images_those_for_validation_are_in_their_place(folder, name):
    expected = decode(folder)[1].images
    (folder / "test").rename(folder / name)
    parts = folder_dataset(str(folder), Preparation(6, 3), folder.parent / "outputs", False)
    assert torch.equal(parts.test.images, expected)
    assert parts.validation is None


def test_two_folders_for_validation_are_refused(folder):
    three_parts(folder, "val")
    with pytest.raises(
        SettingsError, match=r"^dataset\.path=.* one directory of validation images; it has val and val"
    ):
        three_parts(folder, "validation")


def test_one_class_is_refused(folder):
    for part in ("train", "test"):
        remove(folder / part / "dog")
    chosen = DatasetSettings("image_folder", 0.5, str(folder), image_size=6)
    with pytest.raises(SettingsError, match=f"^dataset.path={folder}: must have at least two classes; there is one"):
        load_dataset(Settings(dataset=chosen, paths=PathsSettings(outputs=str(folder.parent / "outputs"))))


def remove(path):
    for file in path.rglob("*.*"):
        file.unlink()
    for directory in sorted(path.rglob("*"), reverse=True):
        directory.rmdir()
    path.rmdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: remove(folder / "train"), "train/<class>.* train: "),
        (lambda folder: remove(folder / "test"), "test/<class>.* test: "),
        (lambda folder: remove(folder), "train/<class>.* train: "),
        (lambda folder: remove(folder / "test/dog"), r"same classes; differ: \['dog'\]"),
        (lambda folder: (folder / "test/dog").rename(folder / "test/fox"), r"differ: \['dog', 'fox'\]"),
        (lambda folder: (folder / "test/dog/0.png").unlink(), "test: it has no image .* of the classes dog"),
        (
            lambda folder: remove(folder / "train/cat") or remove(folder / "train/dog"),
            "train: it has no directory of a class",
        ),
        (lambda folder: remove(folder / "test") or (folder / "test").touch(), "test: "),
    ],
    ids=["no train", "no test", "nothing", "class gone", "class renamed", "empty class", "no class", "a file"],
)
def test_a_folder_of_another_layout_is_refused_with_what_is_wrong(folder, change, message):
    change(folder)
    with pytest.raises(SettingsError, match=r"^dataset\.path=" + f"{folder}: .*{message}") as raised:
        decode(folder)
    assert "\n" not in str(raised.value)


def test_a_folder_must_be_named():
    with pytest.raises(SettingsError, match=r"^dataset\.path=None: .*set dataset\.path=DIRECTORY"):
        folder_dataset(None, Preparation(6, 3), Path("outputs"), False)
