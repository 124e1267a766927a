"""Tensors with two names: what is measured changes under both, and files that others make are counted with one."""

from dataclasses import replace

import pytest
from torch import nn

from wavesweep.experiment.trial import run_trial
from wavesweep.settings.schema import (
    LayersSettings,
    ModelSettings,
    PathsSettings,
    QuantizeSettings,
    Recipe,
    Settings,
    ThresholdSettings,
)
from wavesweep.sweep.scan import scan


class Tied(nn.Module):
    """Two layers of one matrix, 64 x 64."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, images):
        return self.last(self.second(self.first(images.flatten(1)).relu()).relu())


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 10)
        self.again = self.first

    def forward(self, images):
        return self.last(self.again(self.first(images.flatten(1)).relu()).relu())


@pytest.fixture(params=["Tied", "Shared"])
def tied(request, tmp_path):
    recipe = Recipe(epochs=6, batch_size=64, learning_rate=0.005)
    model = ModelSettings("custom", target=f"{__name__}.{request.param}", recipe=recipe)
    paths, layers = PathsSettings(outputs=str(tmp_path)), LayersSettings(include=["first.weight"])
    return Settings(
        model=model, paths=paths, layers=layers, wavelet="haar", level=1, device="cpu", progress=False, compare=[]
    )


def test_the_largest_steps_within_a_drop_are_those_of_the_whole_network(tied):
    settings = replace(tied, threshold=ThresholdSettings(percentile=0.0), quantize=QuantizeSettings(max_drop=1.0))
    record = run_trial(settings)
    before, after = (part["validation"]["accuracy"] for part in (record["baseline"], record["arms"][0]))
    assert before > 0.8
    assert after >= before - 0.01 - 1e-9
    assert record["arms"][0]["nonzero_coefficients"] > 0


def test_a_scan_prunes_a_tensor_under_all_its_names(tied, tmp_path, capsys):
    scan(tied, [0.0, 100.0])
    (table,) = (tmp_path / "sensitivity").glob("*/table.csv")
    header, *rows = (line.split(",") for line in table.read_text().splitlines())
    lost = {float(row[header.index("percentile")]): float(row[header.index("accuracy_lost")]) for row in rows}
    assert lost[0.0] < 0.05
    assert lost[100.0] > 0.5


def test_what_others_store_counts_a_tensor_once(tied):
    record = run_trial(tied)
    others, weights, biases = record["baseline"]["alternatives"], 64 * 64 + 640, 64 + 10
    small = 2000  # headers, and a second bias
    assert 4 * (weights + biases) <= others["safetensors_bytes"] <= 4 * (weights + biases) + small
    assert weights <= others["int8"]["bytes"] <= weights + 4 * biases + small
    assert others["int8"]["validation"]["accuracy"] > record["baseline"]["validation"]["accuracy"] - 0.05
    assert record["arms"][0]["gzip_bytes"] <= 4 * (weights + biases) + small
