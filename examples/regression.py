"""A regression: scikit-learn's diabetes, whose progression of a disease is predicted from ten numbers.

    python -m wavesweep task=regression dataset=custom dataset.target=examples.regression.diabetes model=custom \
        model.target=examples.regression.Network model.recipe.epochs=40 wavelet=haar level=1 \
        threshold.percentile=60 retrain=finetune retrain.epochs=10

Reports R2 (higher is better), beside the root of the mean squared error and the mean absolute error.
"""

import numpy as np
from sklearn.datasets import load_diabetes
from torch import Tensor, nn


def diabetes() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and test examples; inputs and targets have mean 0 and standard deviation 1."""
    inputs, targets = load_diabetes(return_X_y=True)
    inputs, targets = inputs / inputs.std(0), (targets - targets.mean()) / targets.std()
    order = np.random.default_rng(0).permutation(len(targets))
    train, test = order[:350], order[350:]
    return (inputs[train], targets[train]), (inputs[test], targets[test])


class Network(nn.Module):
    """Two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """One number per row."""
        return self.layers(inputs).squeeze(1)
