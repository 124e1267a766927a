"""Weights that layers compute: what they compute is pruned and stored, and files load into the networks as they are."""

import warnings

import pytest
import torch
from cases import case
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import wavesweep
from wavesweep.codec.container import read_container
from wavesweep.errors import FileFormatError, SettingsError
from wavesweep.experiment.trial import run_trial
from wavesweep.models.computed import copy_of, fold_computed, has_computed
from wavesweep.settings.schema import (
    ModelSettings,
    PathsSettings,
    Recipe,
    RetrainSettings,
    Settings,
    ThresholdSettings,
)

IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(4))
PLAIN = ["method=magnitude", "threshold=none", "quantize=none", "quantize.coefficients=float32"]


class Network(nn.Module):
    """A convolution, a recurrent layer over its rows and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.rows, self.out = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.GRU(32, 16, batch_first=True),
            nn.Linear(16, 10),
        )

    def forward(self, images):
        rows = self.conv(images.reshape(-1, 1, 8, 8)).transpose(1, 2).flatten(2)
        return self.out(self.rows(rows)[0][:, -1])


def old(function, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        function(*arguments)


def with_weight_norm():
    network = Network()
    for layer in (network.conv, network.out):
        parametrizations.weight_norm(layer)
    return network


def with_weight_norm_of_rows():
    network = Network()
    parametrizations.weight_norm(network.rows, "weight_hh_l0")
    return network


def with_spectral_norm():
    network = Network()
    for layer in (network.conv, network.out):
        parametrizations.spectral_norm(layer)
    return network


def with_orthogonal():
    network = Network()
    parametrizations.orthogonal(network.out)
    return network


def with_old_weight_norm():
    network = Network()
    for layer, name in ((network.conv, "weight"), (network.rows, "weight_ih_l0"), (network.out, "weight")):
        old(weight_norm, layer, name)
    return network


def with_old_spectral_norm():
    network = Network()
    for layer in (network.conv, network.out):
        old(spectral_norm, layer)
    return network


def with_masks():
    network = Network()
    prune.l1_unstructured(network.conv, "weight", 0.5)
    prune.random_unstructured(network.out, "weight", 0.2)
    prune.ln_structured(network.out, "weight", 0.3, n=2, dim=0)
    prune.l1_unstructured(network.out, "bias", 0.5)
    return network


def with_masks_of_a_normalised_weight():
    network = Network()
    old(weight_norm, network.out)
    prune.l1_unstructured(network.out, "weight_v", 0.5)
    return network


KINDS = {
    "weight_norm": with_weight_norm,
    "weight_norm, recurrent": with_weight_norm_of_rows,
    "spectral_norm": with_spectral_norm,
    "orthogonal": with_orthogonal,
    "weight_norm, old": with_old_weight_norm,
    "spectral_norm, old": with_old_spectral_norm,
    "prune": with_masks,
    "prune and weight_norm": with_masks_of_a_normalised_weight,
}


def outputs(model):
    with torch.no_grad():
        return model.eval()(IMAGES)


def after_training_a_step(build):
    """Its normalisations have seen a step, and hooks leave tensors with gradients behind."""
    model = build().train()
    model(IMAGES).square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.01 * parameter.grad
    model(IMAGES)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_computed_becomes_a_parameter_in_a_copy(kind):
    model = after_training_a_step(KINDS[kind])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = outputs(model)
    copy = copy_of(model)
    (note,) = fold_computed(copy)[:1]
    assert f"computed by {kind.partition(',')[0].split()[-1]};" in note
    assert not has_computed(copy)
    assert sorted(copy.state_dict()) == sorted(Network().state_dict())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in copy.parameters())
    torch.testing.assert_close(outputs(copy), expected)
    # The network itself is as it was, and can be trained on.
    assert has_computed(model)
    torch.testing.assert_close(outputs(model), expected)
    for name, value in model.state_dict().items():
        with case(name):
            assert torch.equal(value, before[name])
    model.train()(IMAGES).sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_loads_into_a_network_that_computes_its_weights(kind, tmp_path):
    model = after_training_a_step(KINDS[kind])
    expected = outputs(model)
    with pytest.warns(UserWarning, match=r"computed by|are not coded") as found:
        small = wavesweep.compress(model, [*PLAIN, "quantize.other=float32"])
    assert any("computed by" in str(warning.message) for warning in found)
    torch.testing.assert_close(outputs(model), expected)
    wavesweep.save(small, tmp_path / "model.wsz")
    loaded = wavesweep.load(tmp_path / "model.wsz", KINDS[kind]())
    torch.testing.assert_close(outputs(loaded), expected)
    assert not has_computed(loaded)
    state = small.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_the_effective_weight_is_pruned():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    parametrizations.weight_norm(model[0])
    old(weight_norm, model[2])
    model(IMAGES)  # leaves a weight with gradients behind, which copy.deepcopy refuses
    with pytest.warns(
        UserWarning, match=r"^0\.weight, 2\.weight: computed by weight_norm; what it gives is pruned and"
    ):
        state = wavesweep.compress(model, ["method=magnitude", "threshold.percentile=75"]).state_dict()
    assert int((state["0.weight"] == 0).sum()) == 27
    assert int((state["2.weight"] == 0).sum()) == 1080


def test_what_does_not_fit_leaves_the_network_as_it_was(tmp_path):
    path = tmp_path / "model.wsz"
    wavesweep.save(wavesweep.compress(nn.Sequential(nn.Linear(16, 16)), PLAIN), path)
    model = with_weight_norm()
    expected, names = outputs(model), list(model.state_dict())
    with pytest.raises(FileFormatError, match=r"does not fit the model \(missing: conv\.bias, conv\.weight"):
        wavesweep.load(path, model)
    assert list(model.state_dict()) == names
    assert torch.equal(outputs(model), expected)


def test_a_mask_stays_with_its_own_layer_where_the_tensor_is_shared():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    prune.random_unstructured(model[0], "weight", 0.5)
    pruned, whole = model[0].weight.detach().clone(), model[1].weight.detach().clone()
    fold_computed(model)
    assert torch.equal(model[0].weight, pruned)
    assert torch.equal(model[1].weight, whole)
    assert int((pruned == 0).sum()) == 32


def test_what_is_computed_from_the_same_parameters_stays_one_tensor():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    for layer in model:
        parametrizations.weight_norm(layer)
    for name in ("original0", "original1"):
        setattr(model[1].parametrizations.weight, name, getattr(model[0].parametrizations.weight, name))
    fold_computed(model)
    assert model[0].weight is model[1].weight


def test_frozen_weights_stay_frozen_and_buffers_buffers():
    class Doubled(nn.Module):
        def forward(self, value):
            return 2 * value

    model = Network()
    model.out.weight.requires_grad_(False)
    parametrizations.weight_norm(model.out)
    for parameter in model.out.parametrizations.parameters():
        parameter.requires_grad_(False)
    model.register_buffer("shift", torch.ones(3))
    parametrize.register_parametrization(model, "shift", Doubled())
    fold_computed(model)
    assert not model.out.weight.requires_grad
    assert dict(model.named_buffers())["shift"].tolist() == [2, 2, 2]


def test_what_cannot_be_computed_is_named_with_the_call_that_removes_it():
    class Failing(nn.Module):
        def forward(self, value):
            if not self.training:
                raise RuntimeError("only in training")
            return value

    model = Network()
    parametrize.register_parametrization(model.out, "weight", Failing())
    with pytest.raises(
        SettingsError, match=r"^model=out\.weight: cannot be computed by Failing \(only in training\); "
    ):
        wavesweep.compress(model)


def test_a_weight_that_something_unknown_computes_is_named():
    class Scaled(nn.Linear):
        def __init__(self):
            super().__init__(16, 10)
            self.inner = nn.Parameter(self.weight.detach().clone())
            del self.weight

        @property
        def weight(self):
            return 2 * self.inner

    model = nn.Sequential(nn.Linear(64, 16), Scaled())
    with pytest.warns(UserWarning, match=r"^1: its weight is computed, so it is not pruned; make it a torch\.nn\.Para"):
        wavesweep.compress(model, [*PLAIN, "layers.exclude=[1.inner]"])


def settings(tmp_path, target, epochs=0, checkpoint=None, **more):
    recipe = Recipe(epochs=epochs, batch_size=64)
    model = ModelSettings("custom", target=f"{__name__}.{target}", recipe=recipe, checkpoint=checkpoint)
    paths = PathsSettings(outputs=str(tmp_path))
    more = {"wavelet": "haar", "level": 1, **more}
    return Settings(model=model, paths=paths, device="cpu", progress=False, compare=[], **more)


@pytest.mark.filterwarnings("ignore:.*(computed by|are not coded):UserWarning")
@pytest.mark.parametrize("target", ["with_weight_norm", "with_old_weight_norm", "with_masks"])
def test_a_trial_and_python_give_the_same_of_what_is_computed(target, tmp_path):
    torch.save(globals()[target]().state_dict(), tmp_path / "weights.pt")
    record = run_trial(settings(tmp_path, target, checkpoint=str(tmp_path / "weights.pt")))
    arm = record["arms"][0]
    recurrent = {"rows.weight_ih_l0", "rows.weight_hh_l0"}
    assert {layer["name"] for layer in arm["layers"]} == {"conv.weight", "out.weight", *recurrent}
    assert arm["total_coefficients"] == 36 + 160 + 48 * (32 + 16)
    assert any("computed by" in note and "conv.weight" in note for note in record["notes"])
    # What is compared with is the network as it is compressed.
    assert record["baseline"]["parameters"] == sum(parameter.numel() for parameter in Network().parameters())
    (path,) = tmp_path.glob("runs/*/model.wsz")
    small = wavesweep.compress(globals()[target](), ["wavelet=haar", "level=1"], input_shape=(1, 8, 8))
    state, expected = wavesweep.load(path), small.state_dict()  # in another order
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    loaded = wavesweep.load(path, globals()[target]())
    assert not has_computed(loaded)


def test_a_trained_network_is_compressed_with_the_weights_that_it_computes_then(tmp_path):
    record = run_trial(settings(tmp_path, "with_weight_norm", 1, threshold=ThresholdSettings(percentile=0.0)))
    baseline, arm = record["baseline"], record["arms"][0]
    assert abs(arm["test"]["loss"] - baseline["test"]["loss"]) < 0.02
    assert max(layer["error"] for layer in arm["layers"]) < 0.02


@pytest.mark.integration
def test_a_network_that_computes_its_weights_is_retrained_from_its_early_ones(tmp_path):
    retrain = RetrainSettings("rewind", rewind="weights", rewind_epoch=1, quantize_epochs=1, rounds=1)
    record = run_trial(settings(tmp_path, "with_spectral_norm", 3, retrain=retrain))
    assert len(record["arms"][0]["retraining"]["curve"]) == 2
    (early,) = tmp_path.glob("baselines/*/epoch_1/weights.safetensors")
    assert load_file(early).keys() == Network().state_dict().keys()


@pytest.mark.integration
def test_a_network_that_computes_its_weights_is_exported(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from wavesweep.experiment.export.onnx import OnnxNetwork

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    old(weight_norm, model[1])
    model(IMAGES)
    expected = outputs(model)
    with pytest.warns(UserWarning, match="computed by weight_norm"):
        small = wavesweep.compress(model, [*PLAIN, "quantize.other=float32"])
    wavesweep.export_onnx(small, model, tmp_path / "model.onnx", input_shape=(1, 8, 8))
    found = OnnxNetwork((tmp_path / "model.onnx").read_bytes())(IMAGES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", [parametrizations.weight_norm, weight_norm])
def test_the_weight_that_a_recurrent_layer_computes_is_coded_and_retrained(function):
    network = Network()
    old(function, network.rows, "weight_hh_l0")
    plain = network.rows.weight_hh_l0.detach().clone()
    overrides = ["wavelet=haar", "threshold.percentile=20", "device=cpu", "progress=false"]
    retraining = ["retrain=finetune", "retrain.epochs=1", "retrain.quantize_epochs=0", "retrain.learning_rate=0.1"]
    labelled = IMAGES, torch.arange(6)
    with pytest.warns(UserWarning, match="computed by weight_norm"):
        small = wavesweep.compress(
            network, [*overrides, *retraining], images=IMAGES, labels=labelled[1], validation=labelled
        )
    layers = {entry["name"]: entry["kind"] for entry in read_container(small.content).header["tensors"]}
    assert layers["rows.weight_hh_l0"] == layers["rows.weight_ih_l0"] == "coded"
    error = (small.state_dict()["rows.weight_hh_l0"] - plain).norm() / plain.norm()
    assert 0.05 < error < 2  # pruned and trained, and still the effective weight
