"""Networks as ONNX files: what onnxruntime makes of them is what PyTorch makes of them, for batches of any size."""

import sys
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import wavesweep
from wavesweep.errors import FileFormatError, SettingsError, TrialError
from wavesweep.experiment.export.onnx import INPUT, OnnxNetwork, onnx_bytes
from wavesweep.models.resnet import cifar_resnet
from wavesweep.models.zoo import lenet5, mlp
from wavesweep.settings import rules
from wavesweep.settings.registry import Model, rows

ZOO = [name for name, row in rows(Model).items() if row.target]


class OwnTokens(nn.Module):
    """A classifier of sequences of five tokens."""

    def __init__(self):
        super().__init__()
        self.embedding, self.classes = nn.Embedding(20, 6), nn.Linear(6, 4)

    def forward(self, tokens):
        return self.classes(self.embedding(tokens).mean(1))


class OwnEncoder(nn.Module):
    """A transformer's encoder of sequences of five tokens."""

    def __init__(self):
        super().__init__()
        self.embedding, self.classes = nn.Embedding(20, 8), nn.Linear(8, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, tokens):
        return self.classes(self.encoder(self.embedding(tokens)).mean(1))


class DependsOnValues(nn.Sequential):
    def forward(self, images):
        logits = super().forward(images)
        return 2 * logits if logits.sum() > 0 else logits


