"""Second moments of what a layer reads and of the derivatives by its units, by kind of layer.

A weight is taken as a matrix of its first axis by all others. That of most layers is (units, inputs of a unit); that of
transposed convolutions and of Hugging Face's Conv1D is (inputs, units), so the two moments change places there.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavesweep.pruning.kinds import is_transformers_linear

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


def has_moments(module: nn.Module) -> bool:
    """Whether the moments of the module's `weight` are known."""
    if isinstance(module, _CONVOLUTIONS):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if isinstance(module, _TRANSPOSED):
        return module.groups == 1
    return isinstance(module, nn.Linear) or is_transformers_linear(module)


def moment_of_inputs(module: nn.Module, inputs: Tensor) -> Tensor:
    """Sum over inputs and positions of x x^T, x being what one unit's weights are multiplied with.

    Shape (n, n), of a grouped convolution (groups, n, n).
    """
    if isinstance(module, _TRANSPOSED):
        rows = _floats(inputs).movedim(1, -1)
        rows = rows.reshape(-1, rows.shape[-1])
    elif isinstance(module, _CONVOLUTIONS):
        columns = _patches(module, inputs)
        count, _, positions = columns.shape
        rows = columns.reshape(count, module.groups, -1, positions).permute(1, 0, 3, 2).flatten(1, 2)
        if module.groups == 1:
            rows = rows[0]
    else:
        rows = _floats(inputs).reshape(-1, inputs.shape[-1])
    # At least float32 products of a batch, summed in float64: a sum of squares leaves half precision.
    return (rows.mT @ rows).double()


def moment_of_gradients(module: nn.Module, gradient: Tensor) -> Tensor:
    """Sum over inputs of g g^T, g being the derivatives by the units, averaged over the positions of an input.

    Of a transposed convolution g has a derivative for each place of its kernel.
    """
    if isinstance(module, _TRANSPOSED):
        units = _patches(module, gradient).movedim(1, -1)
    else:
        units = gradient.movedim(1, -1) if isinstance(module, _CONVOLUTIONS) else gradient
    # Squares of small gradients leave float32.
    rows = units.reshape(-1, units.shape[-1]).double()
    return rows.T @ rows * (len(gradient) / len(rows))


def of_the_weight(module: nn.Module, inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The moments along the weight's other axes and along its first axis, from those of inputs and of gradients.

    The groups of a convolution have one moment of inputs here, their mean; how large each group's own is counts as the
    weight of its units, and errors of different groups as independent.
    """
    if isinstance(module, _TRANSPOSED) or is_transformers_linear(module):
        return outputs, inputs
    if inputs.dim() == 2:
        return inputs, outputs
    mean = inputs.mean(0)
    sizes = inputs.diagonal(dim1=1, dim2=2).sum(1) / mean.trace().clamp_min(torch.finfo(mean.dtype).tiny)
    units = len(outputs) // len(sizes)
    scales = sizes.sqrt().repeat_interleave(units)
    group = torch.arange(len(sizes), device=outputs.device).repeat_interleave(units)
    return mean, outputs * (scales[:, None] * scales) * (group[:, None] == group)


def _floats(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _patches(module: Any, values: Tensor) -> Tensor:
    """What the kernel covers at each position, shape (count, channels * kernel, positions)."""
    values, flat = _floats(values), isinstance(module, nn.Conv1d | nn.ConvTranspose1d)
    sizes = (module.kernel_size, module.dilation, module.padding, module.stride)
    if not flat:
        return F.unfold(values, *sizes)
    (kernel,), (dilation,), (padding,), (stride,) = sizes
    return F.unfold(values.unsqueeze(2), (1, kernel), (1, dilation), (0, padding), (1, stride))
