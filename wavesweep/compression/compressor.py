"""One arm, a method applied to a trained network, from pruning to the bytes of its file.

A trial and `wavesweep.compress` share it: prune -> retrain -> quantise -> encode, each with plain values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wavesweep.codec.assemble import assemble
from wavesweep.codec.model_file import pack
from wavesweep.codec.planes import planes_of
from wavesweep.codec.range_coder import significance_probabilities
from wavesweep.codec.tensors import StoredTensor, state_dict
from wavesweep.compression.network import TrainedNetwork, importances_of, validation_quality
from wavesweep.errors import TrialError
from wavesweep.models.tied import tied_names
from wavesweep.pruning.plan import TensorPlan
from wavesweep.pruning.prune import ArmSpec, PrunedArm, PrunedTensor, prune
from wavesweep.quantization.importance import LayerImportance
from wavesweep.quantization.quantize import quantize
from wavesweep.quantization.rate_distortion import quantize_rate_distortion
from wavesweep.quantization.symbols import CodedTensor, Symbols
from wavesweep.quantization.trainable import Quantizer, first_quantizer, trained_quantizer
from wavesweep.settings.schema import (
    CodecSettings,
    QuantizeSettings,
    Recipe,
    RetrainSettings,
    Settings,
)
from wavesweep.shrink.stored import ShrunkFile, shrink_stored
from wavesweep.training.interface import CheckpointPaths, Retrained, Start, Training
from wavesweep.training.retrain import retrain
from wavesweep.transform.basis import Band, BasisSpec, identity_basis

# What `codec=huffman` takes: so many different symbols of a tensor, within such a span.
MOST_SYMBOLS, MOST_SPAN = 1 << 16, 1 << 21
# Halvings of the range of steps in the search for `max_drop`, and that range.
_HALVINGS, _SMALLEST_SCALE, _LARGEST_SCALE = 10, 2.0**-8, 2.0**8


@dataclass(frozen=True)
class CompressionSettings:
    """How arms are retrained, quantised and encoded: the settings that all arms of a trial have in common.

    `seed` is that of the order of the images in retraining, and of the random projections of `quantize.importance`.
    With `shrink`, units that are all zero are removed. `recipe` is the one that the network was trained by, from which
    retraining takes what its own settings leave open.
    """

    retrain: RetrainSettings
    quantize: QuantizeSettings
    codec: CodecSettings
    seed: int
    shrink: bool = False
    recipe: Recipe = field(default_factory=Recipe)
    progress: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> "CompressionSettings":
        """Those of a trial."""
        return cls(
            settings.retrain,
            settings.quantize,
            settings.codec,
            settings.seed,
            settings.shrink,
            settings.model.recipe,
            settings.progress,
        )


@dataclass(frozen=True)
class CompressedArm:
    """An arm as a file: its bytes, its tensors as coded, what pruning kept, and the step's factor that was used.

    `tensors` are of full size also where the file's are not because units were removed (`shrunk`); `retrained` is None
    where nothing was retrained; `uncoded` is the state dict before quantisation.
    """

    content: bytes
    tensors: tuple[CodedTensor, ...]
    pruned: PrunedArm
    step_scale: float
    uncoded: Mapping[str, Tensor]
    retrained: Retrained | None = None
    shrunk: ShrunkFile | None = None


def compress_arm(
    spec: ArmSpec, settings: CompressionSettings, network: TrainedNetwork, paths: CheckpointPaths | None = None
) -> CompressedArm:
    """Prune, retrain, quantise and encode a network; checkpoints of retraining go to `paths`.

    Raises:
        TrialError: a weight is not finite, or retraining diverged.
        BusyError: another process trains what is shared, and this one is not to wait.
    """
    state: Mapping[str, Tensor] = network.state
    retrained: Retrained | None = None
    pruned, coder = prune(state, spec), ArmCoder(spec, settings, network)
    if settings.retrain.name == "none":
        coded = coder.quantize(pruned.tensors, state)
    else:
        retrained = _retrain(pruned, spec, settings, network, coder, paths)
        coded, state, pruned = retrained.coded, retrained.state, retrained.pruned
    content, shrunk = coder.encode(coded, state)
    # With bits in the loss the state has what was learned, otherwise the pruned tensors have it.
    weights = {tensor.plan.name: tensor.weight for tensor in pruned.tensors if settings.retrain.name != "rate"}
    uncoded = {**state, **weights}
    return CompressedArm(content, coded[: len(spec.plans)], pruned, coder.scale, uncoded, retrained, shrunk)


def _retrain(
    pruned: PrunedArm,
    spec: ArmSpec,
    settings: CompressionSettings,
    network: TrainedNetwork,
    coder: "ArmCoder",
    paths: CheckpointPaths | None,
) -> Retrained:
    assert network.dataset is not None
    training = Training(
        network.dataset,
        settings.recipe,
        settings.seed,
        network.device,
        paths,
        settings.progress,
        network.early_state,
        network.key,
    )
    start = Start(network.model, network.state, spec, pruned, _extras(spec, settings, network))
    # Arms are matched by bytes through the step, which is learned here: by the weight of the rate instead.
    weighted = replace(settings.retrain, rate_weight=settings.retrain.rate_weight * spec.step_scale)
    return retrain(start, weighted, training, coder, settings.quantize.is_trainable)


def _extras(spec: ArmSpec, settings: CompressionSettings, network: TrainedNetwork) -> list[PrunedTensor]:
    """Biases and the like, whose bits are in the loss as well where they are stored as symbols."""
    if settings.retrain.name != "rate" or settings.quantize.other != "quantized":
        return []
    tied, pruned = tied_names(network.model), {plan.name for plan in spec.plans}
    found = []
    for name, parameter in network.model.named_parameters():
        is_small = parameter.dim() == 1 and parameter.numel() > 1 and parameter.dtype == torch.float32
        if is_small and parameter.requires_grad and name not in tied and name not in pruned:
            shape, values = tuple(parameter.shape), network.state[name]
            plan = TensorPlan(name, shape, True, "stored as symbols", view=shape)
            bands = identity_basis(shape, BasisSpec("identity")).bands
            mask = torch.ones(parameter.numel(), dtype=torch.bool)
            found.append(PrunedTensor(plan, BasisSpec("identity"), bands, values, mask, values, 0.0))
    return found


class ArmCoder:
    """How one arm of a network becomes a file; `scale` is the factor of the steps that was last used."""

    def __init__(self, spec: ArmSpec, settings: CompressionSettings, network: TrainedNetwork) -> None:
        self._spec, self._settings, self._network, self.scale = spec, settings, network, spec.step_scale

    def quantize(self, tensors: Sequence[PrunedTensor], state: Mapping[str, Tensor]) -> tuple[CodedTensor, ...]:
        """The coded form of the tensors of a network; with `quantize.max_drop` the scale is found as well.

        Args:
            tensors: after pruning.
            state: state dict of the network that they are part of, on the CPU.
        """
        settings, network = self._settings.quantize, self._network
        importance, unit = dict[str, LayerImportance](), 1.0
        if settings.importance != "none":
            names = tuple(tensor.plan.name for tensor in tensors)
            found = importances_of(network, names, state, self._settings.seed)
            importance, unit = dict(found.layers), output_unit(found.output_spread, network.model)

        def quantized(at: float) -> tuple[CodedTensor, ...]:
            if settings.is_trainable:
                return tuple(quantize(tensor, settings, at) for tensor in tensors)
            return tuple(
                quantize_rate_distortion(
                    tensor,
                    settings,
                    importance.get(tensor.plan.name),
                    significance_rates,
                    at * (unit if tensor.plan.name in importance else _weight_unit(tensor, settings)),
                )
                for tensor in tensors
            )

        def quality(weights: Mapping[str, Tensor]) -> dict[str, float]:
            return validation_quality(network, {**state, **weights})

        if settings.max_drop is not None:
            assert network.dataset is not None
            metric = network.dataset.task.primary_metric
            before = quality({tensor.plan.name: tensor.weight for tensor in tensors})
            lowest = metric.lowest_score(before, settings.max_drop, settings.max_drop_in)
            self.scale = _largest_scale(
                lambda at: metric.score(quality({tensor.name: tensor.weight() for tensor in quantized(at)})) >= lowest,
                f"quantize.max_drop={settings.max_drop:g}",
            )
        return quantized(self.scale)

    def quantizer(self, coded: CodedTensor, tensor: PrunedTensor) -> Quantizer | None:
        """The quantiser that trains on from `coded`."""
        return trained_quantizer(coded, tensor, self._settings.quantize.dead_zone)

    def first_quantizer(self, tensor: PrunedTensor, deviations: float) -> Quantizer:
        """One to begin with."""
        return first_quantizer(tensor, deviations, self._settings.quantize.per)

    def decoded(self, coded: Sequence[CodedTensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What comes out of a file with these coded tensors and the others of `state`."""
        return state_dict(self._stored(coded, state))

    def encode(self, coded: Sequence[CodedTensor], state: Mapping[str, Tensor]) -> tuple[bytes, ShrunkFile | None]:
        """The bytes of that file, and with `shrink` what was removed.

        Raises:
            TrialError: the coder cannot take the symbols of a tensor.
        """
        settings, network = self._settings, self._network
        stored, shrunk, full_shapes = self._stored(coded, state), None, None
        if settings.shrink:
            other = settings.quantize
            shrunk = shrink_stored(stored, network.model, network.input_shape, other.other, other.other_bits)
            stored, full_shapes = shrunk.tensors, shrunk.full_shapes
        _check_symbols(coded, settings.codec.name)
        return pack(stored, settings.codec.name, full_shapes), shrunk

    def _stored(self, coded: Sequence[CodedTensor], state: Mapping[str, Tensor]) -> list[StoredTensor]:
        other = self._settings.quantize
        return assemble(state, coded, tied_names(self._network.model), other.other, other.other_bits)


