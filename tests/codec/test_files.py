"""Files on disk and the three calls of a notebook: compress, save, load."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import case
from examples import small_network
from hydra import compose, initialize_config_dir
from torch import nn

import wavesweep
from wavesweep.codec.container import read_container
from wavesweep.codec.model_file import pack
from wavesweep.codec.read import read
from wavesweep.codec.tensors import state_dict
from wavesweep.errors import FileFormatError, SettingsError, StoreError, TrialError, WavesweepError

GOLDEN = Path(__file__).parent / "golden" / "3"
# Made by version 3 of the format: `pack(small_network(basis, rule), coder)` with the names as in
# <coder>-<basis>-<rule>.wsz. Every later version must decode them to the same bits; they are never made anew.
DIGESTS = {
    "range-wavelet-a_step_each.wsz": "cd10fb83eaf6378f0325afa458f9ac4648ee1b6a820900258f67c04d3d7aacb4",
    "range-symmetric-one_step.wsz": "d410caa2d5b5f1cac6e6c68c8dcb258b598dad56882960cb425ab1f896e5fc9d",
    "range-shuffled-codebook.wsz": "4263266ba09f07526c0219ca5117691dcb30b6bde699ed74863bdb2d9daa3f4c",
    "range-identity-float16.wsz": "6fe1561a5cf1b9851e6fb864ff249697aaafca27895a286a3578153166147a97",
    "huffman-wavelet-codebook.wsz": "75b9df61ca1ab18b190eeae6d9b498005d54e8c02f2d54ede57464678496cfcb",
    "huffman-identity-one_step.wsz": "3de7b809813cdbccaa6a7d36f5fc9fe67da6f901579f6382b25ab8d0fbad5531",
    "none-wavelet-one_step.wsz": "62e9bfbbbd3dd615cec47733ba41aab9149710e3b6ae42494e57444e99e28bc7",
    "none-identity-codebook.wsz": "20e465ef978a277040a92f508ef4a5beafb789c0f234c61d8b4c74459fc2e18e",
    "none-dct-float32.wsz": "a86b2d5b437ad58a77c9d45a4cecc31325e642fe88f8acc07dc19c792aa896ff",
    "huffman-rotation-a_step_each.wsz": "a5f373b46610849e5e23cda0ab42bea89bd597a19f2d62b90b229c3dd7c600cd",
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3)
        self.norm = nn.BatchNorm2d(12)
        self.fc = nn.Linear(12 * 36, 20)
        self.out = nn.Linear(20, 20)
        self.tied = nn.Linear(20, 20)
        self.tied.weight = self.out.weight

    def forward(self, images):
        hidden = self.norm(self.conv(images)).relu().flatten(1)
        return self.tied(self.out(self.fc(hidden).relu()))


def network(seed=0):
    torch.manual_seed(seed)
    model = Net()
    model.norm.running_mean.normal_()
    model.norm.num_batches_tracked += 1234
    return model.eval()


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def digest(state):
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode() + value.numpy().tobytes())
    return found.hexdigest()


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "model.wsz"
    compressed = wavesweep.compress(network(), ["wavelet=haar", "threshold.percentile=50"])
    return path, compressed, wavesweep.save(compressed, path)


def test_every_golden_file_is_pinned():
    assert {path.name for path in GOLDEN.glob("*.wsz")} == set(DIGESTS)
    assert len(DIGESTS) >= 6


@pytest.mark.parametrize("name", DIGESTS)
def test_golden_files_still_decode_to_the_same_bits(name):
    assert digest(wavesweep.load(GOLDEN / name)) == DIGESTS[name]


@pytest.mark.parametrize("name", DIGESTS)
def test_golden_files_are_still_what_is_written(name):
    coder, basis, rule = name.removesuffix(".wsz").split("-")
    expected = state_dict(small_network(basis, rule.replace("_", " ")))
    found = wavesweep.load(GOLDEN / name)
    for key, value in expected.items():
        # Another build of BLAS or FFT may add in another order, but not more than that.
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-7)
    content = pack(small_network(basis, rule.replace("_", " ")), coder)
    assert read(GOLDEN / name)[1]["tensors"] == read_container(content).header["tensors"]
    # Another zlib may compress the header to other bytes; all else is the same.
    assert read_container((GOLDEN / name).read_bytes()) == read_container(content)


def test_save_returns_the_size_of_the_file(written):
    path, compressed, size = written
    assert size == compressed.stored_bytes == path.stat().st_size == len(compressed.content)
    assert size < sum(value.numel() for value in network().state_dict().values())


def test_loading_gives_the_state_or_fills_the_network(written):
    path, compressed, _ = written
    state = wavesweep.load(path)
    assert same(state, compressed.state_dict())
    assert same(state, wavesweep.load(str(path)))
    model = network(seed=1)
    assert wavesweep.load(path, model) is model
    assert same(model.state_dict(), state)
    assert model.tied.weight is model.out.weight
    assert model.norm.num_batches_tracked == 1234
    assert torch.isfinite(model(torch.ones(2, 3, 8, 8))).all()


def test_the_network_is_close_to_what_was_compressed():
    model = network()
    fine = wavesweep.compress(model, ["threshold.percentile=0", "quantize.bits=12"]).state_dict()
    for name, value in model.state_dict().items():
        error = torch.linalg.vector_norm((fine[name] - value).double())
        assert error <= 0.01 * torch.linalg.vector_norm(value.double()), name


OVERRIDES = [
    [],
    ["method=magnitude", "codec=huffman", "quantize=kmeans", "quantize.bits=4"],
    ["method=random", "codec=none", "quantize=none"],
    ["method=dct", "threshold.percentile=95", "quantize.other=float32"],
    ["method=rotation", "threshold=energy", "codec=huffman"],
    ["method=shuffled", "wavelet=haar", "quantize.other=quantized", "seed=3"],
    ["method=unit", "threshold.scope=global"],
    ["wavelet=bior4.4", "level=max", "layout=flat", "quantize.per=band", "quantize.atom_norm=true"],
    ["wavelet=db2", "boundary=symmetric", "layout=all", "threshold.shrinkage=soft"],
    ["quantize=rdo", "quantize.importance=none", "quantize.step=0.02"],
    ["layers.overrides=[{match: 'fc*', percentile: 99, wavelet: haar}]", "layers.exclude=[conv*]"],
    ["threshold.percentile=100"],
]


@pytest.mark.filterwarnings("ignore:.* of the file are tensors that are not coded")
@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_every_kind_of_compression_can_be_saved_and_loaded(overrides, tmp_path):
    model = network()
    before, flags = copied(model), [module.training for module in model.modules()]
    compressed = wavesweep.compress(model, overrides)
    assert same(model.state_dict(), before)
    assert [module.training for module in model.modules()] == flags
    assert wavesweep.compress(model, overrides).content == compressed.content
    assert wavesweep.save(compressed, tmp_path / "a" / "b.wsz") == (tmp_path / "a" / "b.wsz").stat().st_size
    filled = wavesweep.load(tmp_path / "a" / "b.wsz", network(1))
    assert same(filled.state_dict(), compressed.state_dict())


def test_importance_needs_images_and_leaves_the_network_as_it_was():
    model = network().train()
    model.norm.eval()  # a frozen normalisation, as in fine-tuning
    before, flags = copied(model), [module.training for module in model.modules()]
    overrides = ["quantize=rdo", "quantize.step=0.05"]
    with pytest.raises(SettingsError, match="images"):
        wavesweep.compress(model, overrides)
    images = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = images.clone()
    compressed = wavesweep.compress(model, overrides, images=images)
    assert torch.isfinite(compressed.state_dict()["fc.weight"]).all()
    assert torch.equal(images, kept)
    assert not images.requires_grad
    assert same(model.state_dict(), before)
    assert [module.training for module in model.modules()] == flags
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("wavelet=haarr", "haar"),
        ("quantize.bits=1", "quantize.bits"),
        ("quantize.bits=many", "quantize.bits"),
        ("threshold.percentil=5", "threshold.percentil"),
        ("codec=zip", "codec"),
        ("quantize=fast", "quantize"),
        ("quantize.step=-1", "quantize.step"),
        ("nonsense", "nonsense"),
        ("=", "="),
        ("quantize.max_drop=1", "data set"),
        ("+new=1", "new"),
    ],
)
def test_wrong_settings_are_one_line(override, said):
    model = network()
    before = copied(model)
    with pytest.raises(SettingsError, match=said) as caught:
        wavesweep.compress(model, [override])
    assert "\n" not in str(caught.value)
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("name", ["conv.weight", "out.weight", "fc.bias", "norm.weight", "norm.running_mean"])
def test_weights_that_are_not_finite_are_refused_by_name(name):
    values, kinds = (float("nan"), float("inf"), float("-inf")), ([], ["quantize.other=quantized"], ["quantize=kmeans"])
    for value, overrides in zip(values, kinds, strict=True):
        model = network()
        model.state_dict()[name].view(-1)[3] = value
        with case(value, overrides), pytest.raises(TrialError, match=name):
            wavesweep.compress(model, overrides)


def test_a_network_of_nothing_to_compress_is_refused():
    with pytest.raises(WavesweepError, match="layers"):
        wavesweep.compress(nn.Sequential(nn.ReLU()))


def test_compressing_inside_another_configuration_of_hydra_works(tmp_path):
    (tmp_path / "other.yaml").write_text("value: 5\n")
    with initialize_config_dir(str(tmp_path)):
        assert wavesweep.compress(network(), ["wavelet=haar"]).stored_bytes
        assert compose("other").value == 5


class Wider(Net):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12 * 36, 21)


class More(Net):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(2, 2)


class Fewer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3)


@pytest.mark.parametrize(
    ("other", "said"), [(Wider, "shape: fc.bias, fc.weight"), (More, "missing: more"), (Fewer, "unexpected: fc.bias")]
)
def test_a_wrong_network_is_refused_and_unchanged(written, other, said):
    model = other()
    before = copied(model)
    with pytest.raises(FileFormatError, match=said) as caught:
        wavesweep.load(written[0], model)
    assert str(written[0]) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert same(model.state_dict(), before)


def test_a_damaged_file_leaves_the_network_unchanged(written):
    path, compressed, _ = written
    model = network(seed=1)
    before = copied(model)
    for size in np.linspace(0, len(compressed.content) - 1, 40, dtype=int):
        path.write_bytes(compressed.content[:size])
        with pytest.raises(FileFormatError, match=str(path)):
            wavesweep.load(path, model)
    assert same(model.state_dict(), before)


def test_limits_can_be_changed_and_are_raised_to_the_size_of_a_given_network(written):
    path = written[0]
    few = wavesweep.Limits(numbers=100)
    with pytest.raises(FileFormatError, match="at most 100 are allowed"):
        wavesweep.load(path, limits=few)
    assert wavesweep.load(path, limits=wavesweep.Limits(numbers=20_000))
    assert wavesweep.load(path, network(), limits=few)


def test_files_that_are_not_there_or_cannot_be_written(written, tmp_path):
    with pytest.raises(FileNotFoundError):
        wavesweep.load(tmp_path / "absent.wsz")
    path, compressed, _ = written
    with pytest.raises(StoreError):
        wavesweep.save(compressed, path / "below a file.wsz")
    assert [found.name for found in tmp_path.iterdir()] == ["model.wsz"]


@pytest.mark.integration
def test_loading_needs_no_training_code():
    script = """
import sys
import wavesweep
state = wavesweep.load(sys.argv[1])
assert state
unwanted = {"hydra", "omegaconf", "torchvision", "sklearn", "optuna", "kmeans1d"} & set(sys.modules)
assert not unwanted, unwanted
"""
    command = [sys.executable, "-c", script, str(min(GOLDEN.glob("*.wsz")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
