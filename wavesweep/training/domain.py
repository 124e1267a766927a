"""The coefficients as the network's parameters: every weight becomes the synthesis of its coefficients."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wavesweep.pruning.prune import ArmSpec, PrunedTensor, build_basis, relative_error
from wavesweep.quantization.trainable import Quantizer, StepQuantizer
from wavesweep.runtime.kernels import memory_format_of
from wavesweep.transform.basis import Basis


class Synthesis(nn.Module):
    """A parametrisation (`torch.nn.utils.parametrize`) of a weight by its coefficients under a mask.

    What is pruned is exactly zero, whatever the optimizer does to the parameter behind it. With `regrow` the gradient
    goes straight through the mask, so that pruned coefficients move on and may come back when the mask is chosen
    again, as in dynamic network surgery (Guo et al. 2016).
    """

    mask: Tensor

    def __init__(self, tensor: PrunedTensor, basis: Basis, mask: Tensor, regrow: bool, weight: Tensor) -> None:
        """`weight` is the parameter that it takes the place of, in whose memory format weights are given."""
        super().__init__()
        self.tensor, self.basis, self.regrow = tensor, basis, regrow
        self.memory_format = memory_format_of(weight)
        # As numbers: a product with them takes a third of the time of one with booleans.
        self.register_buffer("mask", mask.to(weight))
        self.quantizer: Quantizer | None = None

    def forward(self, latent: Tensor) -> Tensor:
        """The weight of flat coefficients."""
        weight = self.basis.synthesise(self.coefficients(latent)).reshape(self.tensor.plan.shape)
        if self.memory_format == torch.contiguous_format:
            return weight
        return weight.clone(memory_format=self.memory_format)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The flat coefficients of a weight."""
        return self.basis.analyse(weight.detach().reshape(self.tensor.plan.view)).clone()

    def coefficients(self, latent: Tensor) -> Tensor:
        """What the weight is made of: masked, and quantised once there is a quantiser."""
        kept = latent * self.mask
        if self.quantizer is not None:
            quantized: Tensor = self.quantizer(kept, self.mask)
            return quantized
        return latent + (kept - latent).detach() if self.regrow else kept


