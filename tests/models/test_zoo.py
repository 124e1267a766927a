"""Networks by name, and checkpoints that cannot run code."""

import importlib
import pickle
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

from wavesweep.errors import SettingsError
from wavesweep.models.checkpoints import load_checkpoint
from wavesweep.models.zoo import build_model
from wavesweep.settings.registry import Model, rows
from wavesweep.settings.schema import ModelSettings

ZOO = [name for name, row in rows(Model).items() if row.target]

GREY28, COLOUR32, COLOUR224 = (1, 28, 28), (3, 32, 32), (3, 224, 224)


def build(name="mlp", shape=GREY28, classes=10, seed=0, **settings):
    return build_model(ModelSettings(name=name, **settings), shape, classes, seed)


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def assert_same_tensors(model, other):
    mine, others = model.state_dict(), other.state_dict()
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in mine)


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("lenet300", GREY28, 266_610),
        ("lenet5", GREY28, 431_080),
        ("mlp", GREY28, 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10),
        ("mlp5", GREY28, 784_000 + 1_000_000 + 500_000 + 100_000 + 2_000),
        ("fashion_cnn", GREY28, 9 * 32 + 32 + 9 * 32 * 64 + 64 + 49 * 64 * 128 + 128 + 1290),
        ("resnet20", COLOUR32, 269_722),
        ("resnet56", COLOUR32, 853_018),
        ("densenet100", COLOUR32, 769_162),
        ("resnet18", COLOUR32, 11_173_962),
        ("resnet18", COLOUR224, 11_181_642),
    ],
)
def test_numbers_of_parameters(name, shape, count):
    assert parameters(build(name, shape)) == count


@pytest.mark.parametrize("name", ZOO)
def test_every_network_takes_other_images_and_classes(name):
    model = build(name, (2, 20, 24), classes=3)
    assert model(torch.zeros(2, 2, 20, 24)).shape == (2, 3)


def test_mlp5_has_no_biases():
    assert [name for name, _ in build("mlp5").named_parameters()] == [f"fc{n}.weight" for n in range(1, 6)]


def test_resnet18_has_a_small_stem_for_small_images():
    small, large, grey = (build("resnet18", shape) for shape in (COLOUR32, COLOUR224, (1, 224, 224)))
    assert (small.conv1.weight.shape, small.conv1.stride) == ((64, 3, 3, 3), (1, 1))
    assert isinstance(small.maxpool, nn.Identity)
    assert (large.conv1.weight.shape, large.conv1.stride) == ((64, 3, 7, 7), (2, 2))
    assert isinstance(large.maxpool, nn.MaxPool2d)
    assert (grey.conv1.weight.shape, grey.conv1.stride) == ((64, 1, 7, 7), (2, 2))


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_cifar_resnets_halve_the_image_twice(name):
    model, sizes = build(name, COLOUR32), []
    for module in (model.relu, model.stage1_block1, model.stage2_block1, model.stage3_block1):
        module.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    model(torch.zeros(1, *COLOUR32))
    assert sizes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) + 1 == int(name.removeprefix("resnet"))


def test_densenet_grows_by_12_channels_a_layer_and_halves_them_between_its_blocks():
    model, widths = build("densenet100", COLOUR32), []
    names = ("conv1", "block1_layer16", "pool1", "block2_layer16", "pool2", "block3_layer16")
    for name in names:
        hook = lambda _module, _inputs, output: widths.append(tuple(output.shape[1:]))  # noqa: E731
        model.get_submodule(name).register_forward_hook(hook)
    model(torch.zeros(1, *COLOUR32))
    assert widths == [(24, 32, 32), (216, 32, 32), (108, 16, 16), (300, 16, 16), (150, 8, 8), (342, 8, 8)]
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 100


def test_initial_weights_follow_from_the_seed_and_leave_the_generator_alone():
    state = torch.get_rng_state()
    first = build(seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_tensors(first, build(seed=1))
    assert not torch.equal(first.fc1.weight, build(seed=2).fc1.weight)


def flat_network(units=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, units))


def double_network():
    return flat_network().double()


FLAT, DOUBLE = f"{__name__}.flat_network", f"{__name__}.double_network"


def lazy_network():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(10))


