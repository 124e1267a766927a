"""Folders of images: decoded right, and once."""

import errno
import io
import json
import os
import sys

import numpy as np
import pytest
import torch
from image_folders import colour, decode, encoded, pixels_of, records, write
from PIL import Image

from wavesweep.data import datasets
from wavesweep.data import folder as folder_module
from wavesweep.data.datasets import load_dataset
from wavesweep.data.splits import StoredImages
from wavesweep.errors import StoreError
from wavesweep.measure.quality import forward
from wavesweep.settings.schema import DatasetSettings, PathsSettings, Recipe, Settings
from wavesweep.training.train import train

CPU = torch.device("cpu")


def refuse_to_open(monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("an image was decoded again"))


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