class Coefficients:
    """The parametrised tensors of a network, in the order of the plans."""

    def __init__(
        self, model: nn.Module, spec: ArmSpec, tensors: Sequence[PrunedTensor], regrow: bool, masked: bool
    ) -> None:
        """Replace the weights of `tensors` in `model`, which are those before pruning.

        `masked`: start with the masks and the coefficients of `tensors`, which soft thresholding may have moved;
        otherwise with all coefficients.
        """
        self.syntheses: list[Synthesis] = []
        self.latents: list[nn.Parameter] = []
        self._originals = [model.get_parameter(tensor.plan.name).detach().cpu().clone() for tensor in tensors]
        for tensor in tensors:
            basis = build_basis(spec.method, tensor.plan, spec.boundary, spec.seed)
            mask = tensor.mask.clone() if masked else torch.ones_like(tensor.mask)
            weight = model.get_parameter(tensor.plan.name)
            synthesis = Synthesis(tensor, basis, mask, regrow, weight)
            latent: nn.Parameter | None = None
            for module, attribute in _holders(model, tensor.plan.name):
                # A registration turns the parameter itself into coefficients, so each holder needs one of its own.
                setattr(module, attribute, nn.Parameter(weight.detach().clone(), weight.requires_grad))
                if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                    module.sparse = False  # every row has a gradient through coefficients that mix rows
                parametrize.register_parametrization(module, attribute, synthesis)
                behind: Any = module.parametrizations[attribute]  # type: ignore[index]
                if latent is None:
                    latent = behind.original
                else:
                    behind.original = latent  # tied weights stay one parameter
            assert latent is not None
            if masked:
                with torch.no_grad():
                    latent.copy_(torch.where(synthesis.mask.bool(), tensor.coefficients.to(latent), latent))
            self.syntheses.append(synthesis)
            self.latents.append(latent)

    def load(self, weights: Iterable[Tensor]) -> None:
        """Set the coefficients to those of `weights`; masks stay."""
        with torch.no_grad():
            for latent, synthesis, weight in zip(self.latents, self.syntheses, weights, strict=True):
                latent.copy_(synthesis.right_inverse(weight.to(latent)))

    def set_masks(self, masks: Sequence[Tensor]) -> None:
        """New masks; without regrowth the pruned coefficients are set to zero."""
        with torch.no_grad():
            for latent, synthesis, mask in zip(self.latents, self.syntheses, masks, strict=True):
                synthesis.mask.copy_(mask)
                if not synthesis.regrow:
                    latent.mul_(synthesis.mask)

    def zero_pruned(self) -> None:
        """Set the pruned coefficients to zero, which changes no weight."""
        with torch.no_grad():
            for latent, synthesis in zip(self.latents, self.syntheses, strict=True):
                latent.mul_(synthesis.mask)

    def freeze_zeros(self) -> None:
        """Prune what is quantised to zero; from now on nothing else becomes zero."""
        with torch.no_grad():
            for latent, synthesis in zip(self.latents, self.syntheses, strict=True):
                synthesis.mask.mul_(synthesis.coefficients(latent) != 0)
        self.zero_pruned()
        self.keep_nonzero()

    def keep_nonzero(self) -> None:
        """From now on quantisers with steps round nothing to zero that is not pruned."""
        for synthesis in self.syntheses:
            if isinstance(synthesis.quantizer, StepQuantizer):
                synthesis.quantizer.exact = True

    def forget_pruned(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Zero what optimizers remember of pruned coefficients, which changes no result.

        Left alone it fades to subnormal numbers, with which a CPU takes several times as long.
        """
        for latent, synthesis in zip(self.latents, self.syntheses, strict=True):
            for optimizer in optimizers:
                for value in optimizer.state.get(latent, {}).values():
                    if value is not None and value.shape == latent.shape:
                        value.mul_(synthesis.mask)

    def quantize(self, quantizers: Sequence[Quantizer | None]) -> None:
        """From now on the weights are made of quantised coefficients."""
        for latent, synthesis, quantizer in zip(self.latents, self.syntheses, quantizers, strict=True):
            synthesis.quantizer = None if quantizer is None else quantizer.to(latent.device)

    def pruned(self) -> tuple[PrunedTensor, ...]:
        """The tensors as they are now, before quantisation, on the CPU."""
        found = []
        for latent, synthesis, original in zip(self.latents, self.syntheses, self._originals, strict=True):
            mask = synthesis.mask.bool().cpu()
            values = latent.detach().cpu() * mask
            weight = synthesis.basis.synthesise(values).reshape(synthesis.tensor.plan.shape)
            old = synthesis.tensor
            error = relative_error(original, weight)
            found.append(PrunedTensor(old.plan, old.basis, old.bands, values, mask, weight, error))
        return tuple(found)

    @property
    def bases(self) -> list[Basis]:
        """Their bases."""
        return [synthesis.basis for synthesis in self.syntheses]

    def nonzero(self) -> int:
        """Number of coefficients that the weights are made of and that are not zero."""
        with torch.no_grad():
            return sum(
                int(torch.count_nonzero(synthesis.coefficients(latent) * synthesis.mask))
                for latent, synthesis in zip(self.latents, self.syntheses, strict=True)
            )


def plain_tensor(model: nn.Module, name: str) -> Tensor:
    """The parameter or buffer `name` of a network, parametrised or not."""
    module, _, attribute = name.rpartition(".")
    value: Tensor = getattr(model.get_submodule(module), attribute)
    return value


def _holders(model: nn.Module, name: str) -> list[tuple[nn.Module, str]]:
    """Modules and attributes that hold the parameter `name`; several if it is tied."""
    parameter = model.get_parameter(name)
    return [
        (module, attribute)
        for module in model.modules()
        for attribute, value in module.named_parameters(recurse=False, remove_duplicate=False)
        if value is parameter
    ]