def network_of_other_numbers():
    network = flat_network()
    with torch.no_grad():
        network[1].weight[0] = torch.from_numpy(np.random.normal(size=784))
        network[1].bias[0] = random.random()
    return network


@pytest.mark.parametrize("factory", ["lazy_network", "network_of_other_numbers"])
def test_a_users_network_follows_from_the_seed_however_it_draws_its_weights(factory):
    one, same, other = (build("custom", target=f"{__name__}.{factory}", seed=seed) for seed in (1, 1, 2))
    assert_same_tensors(one, same)
    assert not torch.equal(one[1].weight, other[1].weight)
    assert not torch.equal(one[1].bias, other[1].bias)


@pytest.mark.parametrize("content", ["def build(:", "nothing", "raise SystemExit(0)", "1 / 0"])
def test_a_module_that_fails_while_it_is_imported_is_one_line(content, tmp_path, monkeypatch):
    (tmp_path / "own_broken_module.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_broken_module", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(
        SettingsError, match=r"^model\.target=own_broken_module\.build: cannot be imported \("
    ) as raised:
        build("custom", target="own_broken_module.build")
    assert "\n" not in str(raised.value)


def test_arguments_reach_the_factory():
    assert build("mlp", arguments={"hidden": [32], "bias": False}).fc1.weight.shape == (32, 784)
    assert build("custom", classes=7, target=FLAT, arguments={"units": 7})[1].weight.shape == (7, 784)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet19", {}, r"model=resnet19: must be one of mlp, lenet300"),
        ("mlp", {"arguments": {"hiden": [32]}}, r"model\.arguments=.*unexpected keyword argument 'hiden'"),
        ("lenet5", {"shape": (1, 8, 8)}, r"model=lenet5: does not (fit|accept) (inputs|images) of shape \(1, 8, 8\)"),
        ("custom", {}, r"model\.target=None: must be package\.module\.factory"),
        ("custom", {"target": "nowhere.factory"}, r"model\.target=nowhere\.factory: cannot be imported"),
        ("custom", {"target": "torch.nn.nothing"}, r"model\.target=torch\.nn\.nothing: cannot be imported"),
        ("custom", {"target": "builtins.dict"}, r"must return a torch\.nn\.Module, returned dict"),
        ("custom", {"target": "torch.nn.Linear"}, r"model\.target=torch\.nn\.Linear: failed \(TypeError"),
        ("custom", {"target": ".build"}, r"model\.target=\.build: cannot be imported \(ValueError"),
        ("custom", {"target": "..a.b"}, r"model\.target=\.\.a\.b: cannot be imported \(TypeError"),
        ("lenet5", {"shape": (64,)}, r"model=lenet5: does not fit inputs of shape \(64,\)"),
        ("resnet18", {"shape": (64,)}, r"model=resnet18: does not fit inputs of shape \(64,\)"),
        ("custom", {"target": FLAT, "arguments": {"units": 7}}, "has 10 classes"),
        ("custom", {"target": FLAT, "shape": COLOUR32}, "does not accept images.*; choose another dataset or model$"),
        (
            "custom",
            {"target": "torch.nn.LSTM", "arguments": {"input_size": 28, "hidden_size": 10}, "shape": (28, 28)},
            r"model=custom: gives outputs of shape \(28, 10\) where the data set has 10 classes",
        ),
        (
            "custom",
            {"target": DOUBLE},
            r"images.*; its parameters are float64: return model\.float\(\)$",
        ),
    ],
)
def test_a_wrong_network_is_one_line(name, settings, message):
    with pytest.raises(SettingsError, match=message) as raised:
        build(name, **settings)
    assert "\n" not in str(raised.value)


def write_wrapped(state, path):
    torch.save({"state_dict": state, "epoch": torch.tensor(3)}, path)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (save_file, "m.safetensors"),
        (torch.save, "m.pt"),
        (torch.save, "m.pth"),
        (write_wrapped, "m.ckpt"),
    ],
)
def test_checkpoints_are_loaded(tmp_path, write, name):
    trained, model = build("resnet20", COLOUR32, seed=1), build("resnet20", COLOUR32, seed=2)
    trained.bn1.running_mean.fill_(3)
    write(trained.state_dict(), tmp_path / name)
    load_checkpoint(model, str(tmp_path / name))
    assert_same_tensors(model, trained)


