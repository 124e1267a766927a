"""Multiply-accumulates and sizes by hand, and the form of the timings."""

import pytest
import torch
from torch import nn

from wavesweep.measure import cost
from wavesweep.models.zoo import build_model
from wavesweep.settings.schema import ModelSettings

CPU = torch.device("cpu")


def zoo(name, shape):
    return build_model(ModelSettings(name=name), shape, 10, seed=0)


@pytest.mark.parametrize(
    ("name", "shape", "macs"),
    [
        ("lenet300", (1, 28, 28), 784 * 300 + 300 * 100 + 100 * 10),
        ("lenet5", (1, 28, 28), 24 * 24 * 20 * 25 + 8 * 8 * 50 * 500 + 800 * 500 + 500 * 10),
        ("mlp", (1, 8, 8), 64 * 256 + 256 * 128 + 128 * 10),
    ],
)
def test_multiply_accumulates_of_the_zoo(name, shape, macs):
    assert cost.multiply_accumulates(zoo(name, shape), torch.zeros(1, *shape), CPU) == macs


def test_multiply_accumulates_of_lenet300_are_266200():
    assert cost.multiply_accumulates(zoo("lenet300", (1, 28, 28)), torch.zeros(1, 1, 28, 28), CPU) == 266_200


@pytest.mark.parametrize(
    ("convolution", "macs"),
    [
        (nn.Conv2d(3, 8, 5), 28 * 28 * 8 * 3 * 25),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), 16 * 16 * 8 * 3 * 9),
        (nn.Conv2d(3, 6, 3, groups=3, bias=False), 30 * 30 * 6 * 1 * 9),
    ],
)
def test_multiply_accumulates_of_a_convolution(convolution, macs):
    assert cost.multiply_accumulates(nn.Sequential(convolution), torch.zeros(1, 3, 32, 32), CPU) == macs


def test_counting_changes_no_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model.train()
    cost.multiply_accumulates(model, torch.zeros(1, 3, 8, 8), CPU)
    assert model[1].num_batches_tracked == 0
    assert torch.equal(model[1].running_var, torch.ones(4))


def test_dense_bytes_count_parameters_and_floating_point_buffers():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    parameters, statistics = 4 * 27 + 4 + 4 + 4, 4 + 4  # num_batches_tracked is an integer
    assert cost.dense_bytes(model) == 4 * (parameters + statistics)
    assert cost.dense_bytes(zoo("lenet300", (1, 28, 28))) == 4 * 266_610


def test_inference_times_are_ordered_and_complete():
    times = cost.inference_ms(zoo("mlp", (1, 8, 8)), torch.zeros(1, 1, 8, 8), CPU)
    assert (times["device"], times["threads"]) == ("cpu", torch.get_num_threads())
    assert (times["single"]["batch_size"], times["batch"]["batch_size"]) == (1, 64)
    for part in ("single", "batch"):
        assert 0 < times[part]["q1"] <= times[part]["median"] <= times[part]["q3"] < 1000


class Slow(nn.Module):
    """Seems to take 0.1 ms per image."""

    seconds = 0.0

    def forward(self, images):
        Slow.seconds += 1e-4 * len(images)
        return images


def test_inference_time_is_that_of_one_call(monkeypatch):
    monkeypatch.setattr(cost.time, "perf_counter", lambda: Slow.seconds)
    times = cost.inference_ms(Slow(), torch.zeros(1, 1, 2, 2), CPU)
    assert times["single"] == pytest.approx({"median": 0.1, "q1": 0.1, "q3": 0.1, "batch_size": 1})
    assert times["batch"] == pytest.approx({"median": 6.4, "q1": 6.4, "q3": 6.4, "batch_size": 64})


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize(("layers", "both_ways"), [(1, False), (2, True)])
def test_recurrent_layers_multiply_their_inputs_and_what_they_remember(kind, gates, layers, both_ways):
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = kind(8, 32, layers, bidirectional=both_ways, batch_first=True)

        def forward(self, inputs):
            return self.recurrent(inputs)[0]

    ways = 1 + both_ways
    each = sum(gates * 32 * ((8 if layer == 0 else 32 * ways) + 32) * ways for layer in range(layers))
    assert cost.multiply_accumulates(First(), torch.zeros(1, 5, 8), CPU) == 5 * each


def test_layers_with_parametrised_weights_are_counted():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    for layer in (model[0], model[2]):
        nn.utils.parametrizations.weight_norm(layer)
    assert cost.multiply_accumulates(model, torch.zeros(1, 1, 8, 8), CPU) == 36 * 4 * 9 + 1440
