"""The decoder in one file, which was written from the page of the format: it and the reference decode alike."""

import hashlib
import json
import math
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pywt
import torch
from cases import case
from examples import CODERS, sparse_symbols
from hostile import load
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep import decoder
from wavesweep.codec.container import join
from wavesweep.codec.model_file import pack, unpack
from wavesweep.codec.tensors import RawTensor, SameTensor, state_dict
from wavesweep.quantization.symbols import Codebook, CodedTensor, Steps
from wavesweep.transform.basis import BasisSpec, make_basis

GOLDEN = Path(__file__).parent / "golden" / "3"
UNSUPPORTED = ("rotation", "shuffled")
SMALL = GOLDEN / "none-wavelet-one_step.wsz"
IN_A_CLEAN_PROCESS = """
import sys
sys.modules["pywt"] = None  # as if it were not installed
import decoder, hashlib, json
found = {}
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        tensors = decoder.decode(file.read())
    found[path] = hashlib.sha256(b"".join(tensor.tobytes() for tensor in tensors.values())).hexdigest()
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "wavesweep", "scipy", "numba", "hydra"})
print(json.dumps([found, loaded]))
"""


def reference(content):
    """What `wavesweep.load` gives, as arrays."""
    state = state_dict(unpack(content)[0])
    return {name: (value.float() if value.dtype == torch.bfloat16 else value).numpy() for name, value in state.items()}


def assert_same_bits(content):
    expected, found = reference(content), decoder.decode(content)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].tobytes() == value.tobytes(), name


def refusal(content, **limits):
    """The one line of the error that `content` gives."""
    with pytest.raises(decoder.DecodeError) as error:
        decoder.decode(content, **limits)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def supported():
    return [path for path in sorted(GOLDEN.iterdir()) if not any(kind in path.name for kind in UNSUPPORTED)]


def tensor(name, shape, basis=None, step=0.01, **symbols):
    """A coded tensor of sparse symbols."""
    basis = basis or BasisSpec("identity")
    count = make_basis(basis, shape).count
    return CodedTensor(name, shape, shape, basis, sparse_symbols((count,), **symbols), Steps((step,)))


def test_golden_files_decode_to_the_bits_of_the_reference():
    assert len(supported()) == 8
    for path in supported():
        with case(path.name):
            content = path.read_bytes()
            if "dct" in path.name:
                for one, other in zip(decoder.decode(content).values(), reference(content).values(), strict=True):
                    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
            else:
                assert_same_bits(content)


def test_controls_are_refused_by_name():
    for kind in UNSUPPORTED:
        for path in GOLDEN.glob(f"*-{kind}-*"):
            assert kind in refusal(path.read_bytes())


def test_every_truncation_is_refused_in_one_line():
    content = SMALL.read_bytes()
    for size in range(len(content)):
        refusal(content[:size])
    refusal(content + b"\0")


def test_truncated_streams_with_right_checksums_are_refused():
    for coder in CODERS:
        content = pack([tensor("w", (6, 9)), RawTensor("b", np.ones(3, np.float32), "float32")], coder)
        header, coefficients, raw = parts_of(content)
        assert decoder.decode(join(header, (coefficients, raw))).keys() == {"w", "b"}
        for size in range(len(coefficients)):
            cut = join(header, (coefficients[:size], raw))
            if load(cut) is None:
                refusal(cut)
            else:  # what is left of arithmetic codes may be the codes of something else
                assert_same_bits(cut)
        for streams in [(coefficients + b"\0", raw), (coefficients, raw[:-1]), (coefficients, raw + b"\0")]:
            refusal(join(header, streams))


def parts_of(content):
    """The text of a header, and both streams."""
    file = decoder._Bytes(content[10:], "it")
    packed, *streams = [file.take(size) for size in [file.size() for _ in range(3)]]
    inflate = decoder.zlib.decompressobj(-15, zdict=decoder.DICTIONARY)
    return inflate.decompress(packed), *streams


