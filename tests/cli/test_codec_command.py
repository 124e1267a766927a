"""`python -m wavesweep.codec`: what it prints, writes and returns, in processes of its own."""

import contextlib
import io
import os
import re
import subprocess
import sys

import pytest
import torch
from command_line import ENVIRONMENT
from safetensors.torch import load_file
from torch import nn

import wavesweep
from wavesweep.codec.__main__ import main
from wavesweep.codec.container import read_container, write_container
from wavesweep.codec.model_file import pack

pytestmark = pytest.mark.integration


def command(directory, *arguments):
    line = [sys.executable, "-m", "wavesweep.codec", *map(str, arguments)]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    return subprocess.run(line, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def called(directory, *arguments):
    """The same in this process, which has loaded torch already: for what does not depend on the process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            status = leaving.code
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(64, 20), nn.Linear(20, 20))
    model.add_module("tied", nn.Linear(20, 20))
    model.tied.weight = model[4].weight
    return model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "model.wsz"
    wavesweep.save(wavesweep.compress(network(), ["wavelet=haar", "threshold.percentile=75"]), path)
    return path


def assert_one_line_error(done, *said):
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for text in said:
        assert text in done.stderr


def test_info_says_what_the_file_lacks_and_lists_its_tensors(file):
    done = command(file.parent, "info", file.name)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, raw, head, *rows = done.stdout.splitlines()
    assert first == f"model.wsz: {file.stat().st_size:,} bytes, coder range"
    assert second == "the network's architecture is not in the file: load it into a network of its own"
    assert re.fullmatch(r"stored number by number: [\d,]+ bytes, [\d.]+ % of the file", raw)
    assert head.split() == ["tensor", "shape", "basis", "values", "numbers", "zero", "dtype"]
    state = network().state_dict()
    assert [row.split()[0] for row in rows] == list(state)
    shapes = ["x".join(map(str, value.shape)) or "1" for value in state.values()]
    assert [row.split()[1] for row in rows] == shapes
    table = {row.split()[0]: row for row in rows}
    assert "haar 3 1" in table["0.weight"]
    assert "75.00%" in table["3.weight"]
    assert "same as 4.weight" in table["tied.weight"]
    assert "int64" in table["1.num_batches_tracked"]


def test_decode_writes_what_load_gives(file):
    state = wavesweep.load(file)
    numbers = sum(value.numel() for value in state.values())
    assert numbers > 1000
    for how, arguments, output in ((command, (), "model.safetensors"), (called, ("sub/other.st",), "sub/other.st")):
        done = how(file.parent, "decode", file.name, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        path = file.parent / output
        assert done.stdout == f"{output}: {len(state)} tensors, {path.stat().st_size:,} bytes\n"
        found = load_file(path)
        assert found.keys() == state.keys()
        for name, value in state.items():
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)


def test_verify_says_that_a_file_is_sound(file):
    done = command(file.parent, "verify", file.name)
    assert (done.returncode, done.stderr) == (0, "")
    state = wavesweep.load(file)
    count = sum(value.numel() for value in state.values())
    bits = 8 * file.stat().st_size / count
    assert done.stdout == f"model.wsz: sound, {len(state)} tensors, {count:,} numbers, {bits:.3f} bits each\n"


@pytest.mark.parametrize("what", ["info", "decode", "verify"])
def test_a_file_that_is_not_there_is_one_line(what, tmp_path):
    how = command if what == "info" else called
    assert_one_line_error(how(tmp_path, what, "absent.wsz"), "absent.wsz", "No such file")
    assert_one_line_error(called(tmp_path, what, "."), "Is a directory")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["info", "decode", "verify"])
def test_a_damaged_file_is_one_line_and_writes_nothing(what, file, tmp_path):
    content = file.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for name, broken, said in (
        ("cut.wsz", content[:-5], "cut off"),
        ("flipped.wsz", flipped, "checksum"),
        ("version.wsz", content[:4] + b"\7\0" + content[6:], "version 7"),
        ("text.wsz", b"hello", "not a wavesweep file"),
    ):
        (tmp_path / name).write_bytes(broken)
        assert_one_line_error(called(tmp_path, what, name), name, said)
    assert {path.suffix for path in tmp_path.iterdir()} == {".wsz"}


def test_verify_tells_numbers_that_are_not_finite(file, tmp_path):
    header, (symbols, numbers) = read_container(file.read_bytes())
    nan = b"\xff\x7f" + numbers[2:]  # the first raw numbers are a bias in float16
    (tmp_path / "nan.wsz").write_bytes(write_container(header, (symbols, nan)))
    assert_one_line_error(called(tmp_path, "verify", "nan.wsz"), "nan.wsz", "NaN")


def test_a_file_without_tensors_is_no_obstacle(tmp_path):
    (tmp_path / "empty.wsz").write_bytes(pack([], "range"))
    for what in ("info", "verify", "decode"):
        done = called(tmp_path, what, "empty.wsz")
        assert (done.returncode, done.stderr) == (0, ""), what


def test_an_output_that_cannot_be_written_is_one_line(file, tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    assert_one_line_error(called(tmp_path, "decode", file, "taken/below.safetensors"), "cannot write")


def test_hostile_names_do_not_reach_the_terminal(tmp_path):
    for number, name in enumerate(("a\nb", "\x1b[2J", "\ud800")):
        entry = {"kind": "raw", "name": name, "shape": [1], "stored": "int8", "dtype": "int8"}
        path = tmp_path / f"{number}.wsz"
        path.write_bytes(write_container({"coder": "none", "tensors": [entry]}, (b"", b"\1")))
        done = called(tmp_path, "info", path.name)
        assert name not in done.stdout + done.stderr


def test_wrong_arguments_show_the_usage(tmp_path):
    for arguments in ((), ("info",), ("unpack", "a.wsz")):
        done = called(tmp_path, *arguments)
        assert done.returncode == 2
        assert "usage: python -m wavesweep.codec" in done.stderr
    done = called(tmp_path, "--help")
    assert done.returncode == 0
    assert all(what in done.stdout for what in ("info", "decode", "verify"))
