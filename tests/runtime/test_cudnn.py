"""What is asked of a GPU, as far as it can be seen without one."""

import pytest
import torch
from torch import nn

from wavesweep.data.datasets import load_dataset
from wavesweep.quantization.importance import layer_importance
from wavesweep.settings.schema import Recipe, Settings
from wavesweep.training.batches import epoch_batches, to_device_if_fits
from wavesweep.training.train import train

GPU = torch.device("cuda")
CPU = torch.device("cpu")


class Watched(nn.Sequential):
    """Remembers how cuDNN was set when it was called."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self.seen = set()

    def forward(self, inputs):
        self.seen.add((torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic))
        return super().forward(inputs)


@pytest.fixture
def settings_stay():
    before = torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic
    yield
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic) == before == (True, False)


def test_training_and_evaluation_take_deterministic_convolutions(settings_stay, tmp_path):
    network = Watched(nn.Flatten(), nn.Linear(64, 10))
    train(network, load_dataset(Settings()), Recipe(epochs=1), 0, CPU, tmp_path, shown=False)
    assert network.seen == {(True, True)}


class Last(nn.Module):
    """Of a recurrent layer's outputs."""

    def __init__(self, recurrent):
        super().__init__()
        self.recurrent = recurrent

    def forward(self, inputs):
        return self.recurrent(inputs)[0][:, -1]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_gradients_through_recurrent_layers_do_without_cudnn(settings_stay, kind):
    network = Watched(nn.Linear(3, 4), Last(kind(4, 5, batch_first=True)))
    assert layer_importance(network, ["0.weight"], torch.randn(6, 7, 3), 0)["0.weight"].outputs.any()
    assert network.seen == {(False, False)}
    other = Watched(nn.Linear(3, 4))
    layer_importance(other, ["0.weight"], torch.randn(6, 3), 0)
    assert other.seen == {(True, False)}


def test_images_that_would_fill_a_gpu_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    images = torch.zeros(1, 1, 1, 501, dtype=torch.uint8)
    assert to_device_if_fits(images, GPU) is images
    moved = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: moved.append(device))
    to_device_if_fits(images[..., :500], GPU)
    assert moved == [GPU]


def test_images_labels_and_numbers_of_a_batch_belong_together():
    images, labels = torch.arange(10.0).reshape(10, 1, 1, 1), torch.arange(10)
    for batch in epoch_batches(images, labels, Recipe(batch_size=4), 0, 0):
        assert batch.images.flatten().tolist() == batch.labels.tolist() == batch.index.tolist()