def test_hostile_headers_are_refused_before_anything_is_allocated():
    wavelet = '{"axes":[0,1],"levels":[%s,1],"wavelet":"%s"}'
    entries = {
        "many numbers": '["w",[4096,4096,4096],1]',
        "an axis of length 0 hides others": '["w",[0,4611686018427387903,4611686018427387903],1]',
        "raw numbers": '["w",[99999999999]]',
        "negative": '["w",[-1],1]',
        "a size that is none": '["w",[true],1]',
        "a huge size": '["w",[' + "9" * 5000 + "],1]",
        "many axes": '["w",[1,1,1,1,1,1,1,1,1],1]',
        "another view": '["w",[4],1,{"kind":"identity"},[5]]',
        "levels": '["w",[64,64],1,' + wavelet % (7, "haar") + "]",
        "endless levels": '["w",[64,64],1,' + wavelet % (10**9, "haar") + "]",
        "a wavelet that is unknown": '["w",[64,64],1,' + wavelet % (1, "nonsense") + "]",
        "a wavelet that is no name": '["w",[64,64],1,{"axes":[0],"levels":[1],"wavelet":["haar"]}]',
        "an axis that is lacking": '["w",[64],1,' + wavelet % (1, "haar") + "]",
        "a basis of two lines": '["w",[4],1,{"kind":"a\\nb"}]',
        "an identity with axes": '["w",[4],1,{"kind":"identity","axes":[0]}]',
        "a huge step": '["w",[4],1' + "0" * 400 + "]",
        "no basis": '["w",[4],1,5]',
        "no values": '["w",[4],{}]',
        "a step that is infinite": '["w",[4],1e999]',
        "a step that is not a number": '["w",[4],NaN]',
        "a step of text": '["w",[4],["1"]]',
        "a huge codebook": '["w",[4],{"codebook":[9999999999,1]}]',
        "a codebook of texts": '["w",[4],{"codebook":["a","b"]}]',
        "an unknown type": '["w",[4],"complex64"]',
        "a list for a type": '["w",[4],"float16",[]]',
        "a name of two lines": '["a\\nb",[0]]',
        "a name of half a character": '["\\ud800",[0]]',
        "a name that is none": "[5,[0]]",
        "a name twice": '["w",[0]],["w",[0]]',
        "the same as none": '["w","v"]',
        "no list": "5",
        "deep nesting": "[" * 100_000 + "]" * 100_000,
    }
    for name, entry in entries.items():
        for coder in CODERS:
            with case(f"{name}, {coder}"):
                refusal(join(f'["{coder}",[{entry}]]'.encode(), (b"", b"")))
    for text in ("", "5", "{}", '["range"]', '["pickle",[]]', '[["range"],[]]', '["range",[]] []', " " * (2**20 + 1)):
        refusal(join(text.encode(), (b"", b"")))
    assert decoder.decode(join(b'["range",[]]', (b"", b""))) == {}


def test_the_caller_limits_how_many_numbers_are_declared():
    content = pack([tensor("w", (6, 9))], "range")
    assert decoder.decode(content, numbers=54)["w"].shape == (6, 9)
    assert "too many numbers" in refusal(content, numbers=53)