def output_unit(spread: float, model: nn.Module) -> float:
    """What `quantize.step` is a share of where weights have an importance, in units of the outputs.

    With a step d in units of the outputs, rounding moves each weight so that the outputs move by d / sqrt(12) in the
    root mean square. So with a share s of this unit, the errors of all N parameters together are s times the spread of
    the outputs, if they are independent: the same share means the same for any network.

    Args:
        spread: of the outputs.
        model: the network.
    """
    return spread * math.sqrt(12 / sum(parameter.numel() for parameter in model.parameters()))


def _weight_unit(tensor: PrunedTensor, settings: QuantizeSettings) -> float:
    """What the step is in units of where a tensor has no importance: of the weights, as without any.

    Where others have one (this one is recurrent, an embedding, a bare parameter), the root mean square of its weights.
    """
    return 1.0 if settings.importance == "none" else float(tensor.weight.double().square().mean().sqrt()) or 1.0


def _check_symbols(tensors: Sequence[CodedTensor], coder: str) -> None:
    for tensor in tensors if coder == "huffman" else ():
        span = int(tensor.symbols.max(initial=0)) - int(tensor.symbols.min(initial=0))
        count = span if span >= MOST_SPAN else len(np.unique(tensor.symbols))
        if span >= MOST_SPAN or count > MOST_SYMBOLS:
            raise TrialError(
                f"tensor {tensor.name} has up to {count:,} different symbols, more than Huffman codes take; use a "
                "coarser quantize.step, or codec=range"
            )


def significance_rates(bands: Sequence[Band], symbols: Sequence[Symbols]) -> list[npt.NDArray[np.float64]]:
    """How probable the coder takes each symbol to be other than zero, an array per band."""
    planes = planes_of([(band.level, band.orientation, band.shape) for band in bands])
    return [found / 65536 for found in significance_probabilities(planes, symbols)]


def _largest_scale(is_good: Callable[[float], bool], asked: str) -> float:
    """The largest factor that is good, to a few percent, if goodness falls as it grows.

    Raises:
        TrialError: not even the smallest one is good.
    """
    low, high = _SMALLEST_SCALE, _LARGEST_SCALE
    if is_good(high):
        return high
    for _ in range(_HALVINGS):
        middle = float((low * high) ** 0.5)
        low, high = (middle, high) if is_good(middle) else (low, middle)
    if low == _SMALLEST_SCALE and not is_good(low):
        raise TrialError(f"{asked} is not reached with {low:g} times quantize.step either; lower quantize.step")
    return low
