"""Recurrent layers and other layers whose weights are read inside one call, as coefficients."""

import pytest
import torch
from own_layers import Conv1D, Own
from torch import nn
from workloads import parametrised

import wavesweep
from wavesweep.training.domain import plain_tensor

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
LENGTH, WIDTH = 5, 8


class Recurrent(nn.Module):
    """One recurrent layer over a sequence, or one cell step by step."""

    def __init__(self, kind, **options):
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(WIDTH, 12, **options)
        width = options.get("proj_size", 12) * (1 + options.get("bidirectional", False))
        self.head = nn.Linear(width, 3)

    def forward(self, inputs):
        steps = inputs.reshape(-1, LENGTH, WIDTH).transpose(0, 1)
        if isinstance(self.layer, nn.RNNBase):
            return self.head(self.layer(steps)[0].mean(0))
        state = None
        for step in steps:
            state = self.layer(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Mixed(nn.Module):
    """Grouped and transposed convolutions, a layer of Hugging Face, bare parameters and a bilinear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.grouped, self.up = nn.Conv1d(LENGTH, 10, 3, groups=5, padding=1), nn.ConvTranspose1d(10, 4, 2, groups=2)
        self.linear, self.own = Conv1D(6, WIDTH + 1), nn.Parameter(torch.randn(1, 4, 6))
        self.bilinear = nn.Bilinear(6, 6, 3)

    def forward(self, inputs):
        hidden = self.up(self.grouped(inputs.reshape(-1, LENGTH, WIDTH)))
        hidden = (self.linear(hidden) + self.own).tanh().mean(1)
        return self.bilinear(hidden, hidden)


NETWORKS = {
    "LSTM": lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True),
    "LSTM with a projection": lambda: Recurrent(nn.LSTM, proj_size=6),
    "GRU": lambda: Recurrent(nn.GRU),
    "RNN": lambda: Recurrent(nn.RNN),
    "LSTMCell": lambda: Recurrent(nn.LSTMCell),
    "GRUCell": lambda: Recurrent(nn.GRUCell),
    "RNNCell": lambda: Recurrent(nn.RNNCell),
    "mixed": Mixed,
}


def labelled(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    inputs = torch.randn(count, LENGTH * WIDTH, generator=generator)
    return inputs + labels[:, None] - 1, labels


@pytest.mark.parametrize("name", NETWORKS)
def test_training_moves_what_is_kept_and_the_layer_computes_with_it(name):
    make = NETWORKS[name]
    model, coefficients, arm, before = parametrised(model=make(), wavelet="haar", level=1, types=["all"])
    matrices = {key for key, value in make().named_parameters() if value.dim() > 1}
    assert {tensor.plan.name for tensor in arm.tensors} == matrices
    inputs, labels = labelled(32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    for tensor, now in zip(arm.tensors, coefficients.pruned(), strict=True):
        assert not torch.equal(now.coefficients, tensor.coefficients)
        assert torch.equal(now.mask, tensor.mask)
        assert not now.coefficients[~tensor.mask].any()
        kept = now.coefficients[tensor.mask] != tensor.coefficients[tensor.mask]
        assert kept.double().mean() > 0.9
    plain = make().eval()
    plain.load_state_dict({key: plain_tensor(model, key).detach() for key in before})
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(inputs), plain(inputs), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
def test_an_embedding_with_sparse_gradients_is_trained_in_its_coefficients(layer):
    torch.manual_seed(0)
    model = nn.Sequential(layer(20, 8, sparse=True), nn.Linear(8, 3))
    model, coefficients, arm, _ = parametrised(model=model, wavelet="haar", level=1, types=["embedding"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.arange(4).reshape(2, 2)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(coefficients.pruned()[0].coefficients, arm.tensors[0].coefficients)


@pytest.mark.parametrize("kind", ["finetune", "rate"])
def test_a_callers_recurrent_network_is_retrained(kind):
    model = NETWORKS["LSTM with a projection"]()
    rule = ["threshold.percentile=50"] if kind == "finetune" else ["threshold=none"]
    overrides = [*rule, "wavelet=haar", "level=1", "layers.types=[all]", "device=cpu", "progress=false"]
    retraining = [f"retrain={kind}", "retrain.epochs=2", "retrain.batch_size=32", "retrain.learning_rate=0.02"]
    if kind == "finetune":
        retraining += ["retrain.optimizer=adam", "retrain.quantize_epochs=1"]
    (inputs, labels), validation = labelled(256), labelled(128, 1)
    data = {"images": inputs, "labels": labels, "validation": validation}
    small = wavesweep.compress(model, [*overrides, *retraining], **data)
    one_shot = wavesweep.compress(model, overrides).state_dict()
    state = small.state_dict()
    recurrent = [name for name in state if name.startswith("layer.weight")]
    assert len(recurrent) == 3
    # Far beyond what quantising changes.
    assert all((state[name] - one_shot[name]).norm() > 0.1 * one_shot[name].norm() for name in recurrent)

    def accuracy(found):
        other = NETWORKS["LSTM with a projection"]().eval()
        other.load_state_dict(found)
        return float((other(validation[0]).argmax(1) == validation[1]).float().mean())

    assert accuracy(state) > accuracy(one_shot) + 0.2


def test_own_layers_are_coded_whole():
    small = wavesweep.compress(Own(), ["method=magnitude", "threshold=none", "layers.types=[all]"])
    found, before = small.state_dict(), Own().state_dict()
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in before.items()}
    assert found["codes"].dtype == torch.int8
