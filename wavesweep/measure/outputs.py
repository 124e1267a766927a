"""How far the outputs of a network are from those of another one, relative to how much they differ between inputs."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.models.outputs import tensor_of_outputs
from wavesweep.runtime.kernels import deterministic_convolutions
from wavesweep.runtime.seeding import seeded
from wavesweep.tasks.task import Inputs, as_inputs

_BATCH = 64
# Of how many inputs outputs are compared, and of how many numbers at most, unless one input has more.
MOST_INPUTS, _MOST_NUMBERS = 256, 1 << 24
# What is left of a variance by rounding is none.
_ROUNDING = 1e-9


class NoTensorError(TypeError):
    """What a network returns neither is a tensor nor holds one."""


@dataclass(frozen=True)
class OutputError:
    """How far outputs are from others.

    Attributes:
        relative: root of the summed squared differences, divided by that of the outputs' deviations from their mean;
            None where it is not finite.
        agreement: share of the predictions with the same top class, from 0 to 1; None where there are no classes.
    """

    relative: float | None
    agreement: float | None


@deterministic_convolutions()
@seeded(0)  # some have random numbers in evaluation too
def outputs_on(model: nn.Module, inputs: Tensor | Inputs) -> Tensor:
    """Outputs of the first inputs, on the CPU: shape (count, ...), of at most `MOST_INPUTS` and some 16 M numbers.

    Args:
        model: on the device of the inputs; it is put into evaluation mode.
        inputs: as the network takes them.

    Raises:
        NoTensorError: there is none in what the network returns.
    """
    given = as_inputs(inputs)
    model.eval()
    with torch.inference_mode():
        first = _called(model, given, 0, 1)
        count = min(len(given.tensors[0]), MOST_INPUTS, max(1, _MOST_NUMBERS // max(1, first.numel())))
        parts = [_called(model, given, start, min(count, start + _BATCH)) for start in range(0, count, _BATCH)]
    return torch.cat(parts)


def _called(model: nn.Module, given: Inputs, start: int, end: int) -> Tensor:
    found: Any = tensor_of_outputs(given.changed(lambda tensor: tensor[start:end].clone()).call(model))
    if not isinstance(found, Tensor):
        raise NoTensorError(type(found).__name__)
    return found.float().cpu()


def output_spread(outputs: Tensor) -> float:
    """How far the outputs of an input are from their mean over all inputs: the root mean square of the distance.

    Where that tells nothing, as for one input or where all have the same outputs, the root mean square of their norm;
    1 where all outputs are zero.

    Args:
        outputs: shape (count, ...).
    """
    rows = outputs.double().reshape(len(outputs), -1)
    norm = float(rows.square().sum()) / len(rows)
    variance = float((rows - rows.mean(0)).square().sum()) / len(rows)
    return math.sqrt(variance if variance > _ROUNDING * norm else norm) or 1.0


def output_error(reference: Tensor, outputs: Tensor, class_axis: int | None) -> OutputError:
    """The error of `outputs`, shape (count, ...), against `reference`; classes, if there are any, lie along an axis."""
    difference = (outputs.double() - reference.double()).reshape(len(outputs), -1)
    distance = math.sqrt(float(difference.square().sum()) / len(difference))
    relative = distance / output_spread(reference)
    agreement = None
    if class_axis is not None:
        agreement = float((outputs.argmax(class_axis) == reference.argmax(class_axis)).double().mean())
    return OutputError(relative if math.isfinite(relative) else None, agreement)
