"""Small files that declare much: refused, or decoded, in little memory and time."""

import json
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from examples import CODERS, coded
from hostile import CODED, HEAD_ONLY, load

from wavesweep.codec.container import join, write_container
from wavesweep.codec.model_file import pack, unpack
from wavesweep.codec.tensors import RawTensor, state_dict

BOMBS = """
import json, resource, sys, time
import wavesweep.models.load
from wavesweep.codec.model_file import unpack
from wavesweep.errors import FileFormatError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    content = open(path, "rb").read()
    started = time.perf_counter()
    try:
        unpack(content)
        result = "loaded"
    except FileFormatError as error:
        result = "refused"
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([result, used / 1024, time.perf_counter() - started]), flush=True)
"""


def huffman_bomb():
    """One number, with tables of as many entries as are allowed."""
    table = zlib.compress(b"\1" + bytes((1 << 24) - 1), 9)
    numbers = struct.pack("<iII", 0, 1 << 24, len(table)) + table + struct.pack("<I", 1) + b"\0"
    stream = struct.pack("<BI", 5, 1) + numbers + numbers
    header = {"made_by": {}, "coder": "huffman", "tensors": [CODED | {"shape": [1]}]}
    return write_container(header, (stream, b""))


def bombs():
    zeros = CODED | {"shape": [1 << 20, 1 << 20]}
    return {
        "zeros as header": join(b"0" * ((1 << 26) - 1), (b"", b"")),
        "spaces as header": join(b" " * (1 << 27), (b"", b"")),
        "millions of tensors": join(b'["none",{},[' + b"[]," * ((1 << 26) // 3 - 100) + b"[]]]", (b"", b"")),
        "2**40 zeros": write_container({"made_by": {}, "coder": "none", "tensors": [zeros]}, (HEAD_ONLY, b"")),
        "huffman tables": huffman_bomb(),
    }


@pytest.mark.integration
def test_bombs_use_little_memory_and_time(tmp_path):
    paths = []
    for number, content in enumerate(bombs().values()):
        paths.append(tmp_path / f"{number}.wsz")
        paths[-1].write_bytes(content)
        assert len(content) < 1 << 20
    command = [sys.executable, "-c", BOMBS, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    for name, line in zip(bombs(), done.stdout.splitlines(), strict=True):
        result, megabytes, seconds = json.loads(line)
        assert result == ("loaded" if name == "huffman tables" else "refused"), name
        assert megabytes < 400, name
        assert seconds < 10, name


def test_decoding_uses_a_small_multiple_of_the_declared_size():
    shape = (1024, 2048)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for coder in CODERS:
        tensor = coded("w", shape, "identity", "one step", sharpness=20)
        content = pack([tensor, RawTensor("a", np.zeros(3, np.int8), "int8")], coder, {})
        assert load(content) is None  # more than MOST_ELEMENTS
        state_dict(unpack(content)[0])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert used * 1024 < 40 * 4 * shape[0] * shape[1]
