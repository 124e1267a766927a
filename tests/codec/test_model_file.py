"""Whole networks as bytes: every basis, rule, coder and type comes back exactly."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from cases import case
from examples import BASES, CODERS, RULES, coded, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wavesweep.codec.assemble import assemble
from wavesweep.codec.container import read_container
from wavesweep.codec.limits import Limits
from wavesweep.codec.model_file import pack, unpack
from wavesweep.codec.tensors import RawTensor, SameTensor, state_dict
from wavesweep.errors import FileFormatError
from wavesweep.models.tied import tied_names
from wavesweep.quantization.symbols import CodedTensor, Steps
from wavesweep.transform.basis import BasisSpec, make_basis

RAW = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def assert_same_tensor(found, tensor):
    assert type(found) is type(tensor)
    assert found.name == tensor.name
    if isinstance(tensor, CodedTensor):
        assert (found.shape, found.view, found.basis) == (tensor.shape, tensor.view, tensor.basis)
        np.testing.assert_array_equal(found.symbols, tensor.symbols)
        assert found.symbols.dtype == np.int32
        assert torch.equal(found.weight(), tensor.weight())
        assert found.weight().dtype == torch.float32
    elif isinstance(tensor, RawTensor):
        assert found.dtype == tensor.dtype
        assert found.values.dtype == tensor.values.dtype
        assert found.values.tobytes() == tensor.values.tobytes()
        assert found.values.shape == tensor.values.shape
    else:
        assert found == tensor


def assert_comes_back(tensors, coder):
    content = pack(tensors, coder, made_by={"by": "a test"})
    assert content == pack(tensors, coder, made_by={"by": "a test"})
    found, header = unpack(content)
    assert header["made_by"] == {"by": "a test"}
    assert header["coder"] == coder
    for one, other in zip(found, tensors, strict=True):
        assert_same_tensor(one, other)
    assert pack(found, coder, made_by={"by": "a test"}) == content
    return content


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("basis", BASES)
def test_every_combination_comes_back(basis, coder):
    for rule in RULES:
        with case(rule):
            tensors = small_network(basis, rule)
            assert_comes_back(tensors, coder)
            state = state_dict(tensors)
            assert list(state) == [tensor.name for tensor in tensors]
            assert state["head.weight"] is state["fc.weight"]


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(0, 6), max_size=4).map(tuple),
    coder=st.sampled_from(CODERS),
    largest=st.sampled_from([0, 1, 100, 60_000]),
    data=st.data(),
)
def test_any_shape_and_symbols_come_back(shape, coder, largest, data):
    basis = BasisSpec("identity")
    if shape and 0 not in shape:
        axes = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True).map(sorted).map(tuple))
        kind = data.draw(st.sampled_from(["identity", "dct", "rotation"]))
        made_of = {"identity": {}, "dct": {"axes": axes}, "rotation": {"axes": axes, "seed": 5}}
        basis = BasisSpec(kind, **made_of[kind])
    count = make_basis(basis, shape).count
    symbols = data.draw(st.lists(st.integers(-largest, largest), min_size=count, max_size=count)) if count < 200 else []
    flat = np.zeros(count, np.int32)
    flat[: len(symbols)] = symbols
    assert_comes_back([CodedTensor("a", shape, shape, basis, flat, Steps((0.25,)))], coder)


@pytest.mark.parametrize("coder", CODERS)
def test_views_of_another_shape_come_back(coder):
    for view, basis in (((510,), "flat"), ((10, 17, 3), "wavelet")):
        spec = BASES["wavelet"] if basis == "wavelet" else BasisSpec("wavelet", (0,), "haar", (3,), "symmetric")
        symbols = np.arange(make_basis(spec, view).count, dtype=np.int32) % 5 - 2
        tensor = CodedTensor("a", (10, 51), view, spec, symbols, Steps((0.5,)))
        assert_comes_back([tensor], coder)
        assert tensor.weight().shape == (10, 51)


@pytest.mark.parametrize("dtype", RAW)
def test_raw_numbers_come_back_bit_for_bit(dtype):
    shapes = ((), (1,), (0,), (3, 0, 2), (4, 5))
    tensors = []
    for number, shape in enumerate(shapes):
        values = np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2
        tensors.append(RawTensor(f"t{number}", values.astype(dtype), dtype))
    if dtype.startswith("float"):
        special = np.array([-0.0, np.finfo(dtype).max, np.finfo(dtype).tiny, np.inf, -np.inf, np.nan], dtype)
        tensors.append(RawTensor("special", special, dtype))
    elif dtype != "bool":
        tensors.append(RawTensor("special", np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype), dtype))
    assert_comes_back(tensors, "range")
    for tensor, (name, value) in zip(tensors, state_dict(tensors).items(), strict=True):
        assert name == tensor.name
        assert value.dtype == getattr(torch, dtype)
        assert value.shape == tensor.values.shape
        assert value.numpy().tobytes() == tensor.values.tobytes()


def test_raw_numbers_can_be_stored_shorter_than_they_are():
    tensors = [RawTensor("a", np.array([0.5, -2.0], np.float16), "float32")]
    tensors.append(RawTensor("b", np.array([1.5, 3.0], np.float32), "bfloat16"))
    assert_comes_back(tensors, "none")
    state = state_dict(tensors)
    assert (state["a"].dtype, state["b"].dtype) == (torch.float32, torch.bfloat16)
    assert state["b"].tolist() == [1.5, 3.0]


@pytest.mark.parametrize("coder", CODERS)
def test_a_file_of_nothing_comes_back(coder):
    assert len(assert_comes_back([], coder)) < 50


def test_the_headers_of_small_networks_are_small():
    shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    tensors = []
    for name, shape in shapes.items():
        tensors.append(coded(f"{name}.weight", shape, "identity", "one step"))
        tensors.append(RawTensor(f"{name}.bias", np.zeros(shape[0], np.float16), "float32"))
    content = pack(tensors, "range")
    assert len(content) - sum(map(len, read_container(content).streams)) < 100


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("basis", ["identity", "rotation", "symmetric"])
def test_empty_tensors_decode(basis, coder):
    spec = BasisSpec("identity") if basis == "identity" else BASES[basis]
    if basis == "symmetric":
        spec = BasisSpec("wavelet", (1,), "haar", (2,), "symmetric")
    for shape in ((0, 8), (0, 1)):
        if basis == "symmetric" and shape[1] < 2:
            continue
        bands = make_basis(spec, shape).bands
        for steps in ((0.5,), tuple(0.5 + number for number in range(len(bands)))):
            tensor = CodedTensor("a", shape, shape, spec, np.zeros(0, np.int32), Steps(steps))
            found = state_dict(unpack(pack([tensor], coder))[0])
            assert found["a"].shape == shape


def test_a_network_with_all_kinds_of_entries_comes_back():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 16))
    model[4].weight = model[3].weight
    model.register_buffer("mask", torch.tensor([True, False]))
    model.register_buffer("scale", torch.tensor([0.5, 3.0], dtype=torch.bfloat16))
    model.register_buffer("wide", torch.tensor([1e300, -1.0], dtype=torch.float64))
    model.register_buffer("nothing", torch.zeros(0, 3))
    state = {name: value.detach() for name, value in model.state_dict().items()}
    tied = tied_names(model)
    assert tied == {"4.weight": "3.weight"}
    weight = coded("3.weight", (16, 16), "wavelet", "one step")
    for other in ("float32", "float16", "quantized"):
        tensors = assemble(state, [weight], tied, other, 8)
        assert [tensor.name for tensor in tensors] == list(state)
        found = state_dict(unpack(pack(tensors, "range"))[0])
        for what in ("shape", "dtype"):
            kinds = [{name: getattr(value, what) for name, value in one.items()} for one in (found, state)]
            assert kinds[0] == kinds[1]
        for name, value in state.items():
            if name in ("3.weight", "4.weight"):
                assert torch.equal(found[name], weight.weight())
            elif not value.is_floating_point() or (other == "float32" and value.dtype != torch.bfloat16):
                assert torch.equal(found[name], value)
            elif value.numel():
                error = (found[name].double() - value.double()).abs().max()
                assert error <= value.double().abs().max() * (1 / 127 if other == "quantized" else 1e-3)
        assert isinstance(tensors[list(state).index("4.weight")], SameTensor)


def test_a_file_may_declare_as_many_numbers_as_its_reader_allows():
    content = pack([RawTensor("a", np.zeros(10, np.int8), "int8")], "none")
    unpack(content, Limits(numbers=10))
    with pytest.raises(FileFormatError, match="at most 9 are allowed"):
        unpack(content, Limits(numbers=9))
    pair = [RawTensor(name, np.zeros(6, np.int8), "int8") for name in "ab"]
    with pytest.raises(FileFormatError, match="at most 11 are allowed"):
        unpack(pack(pair, "none"), Limits(numbers=11))


DECODE = """
import hashlib, json, sys, torch
torch.set_num_threads(int(sys.argv[2]))
import wavesweep
state = wavesweep.load(sys.argv[1])
print(json.dumps({name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in state.items()}))
"""


@pytest.mark.integration
def test_another_number_of_threads_decodes_the_same_bits(tmp_path):
    tensors = [coded(basis, (96, 130), basis, "a step each") for basis in BASES]
    path = tmp_path / "a.wsz"
    path.write_bytes(pack(tensors, "range"))
    found = []
    for threads in ("1", "4"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", DECODE, str(path), threads]
        found.append(json.loads(subprocess.run(command, capture_output=True, check=True, env=environment).stdout))
    assert found[0] == found[1]
    assert list(found[0]) == list(BASES)


def test_a_tied_weight_can_be_read_when_its_second_name_comes_first():
    # As in a state that was read from a file, which is sorted by name.
    state = {"decoder.weight": torch.ones(2, 3), "embedding.weight": torch.ones(2, 3)}
    stored = assemble(state, [], {"decoder.weight": "embedding.weight"}, "float32", 8)
    decoded = state_dict(unpack(pack(stored, "range"))[0])
    assert decoded.keys() == state.keys()
    assert all(torch.equal(decoded[name], value) for name, value in state.items())
