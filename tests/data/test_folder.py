"""Folders of images: decoded right, decoded once, and refused by name where a file is no image."""

import errno
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from wavesweep.data import datasets
from wavesweep.data import folder as folder_module
from wavesweep.data.datasets import load_dataset
from wavesweep.data.folder import folder_dataset
from wavesweep.data.images import Preparation
from wavesweep.data.splits import StoredImages
from wavesweep.errors import SettingsError, StoreError
from wavesweep.measure.quality import forward
from wavesweep.settings.schema import DatasetSettings, PathsSettings, Recipe, Settings
from wavesweep.training.train import train

RANDOM = np.random.default_rng(0)
CPU = torch.device("cpu")


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


@pytest.fixture
def folder(tmp_path):
    """Two classes with two training images and a test image each."""
    names = [f"{part}/{kind}/0.png" for part in ("train", "test") for kind in ("cat", "dog")]
    names += ["train/cat/1.png", "train/dog/1.png"]
    return write(tmp_path / "pictures", {name: colour() for name in names})


def decode(folder, size=6, channels=3, outputs=None):
    parts = folder_dataset(str(folder), Preparation(size, channels), outputs or folder.parent / "outputs", False)
    return parts.train, parts.test, parts.classes, parts.digest


def refuse_to_open(monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("an image was decoded again"))


def records(folder):
    return sorted((folder.parent / "outputs").glob("images/*/images.json"))


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_and_classes_are_those_of_the_files(folder):
    train, test, classes, digest = decode(folder)
    names = ["cat/0", "cat/1", "dog/0", "dog/1"]
    expected = np.stack([pixels_of(folder / f"train/{name}.png").transpose(2, 0, 1) for name in names])
    assert train.images.dtype == torch.uint8
    assert train.images.tolist() == expected.tolist()
    assert (train.labels.tolist(), test.labels.tolist(), classes) == ([0, 0, 1, 1], [0, 1], 2)
    assert test.images[1].tolist() == pixels_of(folder / "test/dog/0.png").transpose(2, 0, 1).tolist()
    (record,) = records(folder)
    assert record.parent.name == digest
    assert json.loads(record.read_text())["classes"] == ["cat", "dog"]


def test_one_channel_is_the_luma_of_the_colours(folder):
    train = decode(folder, channels=1)[0]
    red, green, blue = pixels_of(folder / "train/cat/0.png").astype(int).transpose(2, 0, 1)
    # ITU-R BT.601 in 16-bit fixed point, as Pillow documents it.
    luma = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    assert train.images.shape == (4, 1, 6, 6)
    assert train.images[0, 0].tolist() == luma.tolist()


def as_palette(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (np.full((6, 6), 77, np.uint8), [77, 77, 77]),
        (np.full((6, 6, 4), [10, 20, 30, 0], np.uint8), [10, 20, 30]),
        (np.full((6, 6), True), [255, 255, 255]),
        (as_palette(np.full((6, 6, 3), [10, 200, 30], np.uint8)), [10, 200, 30]),
    ],
    ids=["grey", "transparent", "black and white", "palette"],
)
def test_other_kinds_of_images_become_colour(folder, content, expected):
    write(folder, {"train/cat/0.png": content})
    assert decode(folder)[0].images[0, :, 2, 3].tolist() == expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_to_bytes(folder, channels, kind):
    grey = np.array([[0, 257, 128 * 257], [65535, 1000, 64000]], dtype=np.uint16).repeat(3, 0).repeat(2, 1)
    suffix = {"PNG": "png", "TIFF": "tiff", "PPM": "pgm"}[kind]
    write(folder, {f"train/cat/-first.{suffix}": encoded(grey, kind)})
    first = decode(folder, channels=channels)[0].images[0]
    expected = np.array([[0, 1, 128], [255, 4, 249]]).repeat(3, 0).repeat(2, 1)
    assert first.tolist() == [expected.tolist()] * channels


def test_images_of_another_size_are_resized_without_turning(folder):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:, 0] = 200  # the right half is red
    pixels[4:, :, 1] = 100  # the lower half is green
    write(folder, {"train/cat/0.png": pixels})
    image = decode(folder, size=4)[0].images[0]
    assert image.shape == (3, 4, 4)
    assert image[0, :, 0].tolist() == [0] * 4
    assert image[0, :, 3].tolist() == [200] * 4
    assert image[1, 0].tolist() == [0] * 4
    assert image[1, 3].tolist() == [100] * 4
    assert image[2].max() == 0


