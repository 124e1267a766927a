"""Small pruned tensors that the tests of quantisers look at."""

import torch
from torch import nn

from wavesweep.codec.planes import planes_of
from wavesweep.codec.range_coder import encode
from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.prune import ArmSpec, prune
from wavesweep.settings.schema import Settings, ThresholdSettings

LAYOUTS = ("channel", "flat", "all")
SHAPES = {"linear": (16, 20), "conv": (8, 6, 3, 3)}


def network(shape, seed=0, scale=1.0):
    layer = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], shape[2:])
    generator = torch.Generator().manual_seed(seed)
    layer.weight.data = scale * torch.randn(shape, generator=generator)
    return nn.Sequential(layer)


def pruned(
    shape=SHAPES["linear"], method="wavelet", layout="channel", percentile=50.0, scale=1.0, wavelet="haar", **changes
):
    model = network(shape, scale=scale)
    settings = Settings(wavelet=wavelet, level=2, layout=layout)
    plans = tuple(plan for plan in plan_tensors(model, settings, ()) if plan.pruned)
    threshold = ThresholdSettings(percentile=percentile, **changes)
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    return prune(weights, ArmSpec(method, plans, "periodization", threshold, 0)).tensors[0]


def numbers(tensor):
    return tensor.coefficients.double().numpy(), tensor.mask.numpy()


def coded_bytes(coded, tensor):
    planes = planes_of([(band.level, band.orientation, band.shape) for band in tensor.bands])
    return len(encode([(planes, coded.band_symbols())]))
