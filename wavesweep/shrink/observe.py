"""What a network does with random images: its outputs, and which inputs of its layers are constants."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wavesweep.models.resize import LAYERS

_IMAGES = 4
# Rounding of means over windows of different sizes, relative.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Inputs:
    """The inputs of a layer: how often it was called, which of its inputs were one number throughout, and that."""

    calls: int
    constant: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]


def random_images(shape: Sequence[int]) -> Tensor:
    """A few normal images, the same each time."""
    return torch.randn(_IMAGES, *shape, generator=torch.Generator().manual_seed(0))


def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """The outputs of a network in evaluation mode."""
    with torch.no_grad():
        found = model(images)
    assert isinstance(found, Tensor)
    return found


def same_outputs(before: Tensor, after: Tensor, tolerance: float) -> bool:
    """Whether outputs differ by at most `tolerance` times the largest of them."""
    if before.shape != after.shape:
        return False
    return bool((before - after).abs().max() <= tolerance * before.abs().max().clamp_min(1e-30))


def observe(model: nn.Module, images: Tensor) -> dict[str, Inputs]:
    """The inputs of all layers by name, over all images and positions."""
    seen: dict[str, list[Tensor]] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, LAYERS):

            def note(module: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                values = given[0] if isinstance(module, nn.Linear) else given[0].movedim(1, -1)
                seen.setdefault(name, []).append(values.reshape(-1, values.shape[-1]))

            hooks.append(module.register_forward_pre_hook(note))
    try:
        outputs(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _inputs(calls) for name, calls in seen.items()}


def _inputs(calls: list[Tensor]) -> Inputs:
    low, high = calls[0].amin(0), calls[0].amax(0)
    constant = (high - low) <= _ROUNDING * torch.maximum(low.abs(), high.abs())
    return Inputs(len(calls), constant.numpy(), ((low + high) / 2).numpy())
