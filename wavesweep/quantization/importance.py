"""How much each weight matters to the network's output: a layer-wise second-order estimate from a few images.

The change of the outputs that an error dW of a layer's weight causes is, on average, about trace(G dW A dW^T): A is
the second moment of the layer's inputs, G that of the outputs' derivatives by its units (Kronecker factors as in K-FAC,
Martens and Grosse 2015; the outputs themselves instead of the loss, whose curvature vanishes on images that the
network is sure of).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from wavesweep.errors import TrialError
from wavesweep.quantization.moments import has_moments, moment_of_gradients, moment_of_inputs, of_the_weight
from wavesweep.runtime.kernels import gradients_in_evaluation, without_fused_attention
from wavesweep.runtime.progress import is_logging, steps

Array = npt.NDArray[np.float64]
# Random combinations of the outputs that are differentiated; their mean square is that of the whole Jacobian.
_PROJECTIONS = 16
# Images of a batch, and their values: the outputs of all layers are kept until the batch is done.
_BATCH, _BATCH_VALUES = 64, 24_576


@dataclass(frozen=True)
class LayerImportance:
    """Second moments: `inputs` of a unit's inputs, shape (n, n), with n weights per unit; `outputs` of the derivatives
    by the units, shape (units, units). Where the weight is (inputs, units) they have changed places (see `moments`)."""

    inputs: Array
    outputs: Array


def layer_importance(model: nn.Module, names: Sequence[str], images: Tensor, seed: int) -> dict[str, LayerImportance]:
    """Importance of the weights `names` of linear layers and convolutions that are called; others are left out.

    Args:
        model: on the device of `images`; it is put into evaluation mode.
        names: names of weights, such as fc1.weight.
        images: normalised, shape (count, channels, height, width), or tokens, shape (count, length).
        seed: of the random projections.

    Raises:
        TrialError: the network computes its outputs without gradients.
    """
    modules = {name: model.get_submodule(name.rpartition(".")[0]) for name in names if name.endswith("weight")}
    known = {name: module for name, module in modules.items() if has_moments(module)}
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    # Input and output of each call: a layer may be used several times.
    recorded: dict[str, list[tuple[Tensor, Tensor]]] = {}
    unknown: set[str] = set()

    def remember(name: str) -> RemovableHandle:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            # Tokens have no gradient, nor has a network whose parameters are frozen.
            output = output if output.requires_grad else output.requires_grad_()
            recorded.setdefault(name, []).append((arguments[0].detach(), output))
            # A copy, because an in-place ReLU after the layer would overwrite it.
            return output.clone()

        return known[name].register_forward_hook(hook)

    hooks = [remember(name) for name in known]
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    try:
        with torch.enable_grad(), without_fused_attention(), gradients_in_evaluation(model):
            batches = torch.split(images, _batch_size(images))
            for batch in steps(batches, len(batches), "importance of the weights: batches", is_logging()):
                recorded.clear()
                result = model(batch)
                # Attention reads the weight of its output layer and does not call it.
                calls = [(name, *call) for name, each in recorded.items() for call in each]
                if not calls:
                    continue
                if not result.requires_grad:
                    raise TrialError("outputs have no derivatives by the weights; use quantize.importance=none")
                for name, given, _ in calls:
                    moment = moment_of_inputs(known[name], given)
                    inputs[name] = inputs[name] + moment if name in inputs else moment
                for number in range(_PROJECTIONS):
                    signs = torch.randint(0, 2, result.shape, generator=generator).to(result) * 2 - 1
                    gradients = torch.autograd.grad(
                        (result * signs).sum(),
                        [output for _, _, output in calls],
                        retain_graph=number + 1 < _PROJECTIONS,
                        allow_unused=True,
                    )
                    for (name, _, _), gradient in zip(calls, gradients, strict=True):
                        if gradient is None:  # an output that the logits do not depend on: an auxiliary head
                            unknown.add(name)
                            continue
                        moment = moment_of_gradients(known[name], gradient)
                        outputs[name] = outputs[name] + moment if name in outputs else moment
    finally:
        for hook in hooks:
            hook.remove()
    count = len(images)
    found = {}
    for name in inputs.keys() - unknown:
        moments = of_the_weight(known[name], inputs[name] / count, outputs[name] / (count * _PROJECTIONS))
        found[name] = LayerImportance(*(moment.cpu().numpy() for moment in moments))
    return {name: found[name] for name in inputs if name in found}


def _batch_size(images: Tensor) -> int:
    return max(1, min(_BATCH, _BATCH_VALUES // max(1, images[0].numel())))
