"""Optimizers and their learning rates."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from wavesweep.settings.schema import Recipe
from wavesweep.training.domain import Coefficients


def make_optimizer(
    parameters: Iterable[nn.Parameter], recipe: Recipe, fused: bool | None = None
) -> torch.optim.Optimizer:
    """The recipe's optimizer over the parameters that have gradients; `fused` as PyTorch's optimizers have it."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    shared: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": fused}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(trained, momentum=recipe.momentum, **shared)
    return torch.optim.Adam(trained, **shared)


def make_retraining_optimizers(
    network: nn.Module, coefficients: Coefficients, recipe: Recipe, quantizer_learning_rate: float
) -> list[torch.optim.Optimizer]:
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
    of_steps = Recipe(optimizer="adam", learning_rate=quantizer_learning_rate)
    return [weights, make_optimizer([p for p in every if id(p) in of_quantizers], of_steps, fused=True)]


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Factor of the learning rate when the share `progress` of the training is done."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "multistep":
        return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
    return 1.0