class Tied(nn.Module):
    """A layer under two names, and another of the same shape."""

    def __init__(self):
        super().__init__()
        self.first, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second = self.first


def test_a_checkpoint_needs_only_one_of_tied_tensors(tmp_path):
    trained, model = Tied(), Tied()
    save_model(trained, str(tmp_path / "m.safetensors"))
    assert len(load_file(tmp_path / "m.safetensors")) == 4 < len(trained.state_dict())
    load_checkpoint(model, str(tmp_path / "m.safetensors"))
    assert_same_tensors(model, trained)
    assert model.second.weight is model.first.weight
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("other")}
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(SettingsError, match=r"\(missing: other\.bias, other\.weight\)"):
        load_checkpoint(model, str(tmp_path / "m.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc1.bias"), r"does not fit the model \(missing: fc1\.bias\)"),
        (lambda s: s.update({"fc9.bias": torch.zeros(1)}), r"\(unexpected: fc9\.bias\)"),
        (lambda s: s.update({"fc1.bias": torch.zeros(3)}), r"\(of another shape: fc1\.bias\)"),
        (lambda s: s.update({"fc1.bias": "no tensor"}), r"does not fit the model \(missing: fc1\.bias\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, change, message):
    state, model = build(seed=1).state_dict(), build(seed=2)
    change(state)
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(SettingsError, match=r"^model\.checkpoint=.*" + message):
        load_checkpoint(model, str(tmp_path / "m.pt"))
    assert_same_tensors(model, build(seed=2))


class _Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, write):
    proof = tmp_path / "ran"
    write({"fc1.weight": _Hostile(proof)}, tmp_path / "m.pt")
    with pytest.raises(SettingsError, match=r"cannot be read .*give a \.safetensors file or a state dict") as raised:
        load_checkpoint(build(), str(tmp_path / "m.pt"))
    assert "\n" not in str(raised.value)
    assert not proof.exists()
    pickle.loads(pickle.dumps(_Hostile(proof)))
    assert proof.exists()  # the trap works where it is not refused


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04K\x01.", b"random bytes" * 9])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(
        SettingsError, match="must be an existing file" if content is None else "cannot be read|must hold"
    ):
        load_checkpoint(build(), str(tmp_path / name))


class Caching(nn.Module):
    """Keeps a tensor of its first forward pass."""

    def __init__(self):
        super().__init__()
        self.layer, self.grid = nn.LazyLinear(10), None

    def forward(self, images):
        images = images.flatten(1)
        if self.grid is None:
            self.grid = images.new_ones(images.shape[1])
        return self.layer(images * self.grid)


def test_what_is_kept_of_the_first_inputs_can_be_trained_with():
    model = build_model(ModelSettings(name="custom", target=f"{__name__}.Caching"), (1, 8, 8), 10, 0)
    model(torch.ones(2, 1, 8, 8)).sum().backward()
    assert model.layer.weight.grad is not None


def scripted():
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_torchscript_is_refused():
    with pytest.raises(SettingsError, match="returned a TorchScript module; return the module that was scripted"):
        build_model(ModelSettings(name="custom", target=f"{__name__}.scripted"), (1, 8, 8), 10, 0)


class Viewed(nn.Module):
    def forward(self, images):
        return images.view(-1, 3 * 32 * 32)[:, :10]


def test_a_users_own_network_sees_images_as_pytorch_makes_them():
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    found = build("custom", COLOUR32, target=f"{__name__}.Viewed")(images)
    assert torch.equal(found, images.flatten(1)[:, :10])


def test_the_mask_of_an_attention_may_be_infinite_in_a_checkpoint(tmp_path):
    model = nn.Linear(4, 4)
    model.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
    save_file(model.state_dict(), tmp_path / "masked.safetensors")
    load_checkpoint(model, str(tmp_path / "masked.safetensors"))
    model.weight.data[0, 0] = torch.nan
    save_file(model.state_dict(), tmp_path / "broken.safetensors")
    with pytest.raises(SettingsError, match="tensor weight holds NaN or infinity"):
        load_checkpoint(model, str(tmp_path / "broken.safetensors"))
