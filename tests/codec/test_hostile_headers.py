"""Headers whose checksums are right and whose content is not: refused with one error."""

import json
import zlib

import pytest
from examples import CODERS
from hostile import CODED, HEAD_ONLY, load, raw_container

from wavesweep.codec.container import write_container
from wavesweep.codec.model_file import unpack
from wavesweep.errors import FileFormatError

HEADERS = {
    "no object": b"[]",
    "nothing": b"",
    "no tensors": b'{"streams":[[0,0],[0,0]],"coder":"range"}',
    "tensors are no list": b'{"streams":[[0,0],[0,0]],"coder":"range","tensors":{}}',
    "no streams": b'{"tensors":[],"coder":"range"}',
    "three streams": b'{"streams":[[0,0],[0,0],[0,0]],"tensors":[],"coder":"range"}',
    "streams of huge size": b'{"streams":[[%d,0],[0,0]],"tensors":[],"coder":"range"}' % 10**300,
    "streams of negative size": b'{"streams":[[-1,0],[0,0]],"tensors":[],"coder":"range"}',
    "unknown coder": b'{"streams":[[0,0],[0,0]],"tensors":[],"coder":"pickle"}',
    "coder is a list": b'{"streams":[[0,0],[0,0]],"tensors":[],"coder":["range"]}',
    "coder is missing": b'{"streams":[[0,0],[0,0]],"tensors":[]}',
    "deep nesting": b'{"streams":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep nesting of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of many digits": b'{"tensors":' + b"9" * 100_000 + b"}",
    "no UTF-8": b'{"a":"\xff\xfe\x80"}',
    "UTF-16 of nothing": "{}".encode("utf-16"),
    "NaN": b"NaN",
    "text after it": b"{} {}",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS)
def test_broken_headers_are_refused(text):
    assert load(raw_container(text)) is None


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


@pytest.mark.parametrize("entries", ENTRIES.values(), ids=ENTRIES)
def test_broken_entries_are_refused(entries):
    for streams in ([b"", b""], [HEAD_ONLY * len(entries), b""], [b"", b"\1\1"], [b"\1\1\1\1", b""]):
        described = [[len(stream), zlib.crc32(stream)] for stream in streams]
        for coder in CODERS:
            header = {"coder": coder, "tensors": entries, "streams": described}
            found = load(raw_container(json.dumps(header).encode(), streams))
            # An empty tensor may as well be decoded.
            assert found is None or all(value.numel() == 0 for value in found.values())


def test_names_and_values_do_not_break_the_one_line_of_the_error():
    for name in ("a\nb", "x" * 100_000, "\x1b[31m\r"):
        header = {"coder": "range", "tensors": [RAW | {"name": name, "shape": None}], "streams": []}
        with pytest.raises(FileFormatError) as caught:
            unpack(write_container(header, [b"", b""]))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000
