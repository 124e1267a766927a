"""The loss of retraining: cross-entropy, and the distance from the baseline's outputs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavesweep.models.train import outputs_of

# Softens both distributions, so that the small outputs of the baseline count as well.
_TEMPERATURE = 3.0


def distilled_loss(
    network: nn.Module, teacher: nn.Module | None, inputs: Tensor, labels: Tensor, share: float, precision: str
) -> Tensor:
    """(1 - share) * cross-entropy + share * T^2 * KL divergence from the teacher at temperature T = 3.

    Knowledge distillation (Hinton et al. 2015); `teacher` is needed where `share` is not 0.
    """
    outputs = outputs_of(network, inputs, precision)
    loss = F.cross_entropy(outputs, labels)
    if teacher is None or not share:
        return loss
    with torch.no_grad():
        wanted = F.log_softmax(outputs_of(teacher, inputs, precision) / _TEMPERATURE, 1)
    found = F.log_softmax(outputs / _TEMPERATURE, 1)
    distance = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return (1 - share) * loss + share * _TEMPERATURE**2 * distance