def test_images_are_decoded_once_also_when_the_folder_has_moved(folder, monkeypatch):
    first = decode(folder)
    refuse_to_open(monkeypatch)
    moved = folder.rename(folder.with_name("elsewhere"))
    second = decode(moved)
    assert second[2:] == first[2:]
    assert torch.equal(second[0].images, first[0].images)


def test_trials_may_write_to_their_images_without_changing_the_stored_ones(folder):
    decode(folder)[0].images.zero_()
    assert decode(folder)[0].images.max() > 0


@pytest.mark.parametrize("damage", ["lost", "cut", "empty", "another shape", "another type", "an archive"])
def test_stored_images_that_are_lost_or_damaged_are_decoded_again(folder, damage):
    expected = decode(folder)[0].images.clone()
    for stored in (folder.parent / "outputs").rglob("*.npy"):
        images = np.load(stored)
        if damage == "lost":
            stored.unlink()
        elif damage == "another shape":
            np.save(stored, images[:, :, 1:])
        elif damage == "another type":
            np.save(stored, images.astype(np.float32))
        elif damage == "an archive":
            with stored.open("wb") as file:
                np.savez(file, images)
        else:
            os.truncate(stored, 0 if damage == "empty" else stored.stat().st_size - 10)
    assert torch.equal(decode(folder)[0].images, expected)


def test_a_full_disk_is_told_before_an_image_is_written(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left on device"):
        _ = decode(folder)[0].images


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_names_need_not_be_utf_8(folder):
    image = folder / "train/cat/1.png"
    image.rename(image.with_name(os.fsdecode(b"caf\xe9.png")))
    assert len(decode(folder)[0].images) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write(folder, {"train/dog/2.png": colour()}),
        lambda folder: (folder / "test/cat/0.png").rename(folder / "test/cat/7.png"),
        lambda folder: write(folder, {"train/dog/0.png": colour(9, 9)}),
        lambda folder: (folder / "train/cat/1.png").unlink(),
    ],
    ids=["added", "renamed", "replaced", "removed"],
)
def test_a_changed_folder_has_another_digest(folder, change):
    before = decode(folder)
    change(folder)
    after = decode(folder)
    assert after[3] != before[3]
    assert len(records(folder)) == 2


def test_size_and_channels_are_part_of_the_digest(folder):
    digests = {decode(folder, size, channels)[3] for size in (6, 8) for channels in (1, 3)}
    assert len(digests) == 4


