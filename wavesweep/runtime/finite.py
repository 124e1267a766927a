"""Whether the numbers of a tensor are finite, and what is said of a network where they are not."""

import torch
from torch import Tensor

from wavesweep.errors import TrialError


def is_finite(value: Tensor) -> bool:
    """Whether no number is NaN or infinite."""
    return bool(torch.isfinite(value).all())


def is_storable(value: Tensor) -> bool:
    """Whether its numbers are finite; those of several axes may be infinite, as in the mask of an attention."""
    return not bool(value.isnan().any()) if value.dim() > 1 else is_finite(value)


def not_finite(name: str) -> TrialError:
    """The error of a tensor of a trained network that holds NaN or infinity."""
    return TrialError(f"tensor {name} holds NaN or infinity; check the training of the baseline")
