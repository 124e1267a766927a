"""Headers whose checksums are right and whose content is not: refused with one error."""

import hashlib
import json
import struct
import zlib

import numpy as np
import pytest
from cases import case
from examples import CODERS
from hostile import CODED, HEAD_ONLY, LIMITS, load

from wavesweep.codec.__main__ import main as codec_command
from wavesweep.codec.container import MAGIC, join, write_container
from wavesweep.codec.header import checked_entries
from wavesweep.codec.limits import Limits
from wavesweep.codec.model_file import pack, unpack
from wavesweep.codec.short_header import DICTIONARY, shorten
from wavesweep.codec.tensors import RawTensor, SameTensor
from wavesweep.errors import FileFormatError

HEADERS = {
    "an object": b"{}",
    "nothing": b"",
    "an empty list": b"[]",
    "two parts": b'["range",{}]',
    "five parts": b'["range",[],{}, [], 1]',
    "tensors are no list": b'["range",{}]',
    "unknown coder": b'["pickle",[]]',
    "coder is a list": b'[["range"],[]]',
    "coder is missing": b"[null,[]]",
    "deep nesting": b'["range",' + b"[" * 100_000 + b"]" * 100_000 + b"]",
    "deep nesting of objects": b'["range",' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b",[]]",
    "a number of many digits": b'["range",' + b"9" * 100_000 + b"]",
    "no UTF-8": b'["range",["\xff\xfe\x80"]]',
    "UTF-16 of nothing": "{}".encode("utf-16"),
    "NaN": b"NaN",
    "text after it": b'["range",[]] []',
}


def test_broken_headers_are_refused():
    assert load(join(b'["range",[]]', (b"", b""))) == {}
    for name, text in HEADERS.items():
        with case(name):
            assert load(join(text, (b"", b""))) is None


