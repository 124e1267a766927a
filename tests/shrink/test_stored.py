"""Files of networks that lost units: cut symbol by symbol, read back, and loaded into networks of full size."""

import json
import os
import subprocess
import sys

import pytest
import torch
from networks import ZOO, assert_same_outputs, layers, parameters, trained, zero_units
from torch import nn

import wavesweep
from wavesweep.codec.__main__ import main
from wavesweep.codec.assemble import other_tensor
from wavesweep.codec.container import read_container, write_container
from wavesweep.codec.model_file import pack, unpack
from wavesweep.codec.read import read
from wavesweep.codec.tensors import state_dict
from wavesweep.errors import FileFormatError, SettingsError
from wavesweep.shrink.stored import shrink_stored

# Every weight is coded: what is zero before stays zero, as these methods keep the largest.
ALL = ["method=magnitude", "threshold.percentile=30", "quantize.other=float32"]


def compressed(model, shape, *overrides):
    """The network as stored without and with removal of units: state of full size, and the smaller file."""
    overrides = [*ALL, *overrides]
    full = wavesweep.compress(model, overrides, input_shape=shape).state_dict()
    return full, wavesweep.compress(model, [*overrides, "shrink=true"], input_shape=shape)


def filled(model, state):
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.integration
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("resnet18", "resnet56") else ()) for name in ZOO]
)
def test_the_file_loads_into_a_fresh_network_with_the_outputs_of_the_zeroed_one(name, tmp_path):
    model = trained(name)
    zero_units(model, 0.5)
    full, small = compressed(model, ZOO[name])
    wavesweep.save(small, tmp_path / "model.wsz")
    loaded = wavesweep.load(tmp_path / "model.wsz", trained(name, seed=1))
    assert parameters(loaded) < 0.9 * parameters(model)
    assert_same_outputs(filled(trained(name), full), loaded, ZOO[name])
    for layer in layers(loaded).values():
        size = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        assert layer.weight.shape[1] == size
    # And into one that was cut already.
    again = wavesweep.load(tmp_path / "model.wsz", loaded)
    stored = small.state_dict()
    assert all(torch.equal(value, stored[key]) for key, value in again.state_dict().items())


OVERRIDES = [
    [
        "quantize=kmeans",
        "quantize.bits=4",
        "codec=huffman",
        "threshold=absolute",
        "threshold.value=1e-9",
        "threshold.percentile=80",  # the default, which is nobody's choice
    ],
    ["quantize=none", "codec=none"],
    ["quantize=none", "quantize.coefficients=float32"],
    ["layout=flat"],
    ["layout=spatial"],
    ["quantize.bits=5", "quantize.other=quantized", "quantize.other_bits=16"],
    ["quantize.other=float16"],
    ["method=dct", "layout=spatial", "threshold.percentile=10"],
    ["method=wavelet", "wavelet=haar", "layout=spatial", "level=1", "threshold.percentile=10", "quantize.per=band"],
    ["method=shuffled", "wavelet=haar", "layout=spatial", "level=1", "threshold.percentile=10"],
    ["method=rotation", "layout=spatial", "threshold.percentile=10"],
]


@pytest.mark.integration
@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
@pytest.mark.parametrize("name", ["lenet300", "lenet5"])
def test_weights_that_are_left_are_coded_as_before(name, overrides):
    model = trained(name)
    gone = zero_units(model, 0.5, skip=([*layers(model)][-1],))
    full, small = compressed(model, ZOO[name], *overrides)
    state = small.state_dict()
    left = [unit for unit in range(len(full["fc1.bias"])) if unit not in gone["fc1"]]
    if name == "lenet300":
        assert torch.equal(state["fc1.weight"], full["fc1.weight"][left])
        below = [unit for unit in range(100) if unit not in gone["fc2"]]
        assert torch.equal(state["fc2.weight"], full["fc2.weight"][below][:, left])
    else:
        kept = [unit for unit in range(20) if unit not in gone["conv1"]]
        assert torch.equal(state["conv1.weight"], full["conv1.weight"][kept])
        assert torch.equal(state["fc2.weight"], full["fc2.weight"][:, left])
    assert len(state["fc1.bias"]) == len(left)


@pytest.mark.parametrize("bits", [3, 8, 14])
def test_quantised_biases_take_up_constants_without_a_new_error(bits, tmp_path):
    model = trained("mlp")
    zero_units(model, 0.5)
    overrides = ["quantize.other=quantized", f"quantize.other_bits={bits}"]
    full, small = compressed(model, ZOO["mlp"], *overrides)
    wavesweep.save(small, tmp_path / "model.wsz")
    loaded = wavesweep.load(tmp_path / "model.wsz", trained("mlp", seed=1))
    assert parameters(loaded) < 0.9 * parameters(model)
    images = torch.randn(64, *ZOO["mlp"], generator=torch.Generator().manual_seed(2))
    zeroed = filled(trained("mlp"), full)
    with torch.no_grad():
        outputs, others = zeroed(images), loaded(images)
    assert (outputs - others).abs().max() < 1e-3 * outputs.abs().max()