def test_a_copy_of_the_file_works_alone_without_pywavelets(tmp_path):
    shutil.copy(decoder.__file__, tmp_path / "decoder.py")
    paths = [str(path) for path in supported() if "dct" not in path.name]
    run = [sys.executable, "-c", IN_A_CLEAN_PROCESS, *paths]
    done = subprocess.run(run, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    found, loaded = json.loads(done.stdout)
    assert loaded == []
    for path in paths:
        tensors = reference(Path(path).read_bytes()).values()
        assert found[path] == hashlib.sha256(b"".join(tensor.tobytes() for tensor in tensors)).hexdigest()


def test_filters_of_its_own_are_those_of_pywavelets(monkeypatch):
    own = [*decoder.FILTERS, *(name.replace("bior", "rbio") for name in decoder.FILTERS if name.startswith("bior"))]
    assert "rbio2.2" in own
    monkeypatch.setitem(sys.modules, "pywt", None)
    for name in own:
        wavelet = pywt.Wavelet(name)
        assert decoder._filters(name) == (wavelet.rec_lo, wavelet.rec_hi)
    with pytest.raises(decoder.DecodeError, match=r"db7.*pip install PyWavelets"):
        decoder._filters("db7")


def test_the_command_line(tmp_path, monkeypatch, capsys):
    path, out = tmp_path / "net.wsz", tmp_path / "net.npz"
    tensors = [tensor("w", (6, 9)), RawTensor("a.b", np.ones((), np.float32), "bfloat16"), SameTensor("c", "w")]
    path.write_bytes(pack(tensors, "range"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["decoder.py", *map(str, arguments)])
        try:
            runpy.run_path(decoder.__file__, run_name="__main__")
        except SystemExit as stopped:
            return stopped.code
        return None

    assert run(path) is None
    assert capsys.readouterr().out.splitlines() == ["w  float32  6x9", "a.b  float32  1", "c  float32  6x9"]
    assert run(path, out) is None
    with np.load(out) as saved:
        expected = reference(path.read_bytes())
        assert list(saved) == list(expected)
        assert all((saved[name] == expected[name]).all() for name in saved)
    path.write_bytes(b"no such file format")
    for arguments in ([path], [tmp_path / "none.wsz"], []):
        assert len(run(*arguments).splitlines()) == 1


def test_raw_tensors_of_every_type():
    numbers = np.array([[0, 1, 2.5, -7], [np.inf, -0.0, 1e-7, 65504]])
    tensors = [
        RawTensor(f"{stored} {dtype}", (numbers[:1] if "int" in stored else numbers).astype(stored), dtype)
        for stored in ("float16", "float32", "float64", "int8", "int16", "int32", "int64")
        for dtype in sorted({"float32", "bfloat16", "float64", stored})
    ]
    tensors.append(RawTensor("mask", numbers > 1, "bool"))
    assert_same_bits(pack(tensors, "none"))


@pytest.mark.parametrize("coder", ["huffman", "range"])
def test_what_counts_over_long_rows_columns_and_several_tensors(coder):
    haar = BasisSpec("wavelet", (0,), "haar", (4,), "periodization")
    tensors = [
        tensor("units", (12, 6), sharpness=3),
        tensor("takes them", (3, 24)),
        tensor("one row, as many", (1, 24)),
        tensor("one row of kernels", (1, 7, 3, 3)),
        tensor("kernels", (5, 7, 3, 2)),
        tensor("three axes", (4, 3, 5)),
        tensor("a large grid", (2, 2, 8, 9)),
        tensor("long rows", (3, 600), sharpness=2),
        tensor("long columns", (600, 3), sharpness=2),
        tensor("one axis", (99,), haar),
        tensor("no axis", ()),
        tensor("nothing", (0, 3)),
        tensor("several bands", (13, 11), BasisSpec("wavelet", (0, 1), "haar", (3, 1), "periodization")),
    ]
    huge = np.array([[2**30 - 1, -(2**30 - 1), 3, 0, 1, -70000, 500, 0]] if coder == "range" else [[9, -9]], np.int32)
    tensors.append(CodedTensor("huge", huge.shape, huge.shape, BasisSpec("identity"), huge.reshape(-1), Steps((1.0,))))
    assert_same_bits(pack(tensors, coder))


@st.composite
def wavelet_tensors(draw):
    shape = tuple(draw(st.lists(st.integers(1, 13), min_size=1, max_size=3)))
    axes = tuple(draw(st.permutations(range(len(shape))))[: draw(st.integers(1, len(shape)))])
    wavelet = draw(st.sampled_from(["haar", "db2", "bior2.2", "rbio2.2", "rbio3.3", "sym4", "coif1", "bior1.3"]))
    most = [pywt.dwt_max_level(shape[axis], pywt.Wavelet(wavelet).dec_len) for axis in axes]
    levels = tuple(draw(st.integers(0, level)) for level in most)
    mode = draw(st.sampled_from(["periodization", *pywt.Modes.modes]))
    basis = BasisSpec("wavelet", axes, wavelet, levels, mode) if any(levels) else BasisSpec("identity")
    bands = make_basis(basis, shape).bands
    symbols = sparse_symbols((sum(math.prod(band.shape) for band in bands),), draw(st.integers(2, 9)))
    steps = draw(st.lists(st.floats(1e-3, 1), min_size=len(bands), max_size=len(bands)))
    values = Steps(tuple(steps))
    if draw(st.booleans()):
        values = Codebook(np.linspace(-3, -1, 20).astype(np.float16), np.linspace(1, 3, 20).astype(np.float16))
    original = draw(st.sampled_from([shape, (math.prod(shape),)]))
    return CodedTensor("w", original, shape, basis, symbols, values)


@settings(max_examples=40, deadline=None)
@given(wavelet_tensors(), st.sampled_from(CODERS))
def test_drawn_wavelets_decode_to_the_bits_of_the_reference(drawn, coder):
    assert_same_bits(pack([drawn], coder))
    spec = drawn.basis
    if spec.kind == "wavelet":  # in float64 too, where the order of sums shows
        parameters = {"axes": list(spec.axes), "levels": list(spec.levels), "wavelet": spec.wavelet, "mode": spec.mode}
        own = decoder._tensor("w", list(drawn.view), 1.0, parameters)
        coefficients = np.sin(np.arange(drawn.symbols.size, dtype=float))
        expected = make_basis(spec, drawn.view).synthesise(torch.from_numpy(coefficients)).numpy()
        np.testing.assert_array_equal(own._wavelet(coefficients, own.spec[1]), expected)
