"""Small networks and their pruned tensors, for tests of what retraining is made of."""

import torch
from torch import nn

from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.prune import ArmSpec, build_basis, prune
from wavesweep.settings.schema import LayersSettings, Settings, ThresholdSettings
from wavesweep.training.domain import Coefficients


def network():
    """Odd and even axes, a convolution, and axes too short for a level."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 9, 3), nn.ReLU(), nn.Flatten(), nn.Linear(225, 12), nn.Linear(12, 5))


class Tied(nn.Module):
    """Embedding and output layer share one parameter; two positions share one module."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.middle = nn.Embedding(17, 10), nn.Linear(10, 10)
        self.head = nn.Linear(10, 17, bias=False)
        self.head.weight = self.embedding.weight
        self.again = self.middle

    def forward(self, tokens):
        return self.head(self.again(self.middle(self.embedding(tokens)).relu()))


def images():
    return torch.randn(16, 2, 7, 7, generator=torch.Generator().manual_seed(1))


def spec_of(model, method="wavelet", percentile=70.0, seed=0, shrinkage="hard", scope="layer", types=None, **changes):
    """How `method` prunes all tensors of `model`."""
    types = LayersSettings(types=types or ["conv", "linear", "embedding"])
    settings = Settings(**{"wavelet": "db2", "level": 2, "layers": types} | changes)
    plans = tuple(plan for plan in plan_tensors(model, settings, (2, 7, 7)) if plan.pruned)
    threshold = ThresholdSettings(percentile=percentile, shrinkage=shrinkage, scope=scope)
    return ArmSpec(method, plans, settings.boundary, threshold, seed)


def pruned_of(model, spec):
    return prune({name: value.detach().clone() for name, value in model.state_dict().items()}, spec)


def parametrised(method="wavelet", masked=True, regrow=False, model=None, **options):
    """A network whose weights are coefficients: it, the coefficients, the pruned arm, and the weights before."""
    model = network() if model is None else model
    spec = spec_of(model, method, **options)
    before = {name: value.detach().clone() for name, value in model.state_dict().items()}
    arm = pruned_of(model, spec)
    return model, Coefficients(model, spec, arm.tensors, regrow, masked), arm, before


def basis_of(spec, plan):
    return build_basis(spec.method, plan, spec.boundary, spec.seed)


def assert_same(mine, others):
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in mine)