def huge_png():
    """The start of a PNG file that claims 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


BROKEN = {
    "text": b"this is no image\n",
    "empty": b"",
    "truncated": encoded(colour(40, 40))[:-200],
    "header only": encoded(colour())[:20],
    "decompression bomb": huge_png(),
    "broken chunk": encoded(colour()).replace(b"IDAT", b"I\0AT"),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_file_that_is_no_image_is_named_and_nothing_is_recorded(folder, content, part):
    write(folder, {f"{part}/dog/9.png": content})
    with pytest.raises(SettingsError) as raised:
        decode(folder)
    assert raised.value.key == "dataset.path"
    assert str(raised.value).startswith(f"dataset.path={folder / part / 'dog' / '9.png'}: cannot be read as an image")
    assert "\n" not in str(raised.value)
    assert records(folder) == []
    write(folder, {f"{part}/dog/9.png": colour()})
    assert len(decode(folder)[0 if part == "train" else 1]) == (5 if part == "train" else 3)


def test_a_link_to_nowhere_is_named(folder):
    (folder / "train/dog/9.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(SettingsError, match=r"^dataset\.path=.*dog/9\.png: "):
        decode(folder)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def test_no_other_program_is_started_for_an_image(folder, monkeypatch):
    def started(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(subprocess, "check_call", started)
    write(folder, {"train/dog/9.png": POSTSCRIPT})
    with pytest.raises(SettingsError, match=r"dog/9\.png: cannot be read as an image \(BMP, .*cannot identify"):
        decode(folder)


@pytest.mark.parametrize(
    "error", [struct.error("unpack"), IndexError(), KeyError(7), zlib.error("x"), AttributeError("a\nb"), EOFError()]
)
def test_whatever_a_decoder_raises_is_one_line_that_names_the_file(folder, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", broken)
    with pytest.raises(SettingsError, match=r"^dataset\.path=.*cat/0\.png: cannot be read as an image") as raised:
        decode(folder)
    assert "\n" not in str(raised.value)
    assert records(folder) == []


def test_a_strip_that_would_become_huge_when_it_is_resized_is_refused(folder):
    write(folder, {"train/cat/-.png": np.zeros((1, 30_000), np.uint8)})
    assert decode(folder)[0].images.shape == (5, 3, 6, 6)  # stretched to the square
    with pytest.raises(SettingsError, match=r"-\.png: cannot be read .*30000 x 1 pixels cannot be resized to 64"):
        folder_dataset(str(folder), Preparation(6, 3, resize=64), folder.parent / "outputs", False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_that_is_called_an_image_is_named_and_not_waited_for(folder):
    os.mkfifo(folder / "train/dog/9.png")
    with pytest.raises(SettingsError, match=r"^dataset\.path=.*dog/9\.png: .*it is no file"):
        decode(folder)


@pytest.mark.parametrize(("kind", "suffix"), [("GIF", "png"), ("PNG", "jpg"), ("WEBP", "png"), ("BMP", "tif")])
def test_an_image_is_what_it_is_whatever_it_is_called(folder, kind, suffix):
    pixels = np.full((6, 6, 3), [0, 255, 0], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    write(folder, {f"train/cat/-.{suffix}": buffer.getvalue()})
    assert decode(folder)[0].images[0].tolist() == pixels.transpose(2, 0, 1).tolist()


def test_the_orientation_in_exif_is_not_applied(folder):
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[:, :3] = 255  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees when it is shown
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, quality=100)
    write(folder, {"train/cat/-.jpg": buffer.getvalue()})
    image = decode(folder)[0].images[0, 0].float()
    assert image[:, :3].mean() > 230
    assert image[:, 3:].mean() < 25


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


WHOLE = {kind: encoded(colour(12, 12), kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")}


# Pillow warns about what it can read in part.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")
@settings(deadline=None, max_examples=60)
@given(kind=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_any_damage_to_a_file_is_decoded_or_refused_by_name(kind, data):
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    suffix = {"JPEG": "jpg"}.get(kind, kind.lower())
    with tempfile.TemporaryDirectory() as directory:
        damaged = f"train/cat/0.{suffix}"
        folder = write(f"{directory}/pictures", {damaged: content, "test/cat/0.png": colour()})
        train, refused = None, ""
        try:
            train = decode(folder)[0]
        except SettingsError as error:
            refused = str(error)
        if train is None:
            assert refused.startswith(f"dataset.path={folder / damaged}: ")
            assert records(folder) == []
        else:
            assert train.images.shape == (1, 3, 6, 6)


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


def test_a_folder_is_a_data_set_with_a_digest(folder):
    chosen = DatasetSettings("image_folder", 0.5, str(folder), image_size=6, channels=1)
    dataset = load_dataset(
        Settings(dataset=chosen, paths=PathsSettings(outputs=str(folder.parent / "outputs")), progress=False)
    )
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (2, 2, 2)
    assert (dataset.input_shape, dataset.classes) == ((1, 6, 6), 2)
    assert dataset.digest == decode(folder, channels=1)[3]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_folder_that_is_too_large_for_memory_gives_the_same_numbers_from_disk(folder, monkeypatch, seed):
    write(folder, {f"train/{kind}/{number}.png": colour() for kind in ("cat", "dog") for number in range(2, 9)})
    chosen = Settings(
        dataset=DatasetSettings("image_folder", 0.25, str(folder), image_size=6),
        paths=PathsSettings(outputs=str(folder.parent / "outputs")),
        progress=False,
        seed=seed,
    )
    found = []
    for limit in (2**30, 0):
        monkeypatch.setattr(folder_module, "_MEMORY_BYTES", limit)
        datasets.forget()
        dataset = load_dataset(chosen)
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(108, 2))
        recipe = Recipe(epochs=2, batch_size=3, augment=True)
        rows = train(model, dataset, recipe, seed, CPU, folder.parent / str(limit), False)
        losses = [row["loss"] for row in rows]
        found.append((dataset.train.images, dataset.mean, losses, forward(model, dataset, dataset.test, CPU)))
        datasets.forget()
    memory, disk = found
    assert isinstance(memory[0], torch.Tensor)
    assert isinstance(disk[0], StoredImages)
    assert torch.equal(disk[0][:], memory[0])
    assert torch.equal(disk[1], memory[1])
    assert disk[2] == memory[2]
    assert torch.equal(disk[3], memory[3])