SAME = {"kind": "same", "name": "b", "of": "w"}
RAW = {"kind": "raw", "name": "w", "shape": [2], "stored": "int8", "dtype": "int8"}
WAVELET = {"kind": "wavelet", "axes": [0], "wavelet": "haar", "levels": [1], "mode": "periodization"}
ENTRIES = {
    "same as itself": [SAME | {"of": "b"}],
    "same as a later one": [SAME, RAW],
    "same as a list": [RAW, SAME | {"of": []}],
    "same as nothing": [RAW, {"kind": "same", "name": "b"}],
    "a name twice": [RAW, RAW],
    "a name that is no text": [RAW | {"name": 5}],
    "unknown kind": [RAW | {"kind": "pickle"}],
    "a kind that is a list": [RAW | {"kind": ["raw"]}],
    "stored as a list": [RAW | {"stored": ["int8"]}],
    "stored as an object": [RAW | {"stored": {}}],
    "stored as Python objects": [RAW | {"stored": "object"}],
    "given back as a list": [RAW | {"dtype": ["int8"]}],
    "given back as a function": [RAW | {"dtype": "load"}],
    "negative size": [RAW | {"shape": [-2]}],
    "fraction as size": [RAW | {"shape": [2.0]}],
    "truth as size": [RAW | {"shape": [True]}],
    "many axes": [RAW | {"shape": [1] * 17}],
    "2**40 numbers": [RAW | {"shape": [1 << 20, 1 << 20]}],
    "2**40 zeros": [CODED | {"shape": [1 << 20, 1 << 20]}],
    "2**40 zeros of a wavelet": [CODED | {"shape": [1 << 20, 1 << 20], "basis": WAVELET}],
    "nothing of 2**40 columns": [CODED | {"shape": [0, 1 << 40]}],
    "nothing of 2**70 columns": [RAW | {"shape": [0, 1 << 70]}],
    "a view of 2**40": [CODED | {"view": [1 << 40]}],
    "a view of another size": [CODED | {"view": [15]}],
    "too many in all": [CODED | {"name": str(number), "shape": [1 << 18]} for number in range(5)],
    "an axis that is not there": [CODED | {"basis": {"kind": "dct", "axes": [2]}}],
    "a negative axis": [CODED | {"basis": {"kind": "dct", "axes": [-1]}}],
    "an axis twice": [CODED | {"basis": {"kind": "dct", "axes": [0, 0]}}],
    "an axis that is a list": [CODED | {"basis": {"kind": "dct", "axes": [[0]]}}],
    "more levels than there are": [CODED | {"basis": WAVELET | {"levels": [3]}}],
    "levels beyond all bounds": [CODED | {"basis": WAVELET | {"levels": [10**9]}}],
    "levels of other axes": [CODED | {"basis": WAVELET | {"levels": [1, 1]}}],
    "unknown wavelet": [CODED | {"basis": WAVELET | {"wavelet": "haar2"}}],
    "a wavelet that is a list": [CODED | {"basis": WAVELET | {"wavelet": []}}],
    "unknown mode": [CODED | {"basis": WAVELET | {"mode": "evil"}}],
    "unknown basis": [CODED | {"basis": {"kind": "pickle"}}],
    "a basis with more than it has": [CODED | {"basis": {"kind": "identity", "__class__": 1}}],
    "a wavelet where there is none": [CODED | {"basis": {"kind": "dct", "axes": [0], "wavelet": 5}}],
    "levels where there are none": [CODED | {"basis": {"kind": "identity", "levels": [1]}}],
    "no basis": [CODED | {"basis": None}],
    "no steps": [CODED | {"values": {"steps": []}}],
    "more steps than bands": [CODED | {"values": {"steps": [1, 1]}}],
    "a step of zero": [CODED | {"values": {"steps": [0]}}],
    "a negative step": [CODED | {"values": {"steps": [-1.0]}}],
    "an infinite step": [CODED | {"values": {"steps": [float("inf")]}}],
    "a step beyond all bounds": [CODED | {"values": {"steps": [10**400]}}],
    "a NaN step": [CODED | {"values": {"steps": [float("nan")]}}],
    "a codebook that is not there": [CODED | {"values": {"codebook": [5, 5]}}],
    "a huge codebook": [CODED | {"values": {"codebook": [1 << 40, 0]}}],
    "two rules": [CODED | {"values": {"steps": [1], "each": "float16"}}],
    "values as objects": [CODED | {"values": {"each": "object"}}],
    "no steps for an empty tensor": [CODED | {"shape": [0, 4], "values": {"steps": []}}],
    "an empty axis in a cosine transform": [CODED | {"shape": [0], "basis": {"kind": "dct", "axes": [0]}}],
    "an empty axis in a wavelet": [CODED | {"shape": [0], "basis": WAVELET}],
    "a tensor that is a list": [[]],
}


def test_broken_entries_are_refused():
    for name, entries in ENTRIES.items():
        with case(name):
            assert_refused(entries)


def assert_refused(entries):
    try:
        texts = [json.dumps(shorten({"coder": coder, "tensors": entries})).encode() for coder in CODERS]
    except (KeyError, TypeError, AttributeError):  # not all of them have a short form
        with pytest.raises(FileFormatError):
            checked_entries({"tensors": entries}, LIMITS, 100)
        return
    for streams in ((b"", b""), (HEAD_ONLY * len(entries), b""), (b"", b"\1\1"), (b"\1\1\1\1", b"")):
        for text in texts:
            found = load(join(text, streams))
            # An empty tensor may as well be decoded.
            assert found is None or all(value.numel() == 0 for value in found.values())


SHORT_ENTRIES = {
    "an object": {},
    "text": "w",
    "nothing": [],
    "a name only": ["w"],
    "a name that is no text": [5, [2]],
    "same and more": ["w", "v", "u"],
    "same as itself": ["w", "w"],
    "raw and more": ["w", [2], "int8", "int8", "int8"],
    "raw with a number": ["w", [2], "int8", 8],
    "raw with a list": ["w", [2], "int8", []],
    "unknown type": ["w", [2], "object"],
    "no shape": ["w", None],
    "no shape of coefficients": ["w", None, 0.5],
    "steps of nothing": ["w", [4], None],
    "steps of truth": ["w", [4], True],
    "no steps": ["w", [4], []],
    "a list in steps": ["w", [4], [[0.5]]],
    "two rules": ["w", [4], {"steps": [1], "each": "float16"}],
    "a basis that is a list": ["w", [4], 0.5, []],
    "a basis that is nothing": ["w", [4], 0.5, None],
    "a basis of nothing": ["w", [4], 0.5, {}],
    "a basis of another mode": ["w", [4], 0.5, {"wavelet": "haar", "axes": [0], "levels": [1], "mode": "evil"}],
    "a view that is nothing": ["w", [4], 0.5, {"kind": "identity"}, None],
    "a view of another size": ["w", [4], 0.5, {"kind": "identity"}, [5]],
    "six parts": ["w", [4], 0.5, {"kind": "identity"}, [4], [4]],
}


