"""Files that are no images, or hostile ones: refused by name, and nothing is started or recorded."""

import os
import struct
import subprocess
import tempfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import colour, decode, encoded, records, write
from PIL import PngImagePlugin

from wavesweep.data.folder import folder_dataset
from wavesweep.data.images import Preparation
from wavesweep.errors import SettingsError


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
