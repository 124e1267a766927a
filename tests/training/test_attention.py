"""Transformers: attention's own matrices and embeddings as coefficients, and tokens as inputs."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.backends import mha
from workloads import parametrised

import wavesweep
from wavesweep.pruning.plan import plan_tensors
from wavesweep.quantization.importance import layer_importance
from wavesweep.settings.schema import LayersSettings, Settings
from wavesweep.training.domain import plain_tensor

LENGTH, VOCABULARY = 6, 10


class Encoder(nn.Module):
    """With padding (token 0), whose mask makes nested tensors in the fused kernels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 2)

    def forward(self, tokens):
        hidden = self.encoder(self.embedding(tokens), src_key_padding_mask=tokens == 0)
        return self.head(hidden[:, 0])


class Output:
    def __init__(self, logits):
        self.logits = logits


class HuggingFace(Encoder):
    def forward(self, tokens):
        return Output(super().forward(tokens))


def tokens(count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(1, VOCABULARY, (count, LENGTH), generator=generator)
    found[: count // 2, LENGTH - 2 :] = 0
    return found, (found[:, 0] > VOCABULARY // 2).long()


@pytest.fixture(params=[True, False], ids=["fused", "plain"])
def _kernels(request):
    """With and without the fused kernels of PyTorch, which take weights from the modules by themselves."""
    mha.set_fastpath_enabled(request.param)
    yield
    mha.set_fastpath_enabled(True)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize("method", ["wavelet", "magnitude"])
def test_a_network_of_coefficients_computes_what_its_weights_do(method):
    model, coefficients, arm, before = parametrised(method, model=Encoder())
    names = [tensor.plan.name for tensor in arm.tensors]
    assert {"embedding.weight", "encoder.layers.1.self_attn.in_proj_weight"} <= set(names)
    with torch.no_grad():
        for latent in coefficients.latents:
            latent.mul_(1.5)
    inputs = tokens(8)[0]
    plain = Encoder().eval()
    plain.load_state_dict({name: plain_tensor(model, name) for name in before})
    with torch.inference_mode():
        found, expected, unpruned = model.eval()(inputs), plain(inputs), Encoder().eval()(inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert (found - unpruned).abs().max() > 0.01


def test_matrices_of_attention_are_pruned_as_linear_layers():
    layers = LayersSettings(types=["linear"], exclude=["*linear*"])
    plans = plan_tensors(Encoder(), Settings(layers=layers, wavelet="haar"), (LENGTH,))
    assert {plan.name: plan.reason for plan in plans if plan.pruned} == {
        **{
            f"encoder.layers.{number}.self_attn.{name}": "linear weight"
            for number in (0, 1)
            for name in ("in_proj_weight", "out_proj.weight")
        },
        "head.weight": "linear weight",
    }
    reasons = {plan.name: plan.reason for plan in plans if not plan.pruned}
    assert reasons["embedding.weight"] == "embedding is not among layers.types"
    vector = "encoder.layers.0.self_attn.in_proj_bias"
    assert reasons[vector] == "MultiheadAttention in_proj_bias: of fewer than two dimensions"
    apart = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
    names = [plan.name for plan in plan_tensors(apart, Settings(), ()) if plan.pruned]
    assert names == ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"]


@pytest.mark.parametrize("frozen", [False, True])
def test_importance_of_the_layers_that_are_called_from_tokens(frozen):
    model, inputs = Encoder().eval().requires_grad_(not frozen), tokens(40)[0]
    names = [name for name, value in model.named_parameters() if value.dim() > 1]
    found = layer_importance(model, names, inputs, 0)
    layers = {f"encoder.layers.{number}.linear{which}.weight" for number in (0, 1) for which in (1, 2)}
    assert set(found) == layers | {"head.weight"}
    assert found["head.weight"].inputs.shape == (16, 16)
    assert all((one.outputs > 0).any() for one in found.values())
    assert layer_importance(model, ["embedding.weight"], inputs, 0) == {}


def test_a_callers_network_is_retrained_on_tokens():
    model = HuggingFace()
    before = deepcopy(model.state_dict())
    (inputs, classes), validation = tokens(300), tokens(60, seed=2)
    overrides = [
        *("wavelet=haar", "level=1", "threshold.percentile=50", "layers.types=[linear,embedding]", "progress=false"),
        *("retrain=rate", "retrain.epochs=6", "retrain.learning_rate=0.005", "retrain.rate_weight=0.1"),
    ]
    small = wavesweep.compress(model, overrides, images=inputs, labels=classes, validation=validation)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model._forward_hooks
    found = Encoder().eval()
    found.load_state_dict(small.state_dict())
    assert (found(validation[0]).argmax(1) == validation[1]).double().mean() > 0.8


def test_second_order_quantisation_takes_tokens():
    inputs = tokens(64)[0]
    overrides = [
        *("wavelet=haar", "level=1", "layers.types=[linear,embedding]"),
        *("threshold=none", "quantize=rdo", "quantize.step=0.02"),
    ]
    small = wavesweep.compress(Encoder(), overrides, images=inputs)
    filled = Encoder().eval()
    filled.load_state_dict(small.state_dict())
    agrees = filled(inputs).argmax(1) == Encoder().eval()(inputs).argmax(1)
    assert agrees.double().mean() > 0.9


@pytest.mark.parametrize("size", [1.0, 0.001])
def test_the_step_of_what_has_no_importance_is_relative_to_its_own_size(size):
    model = Encoder()
    with torch.no_grad():
        model.embedding.weight *= size
    overrides = ["method=magnitude", "threshold=none", "quantize=rdo", "quantize.step=0.02", "layers.types=[all]"]
    found = wavesweep.compress(model, overrides, images=tokens(64)[0]).state_dict()["embedding.weight"]
    error = (found - model.embedding.weight).norm() / model.embedding.weight.norm()
    assert 0.003 < error < 0.02  # a step's square root of a twelfth, and what saves bits