def test_broken_short_entries_are_refused():
    for name, entry in SHORT_ENTRIES.items():
        for coder in CODERS:
            for streams in ((b"", b""), (HEAD_ONLY, b""), (b"", b"\1\1"), (b"\1\1\1\1", b"")):
                with case(name, coder, streams):
                    assert load(join(json.dumps([coder, {}, [entry]]).encode(), streams)) is None


SIZES = {
    "none": b"",
    "one": b"\0",
    "cut off in one": b"\0\x80",
    "without an end": b"\xff" * 100,
    "more bytes than needed": b"\x80\0\0\0",
    "beyond the file": b"\0\1\0",
    "a huge header": b"\xff\xff\xff\xff\x7f\0\0",
    "no header": b"\0\0\0",
}


def test_broken_sizes_are_refused():
    for name, sizes in SIZES.items():
        with case(name):
            assert load(struct.pack("<4sHI", MAGIC, 3, zlib.crc32(sizes)) + sizes) is None


def test_a_header_with_bytes_after_its_end_is_refused():
    content = join(b'["range",[]]', (b"", b""))
    body = bytes([content[10] + 1]) + content[11:] + b"\0"
    assert load(content) == {}
    assert load(struct.pack("<4sHI", MAGIC, 3, zlib.crc32(body)) + body) is None


def test_the_dictionary_is_what_files_were_made_with():
    # A header made with another one would not decompress, so it never changes within version 3.
    assert hashlib.sha256(DICTIONARY).hexdigest() == "96d9ec1ae62bb92edadccee1869318f00d1e67af49e55a692da51eaafd51d79e"
    assert len(DICTIONARY) < 1 << 15


def test_names_and_values_do_not_break_the_one_line_of_the_error():
    for name in ("a\nb", "x" * 100_000, "\x1b[31m\r"):
        header = {"coder": "range", "tensors": [RAW | {"name": name, "shape": None}]}
        with pytest.raises(FileFormatError) as caught:
            unpack(write_container(header, (b"", b"")))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000


def test_copies_of_a_tensor_count_as_well():
    tensors = [RawTensor("w", np.zeros(100, np.float32), "float32"), *(SameTensor(f"w{n}", "w") for n in range(9))]
    content = pack(tensors, "none")
    assert len(unpack(content, Limits(numbers=1000))[0]) == 10
    with pytest.raises(FileFormatError, match="at most 999 are allowed"):
        unpack(content, Limits(numbers=999))


@pytest.mark.parametrize(
    "basis", [{"kind": "dct", "axes": [0], "wavelet": 5}, {"kind": "rotation", "axes": [0], "name": 5}]
)
@pytest.mark.parametrize("command", ["info", "verify", "decode"])
def test_the_command_refuses_in_one_line_what_loading_refuses(tmp_path, capsys, basis, command):
    path = tmp_path / "a.wsz"
    path.write_bytes(join(json.dumps(["none", [["w", [4], 0.5, basis]]]).encode(), (HEAD_ONLY, b"")))
    assert codec_command([command, str(path)]) == 1
    found = capsys.readouterr()
    assert found.err == f"error: {path}: tensor w has an unknown or broken basis\n"
    assert not found.out


def test_what_made_a_file_may_be_anything_and_is_shown_without_control_characters(tmp_path, capsys):
    path = tmp_path / "a.wsz"
    for made_by in (None, [1], {"a": {"b": [None, 1e300]}}, "\x1b[31m\ud800"):
        path.write_bytes(join(json.dumps(["none", [], {"made_by": made_by}]).encode(), (b"", b"")))
        assert codec_command(["info", str(path)]) == 0
        assert "\x1b" not in capsys.readouterr().out