@pytest.mark.parametrize("method", ["wavelet", "dct", "rotation", "shuffled"])
def test_units_that_coefficients_mix_stay_and_say_why(method):
    model = trained("lenet300")
    zero_units(model, 0.5)
    overrides = [f"method={method}", "wavelet=haar", "level=1", "layout=channel", "quantize.bits=16"]
    tensors = unpack(wavesweep.compress(model, [*ALL, *overrides], input_shape=ZOO["lenet300"]).content)[0]
    # Transforms leave rounding errors where units were zero, so none are; here they are again.
    for name in ("fc1.weight", "fc2.weight"):
        coded = next(tensor for tensor in tensors if tensor.name == name)
        coded.symbols[:] = 0
    found = shrink_stored(tensors, model, ZOO["lenet300"], "float32", 8)
    assert found.full_shapes == {}
    assert any(f"coefficients of fc1.weight ({method})" in row["reason"] for row in found.shrunk.kept_because)
    assert all(torch.equal(value, found.zeroed[key]) for key, value in state_dict(found.tensors).items())


def test_a_file_that_lost_nothing_says_nothing_of_it():
    model = trained("mlp")
    full, small = compressed(model, ZOO["mlp"], "threshold.percentile=0", "quantize.bits=16")
    assert "full_shapes" not in unpack(small.content)[1]
    assert all(torch.equal(value, full[key]) for key, value in small.state_dict().items())


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path, model = tmp_path_factory.mktemp("shrunk") / "model.wsz", trained("mlp")
    zero_units(model, 0.5)
    wavesweep.save(compressed(model, ZOO["mlp"])[1], path)
    return path.read_bytes()


@pytest.fixture
def written(tmp_path, content):
    path = tmp_path / "model.wsz"
    path.write_bytes(content)
    return path


class Wider(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 257), nn.Linear(257, 128), nn.Linear(128, 7)


class Unlike(nn.Module):
    """Tensors of the right names and shapes in a layer that cannot be cut."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Bilinear(1, 1, 1), nn.Linear(256, 128), nn.Linear(128, 7)
        self.fc1.weight, self.fc1.bias = nn.Parameter(torch.zeros(256, 64)), nn.Parameter(torch.zeros(256))


@pytest.mark.parametrize(("other", "said"), [(Wider, "fc1.bias, fc1.weight, fc2.weight"), (Unlike, "fc1.bias, fc1")])
def test_a_network_that_is_not_the_full_one_is_refused_and_unchanged(written, other, said):
    model = other()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FileFormatError, match=f"of another shape: {said}"):
        wavesweep.load(written, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("full_shapes", [None, [], "fc1", 3, {"fc1.weight": 3}, {"fc1.weight": [256]}, {"x": [1, 2]}])
def test_wrong_shapes_in_the_header_are_a_file_that_does_not_fit(written, full_shapes):
    header, streams = read_container(pack(read(written)[0], "range"))
    header["full_shapes"] = full_shapes
    written.write_bytes(write_container({k: v for k, v in header.items() if k != "streams"}, list(streams)))
    with pytest.raises(FileFormatError, match="of another shape"):
        wavesweep.load(written, trained("mlp"))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"fc1.weight": (3,)}, "of another shape: fc1.weight"),
        ({"fc1.weight": (50, 64), "fc1.bias": (5,)}, "of another number of units than its weight: fc1.bias"),
        ({"fc1.weight": (300, 64), "fc1.bias": (300,)}, "of another shape: fc1.bias, fc1.weight"),
        ({"fc1.weight": (0, 64), "fc1.bias": (0,)}, "of another shape: fc1.bias, fc1.weight"),
    ],
)
def test_what_is_no_cut_of_the_full_shape_does_not_fit(written, shapes, said):
    model = trained("mlp")
    state = model.state_dict() | {name: torch.zeros(shape) for name, shape in shapes.items()}
    tensors = [other_tensor(name, value, "float32", 8) for name, value in state.items()]
    header, streams = read_container(pack(tensors, "range"))
    header["full_shapes"] = {name: list(model.state_dict()[name].shape) for name in shapes}
    written.write_bytes(write_container({k: v for k, v in header.items() if k != "streams"}, list(streams)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(FileFormatError, match=said):
        wavesweep.load(written, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_codec_command_reads_it(written, capsys):
    assert main(["verify", str(written)]) == 0
    assert main(["info", str(written)]) == 0
    assert main(["decode", str(written)]) == 0
    assert "sound" in capsys.readouterr().out


def test_removing_units_needs_the_shape_of_an_image():
    with pytest.raises(SettingsError, match=r"shrink=True: needs the shape of an image"):
        wavesweep.compress(trained("mlp"), [*ALL, "shrink=true"])


@pytest.mark.integration
def test_loading_needs_no_graph(written):
    script = (
        "import sys, json, wavesweep; from torch import nn; from collections import OrderedDict\n"
        "model = nn.Sequential(OrderedDict(fc1=nn.Linear(64, 256), fc2=nn.Linear(256, 128), fc3=nn.Linear(128, 7)))\n"
        "wavesweep.load(sys.argv[1], model)\n"
        "print(json.dumps([model.fc1.out_features, 'torch_pruning' in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(written)], env=environment, capture_output=True, text=True, check=True
    )
    features, loaded = json.loads(done.stdout)
    assert features < 256
    assert not loaded