def shaken(model):
    """The network with statistics of batch normalisation as training leaves them, and not as it begins."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def inputs(count, shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(count)
    if dtype == torch.int64:
        return torch.randint(20, (count, *shape), generator=generator)
    return torch.randn(count, *shape, generator=generator)


def assert_same_outputs(content, model, shape, dtype=torch.float32):
    network = OnnxNetwork(content)
    with torch.inference_mode():
        for count in (1, 2, 7):
            batch = inputs(count, shape, dtype)
            expected = model(batch)
            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(network(batch), expected, rtol=0, atol=2e-5 * scale)


NETWORKS = {
    "lenet5": (lambda: lenet5((1, 28, 28), 10), (1, 28, 28), torch.float32),
    "residual blocks": (lambda: cifar_resnet(8, 3, 10), (3, 16, 16), torch.float32),
    "tokens": (OwnTokens, (5,), torch.int64),
    "attention": (OwnEncoder, (5,), torch.int64),
}


@pytest.mark.parametrize(
    "name", ["tokens", *(pytest.param(name, marks=pytest.mark.integration) for name in NETWORKS if name != "tokens")]
)
def test_onnxruntime_gives_the_outputs_of_pytorch_for_any_batch(name, capfd):
    make, shape, dtype = NETWORKS[name]
    torch.manual_seed(0)
    model = shaken(make())
    content = onnx_bytes(model, torch.zeros(1, *shape, dtype=dtype))
    assert_same_outputs(content, model, shape, dtype)
    # All numbers are in the one file, and nothing of the machine that made it.
    assert len(content) > 4 * sum(parameter.numel() for parameter in model.parameters())
    assert b".py" not in content
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo_is_exported(name):
    shape = (3, 32, 32) if name.startswith("resnet") else (1, 28, 28)
    torch.manual_seed(0)
    model = shaken(rows(Model)[name].load()(shape, 10))
    assert_same_outputs(onnx_bytes(model, torch.zeros(1, *shape)), model, shape)


def test_a_network_that_cannot_be_exported_says_why_in_one_line(capfd):
    model = DependsOnValues(nn.Flatten(), nn.Linear(16, 4))
    with pytest.raises(TrialError) as raised:
        onnx_bytes(model, torch.zeros(1, 1, 4, 4))
    text = str(raised.value)
    assert text.startswith("the network cannot be exported as ONNX: ")
    assert "data-dependent" in text
    assert "\n" not in text
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def compressed():
    """An MLP of which half of the hidden units are gone, and a network to decode it into."""
    torch.manual_seed(0)
    model = mlp((1, 8, 8), 10, hidden=(32, 16)).eval()
    overrides = ["method=unit", "threshold.percentile=50", "shrink=true"]
    overrides.append("layers.overrides=[{match: 'fc3*', percentile: 0}]")
    return wavesweep.compress(model, overrides, input_shape=(1, 8, 8)), model


@pytest.mark.integration
def test_a_compressed_network_is_exported_as_it_decodes(compressed, tmp_path):
    small, model = compressed
    wavesweep.save(small, tmp_path / "model.wsz")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sizes = [
        wavesweep.export_onnx(source, model, tmp_path / name, input_shape=(1, 8, 8))
        for source, name in ((small, "a.onnx"), (tmp_path / "model.wsz", "b.onnx"))
    ]
    content = (tmp_path / "a.onnx").read_bytes()
    assert content == (tmp_path / "b.onnx").read_bytes()
    assert sizes == [len(content)] * 2
    decoded = wavesweep.load(tmp_path / "model.wsz", mlp((1, 8, 8), 10, hidden=(32, 16))).eval()
    assert decoded.fc1.out_features == 16  # the smaller network is what is exported
    assert len(content) < 4 * sum(parameter.numel() for parameter in model.parameters())
    assert_same_outputs(content, decoded, (1, 8, 8))
    # Without this package it runs as well.
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    assert (wanted.name, wanted.shape, wanted.type) == (INPUT, ["batch", 1, 8, 8], "tensor(float)")
    (logits,) = session.run(None, {"input": np.zeros((5, 1, 8, 8), np.float32)})
    assert logits.shape == (5, 10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Output(NamedTuple):
    loss: object
    logits: torch.Tensor


class Pair(NamedTuple):
    features: torch.Tensor
    classes: torch.Tensor


class Returning(nn.Module):
    """A network that returns its logits in a tuple, beside something else."""

    def __init__(self, kind):
        super().__init__()
        self.fc, self.kind = nn.Linear(6, 4), kind

    def forward(self, inputs):
        return self.kind(inputs.mean(1), self.fc(inputs))


def exported_pair(kind, path):
    torch.manual_seed(0)
    model = Returning(kind).eval()
    small = wavesweep.compress(model, ["method=magnitude", "threshold.percentile=0"])
    wavesweep.export_onnx(small, model, path, input_shape=(6,))
    return model, small


def test_of_an_object_that_has_logits_these_are_the_one_output(tmp_path):
    model, small = exported_pair(Output, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    assert [(one.name, one.shape) for one in session.get_outputs()] == [("logits", ["batch", 4])]
    batch, state = inputs(5, (6,)), small.state_dict()
    expected = batch @ state["fc.weight"].T + state["fc.bias"]
    assert session.run(None, {INPUT: batch.numpy()})[0] == pytest.approx(expected.numpy(), abs=1e-5)
    assert isinstance(model(batch), Output)  # the caller's network returns what it did


@pytest.mark.integration
def test_a_tuple_in_which_the_logits_are_not_named_is_refused(tmp_path):
    with pytest.raises(TrialError, match="exported as ONNX: it gives 2 outputs, not the logits alone"):
        exported_pair(Pair, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_a_compressed_network_that_does_not_fit_is_refused(compressed, tmp_path):
    with pytest.raises(FileFormatError, match=r"^the compressed network: does not fit the model \("):
        wavesweep.export_onnx(compressed[0], mlp((1, 4, 4), 3), tmp_path / "a.onnx", input_shape=(1, 4, 4))
    assert not (tmp_path / "a.onnx").exists()


def test_a_file_that_does_not_fit_the_network_is_refused(compressed, tmp_path):
    wavesweep.save(compressed[0], tmp_path / "model.wsz")
    with pytest.raises(FileFormatError, match="does not fit the model"):
        wavesweep.export_onnx(tmp_path / "model.wsz", mlp((1, 4, 4), 3), tmp_path / "a.onnx", input_shape=(1, 4, 4))
    assert not (tmp_path / "a.onnx").exists()


def test_missing_packages_are_named_with_what_to_install(compressed, tmp_path, monkeypatch):
    rules._missing_packages.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    try:
        with pytest.raises(SettingsError) as raised:
            wavesweep.export_onnx(compressed[0], compressed[1], tmp_path / "a.onnx", input_shape=(1, 8, 8))
    finally:
        rules._missing_packages.cache_clear()
    said = "needs packages that are not installed (onnxscript, onnxruntime); pip install 'wavesweep[onnx]'"
    assert str(raised.value) == f"export=onnx: {said}"


def test_arguments_of_another_kind_are_said_in_one_line(compressed, tmp_path):
    small, model = compressed
    with pytest.raises(SettingsError, match=r"^compressed=bytes: must be what compress returned, or the path"):
        wavesweep.export_onnx(small.content, model, tmp_path / "a.onnx", input_shape=(1, 8, 8))
    with pytest.raises(SettingsError, match=r"^input_shape=64: must be the shape of one input"):
        wavesweep.export_onnx(small, model, tmp_path / "a.onnx", input_shape=64)
