"""The optimizers of retraining: one of the weights, and one of the quantisers where these are trained."""

from collections.abc import Sequence

import torch
from torch import nn

from wavesweep.settings.schema import Recipe
from wavesweep.training.domain import Coefficients
from wavesweep.training.train import make_optimizer, set_learning_rate

# Learning rate of steps (of their logarithm) and codebooks, which are trained by Adam: where a quantiser is trained at
# the end, and where it is trained all along.
_QUANTIZER_RATE, _RATE_QUANTIZER_RATE = 1e-3, 3e-3


def make_optimizers(network: nn.Module, coefficients: Coefficients, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """That of `recipe` for coefficients and all else; behind it Adam for what quantisers learn, if there are any."""
    of_quantizers = {
        id(parameter)
        for synthesis in coefficients.syntheses
        if synthesis.quantizer is not None
        for parameter in synthesis.quantizer.parameters()
    }
    every = [parameter for parameter in network.parameters() if parameter.requires_grad]
    weights = make_optimizer([p for p in every if id(p) not in of_quantizers], recipe, fused=True)
    if isinstance(weights, torch.optim.SGD) and recipe.momentum:
        # From zeros the first step is the same, and PyTorch's fused step fails where only some parameters have had
        # gradients before, as with layers that are left out at random.
        for parameter in weights.param_groups[0]["params"]:
            weights.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    if not of_quantizers:
        return [weights]
    of_steps = Recipe(optimizer="adam", learning_rate=_QUANTIZER_RATE)
    return [weights, make_optimizer([p for p in every if id(p) in of_quantizers], of_steps, fused=True)]


def set_rates(optimizers: Sequence[torch.optim.Optimizer], recipe: Recipe, factor: float, all_along: bool) -> None:
    """Give the optimizers of `make_optimizers` a share of their learning rates.

    Args:
        optimizers: of the weights, and of the quantisers if there are any.
        recipe: that of the weights.
        factor: the share.
        all_along: quantisers are trained in all epochs, not only in the last ones.
    """
    rates = recipe.learning_rate, _RATE_QUANTIZER_RATE if all_along else _QUANTIZER_RATE
    for optimizer, rate in zip(optimizers, rates, strict=False):
        set_learning_rate(optimizer, rate * factor)
