"""A fact the design builds on, on real MNIST: on a real image grid Haar coefficients cost fewer bits than weights."""

import math
from pathlib import Path

import pytest
import torch
from bases import identity, wavelet

from wavesweep.experiment.baseline import load_workload, obtain_baseline
from wavesweep.measure.quality import evaluate
from wavesweep.settings.schema import DatasetSettings, ModelSettings, PathsSettings, Recipe, Settings

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
CPU = torch.device("cpu")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "MNIST" / "raw").is_dir(), reason="MNIST is not on this machine"),
]


def order_0_bytes(symbols: torch.Tensor) -> float:
    counts = torch.unique(symbols, return_counts=True)[1].double()
    return float(-(counts * (counts / counts.sum()).log2()).sum()) / 8


def test_the_image_grid_of_lenet300_takes_fewer_bytes_in_haar_at_equal_accuracy(tmp_path: Path) -> None:
    settings = Settings(
        model=ModelSettings(name="lenet300", recipe=Recipe(epochs=20, batch_size=128)),
        dataset=DatasetSettings(name="mnist"),
        paths=PathsSettings(outputs=str(tmp_path), data=str(DATA)),
    )
    workload = load_workload(settings)
    baseline = obtain_baseline(settings, workload, CPU)
    bases = {
        "haar": wavelet((300, 1, 28, 28), (2, 3), (2, 2), "haar", "periodization"),
        "identity": identity((300, 1, 28, 28)),
    }
    wanted = baseline.record["validation"]["accuracy"] - 0.015

    def cheapest_bytes(name: str) -> float:
        """Bytes of all three layers with the coarsest of a ladder of steps that keeps the accuracy."""
        for exponent in range(12):
            step = 0.16 * 2 ** (-exponent / 4)
            state, total = dict(baseline.state), 0.0
            for layer in ("fc1.weight", "fc2.weight", "fc3.weight"):
                weight = baseline.state[layer]
                basis = bases[name] if layer == "fc1.weight" else identity(weight.shape)
                symbols = (
                    basis.analyse(weight.reshape(300, 1, 28, 28) if weight.shape[1] == 784 else weight) / step
                ).round()
                total += order_0_bytes(symbols)
                state[layer] = basis.synthesise(symbols * step).reshape(weight.shape)
            workload.model.load_state_dict(state)
            quality = evaluate(workload.model, workload.dataset, workload.dataset.validation, "validation", CPU)
            if quality["accuracy"] >= wanted:
                return total
        return math.inf

    haar, weights = cheapest_bytes("haar"), cheapest_bytes("identity")
    print(f"Haar {haar:.0f} bytes, identity {weights:.0f} bytes")
    assert haar < 0.85 * weights
