"""One arm from pruned coefficients to the bytes of its file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wavesweep.codec.assemble import assemble, tied_names
from wavesweep.codec.context import ONE, planes_of
from wavesweep.codec.model_file import pack
from wavesweep.codec.range_coder import significance_probabilities
from wavesweep.codec.tensors import StoredTensor, state_dict
from wavesweep.errors import TrialError
from wavesweep.pruning.plan import TensorPlan
from wavesweep.pruning.prune import METHODS, ArmSpec, PrunedArm, PrunedTensor, prune
from wavesweep.quantization.importance import LayerImportance
from wavesweep.quantization.quantize import quantize
from wavesweep.quantization.rate_distortion import WEIGHED_DEAD_ZONE, quantize_rate_distortion
from wavesweep.quantization.symbols import CodedTensor, Symbols
from wavesweep.quantization.trainable import Quantizer, first_quantizer, trained_quantizer
from wavesweep.settings.keys import differences
from wavesweep.settings.schema import RETRAININGS, CodecSettings, QuantizeSettings, RetrainSettings, ThresholdSettings
from wavesweep.shrink.stored import ShrunkFile, shrink_stored
from wavesweep.training.interface import CheckpointPaths, Retrained, Start, Training
from wavesweep.training.retrain import retrain
from wavesweep.transform.basis import Band, BasisSpec, identity_basis

# Halvings of the range of steps in the search for `max_drop`, and that range.
_HALVINGS, _SMALLEST_SCALE, _LARGEST_SCALE = 10, 2.0**-8, 2.0**8


@dataclass(frozen=True)
class Coding:
    """How arms are retrained, quantised and coded.

    `seed` is that of the order of the images in retraining, and of the random projections of `quantize.importance`.
    With `shrink`, units that are all zero are removed.
    """

    retrain: RetrainSettings
    quantize: QuantizeSettings
    codec: CodecSettings
    seed: int
    shrink: bool = False


@dataclass(frozen=True)
class Network:
    """A trained network, and what quantisation and retraining may ask about it.

    `state` is its state dict on the CPU; `importance` the importance of the weights of those names in a network of a
    given state, `accuracy` the validation accuracy of such a network; `training` what retraining needs, with
    checkpoints in those paths; `input_shape` that of one image (for `Coding.shrink` only).
    """

    model: nn.Module
    state: Mapping[str, Tensor]
    importance: Callable[[tuple[str, ...], Mapping[str, Tensor]], dict[str, LayerImportance]]
    accuracy: Callable[[Mapping[str, Tensor]], float]
    training: Callable[[CheckpointPaths | None], Training]
    input_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class CodedArm:
    """An arm as a file: its bytes, its tensors as coded, what pruning kept, and the step's factor that was used.

    `tensors` are of full size also where the file's are not because units were removed (`shrunk`); `retrained` is None
    where nothing was retrained.
    """

    content: bytes
    tensors: tuple[CodedTensor, ...]
    pruned: PrunedArm
    step_scale: float
    retrained: Retrained | None = None
    shrunk: ShrunkFile | None = None


def code_arm(spec: ArmSpec, coding: Coding, network: Network, paths: CheckpointPaths | None = None) -> CodedArm:
    """Prune, retrain, quantise and encode a network; checkpoints of retraining go to `paths`.

    Raises:
        TrialError: a weight is not finite, or retraining diverged.
        BusyError: another process trains what is shared, and this one is not to wait.
    """
    pruned = prune(network.state, spec)
    coder = _ArmCoder(spec, coding, network)
    state, retrained = network.state, None
    if coding.retrain.name == "none":
        tensors = coder.quantize(pruned.tensors, state)
    else:
        # Arms are matched by bytes through the step, which is learned here: by the weight of the rate instead.
        settings = replace(coding.retrain, rate_weight=coding.retrain.rate_weight * spec.step_scale)
        retrained = retrain(
            Start(network.model, state, spec, pruned, _extras(spec, coding, network)),
            settings,
            network.training(paths),
            coder,
            coding.quantize.is_trainable,
        )
        tensors, state, pruned = retrained.coded, retrained.state, retrained.pruned
    stored, shrunk, full_shapes = coder.stored(tensors, state), None, None
    if coding.shrink:
        other = coding.quantize
        shrunk = shrink_stored(stored, network.model, network.input_shape, other.other, other.other_bits)
        stored, full_shapes = list(shrunk.tensors), shrunk.full_shapes
    content = pack(stored, coding.codec.name, _made_by(spec, coding), full_shapes)
    return CodedArm(content, tensors[: len(spec.plans)], pruned, coder.scale, retrained, shrunk)


def _extras(spec: ArmSpec, coding: Coding, network: Network) -> list[PrunedTensor]:
    """Biases and the like, whose bits are in the loss as well where they are stored as symbols."""
    if coding.retrain.name != "rate" or coding.quantize.other != "quantized":
        return []
    tied, pruned = tied_names(network.model), {plan.name for plan in spec.plans}
    found = []
    for name, parameter in network.model.named_parameters():
        is_small = parameter.dim() == 1 and parameter.numel() > 1 and parameter.dtype == torch.float32
        if is_small and parameter.requires_grad and name not in tied and name not in pruned:
            shape, values = tuple(parameter.shape), network.state[name]
            plan = TensorPlan(name, shape, True, "stored as symbols", view=shape)
            bands = identity_basis(shape).bands
            mask = torch.ones(parameter.numel(), dtype=torch.bool)
            found.append(PrunedTensor(plan, BasisSpec("identity"), bands, values, mask, values, 0.0))
    return found


class _ArmCoder:
    """The coder of one arm; `scale` is the factor of the steps that was last used."""

    def __init__(self, spec: ArmSpec, coding: Coding, network: Network) -> None:
        self._coding, self._network, self.scale = coding, network, spec.step_scale

    def quantize(self, tensors: Sequence[PrunedTensor], state: Mapping[str, Tensor]) -> tuple[CodedTensor, ...]:
        """The coded form of the tensors of a network; with `quantize.max_drop` the scale is found as well."""
        settings, network = self._coding.quantize, self._network
        importance: dict[str, LayerImportance] = {}
        if settings.importance != "none":
            importance = network.importance(tuple(tensor.plan.name for tensor in tensors), state)

        def quantized(at: float) -> tuple[CodedTensor, ...]:
            if settings.is_trainable:
                return tuple(quantize(tensor, settings, at) for tensor in tensors)
            return tuple(
                quantize_rate_distortion(tensor, settings, importance.get(tensor.plan.name), _rates, at)
                for tensor in tensors
            )

        if settings.max_drop is not None:
            before = network.accuracy({**state, **{tensor.plan.name: tensor.weight for tensor in tensors}})
            lowest = before - settings.max_drop / 100
            self.scale = _largest_scale(
                lambda at: network.accuracy({**state, **{t.name: t.weight() for t in quantized(at)}}) >= lowest,
                f"quantize.max_drop={settings.max_drop:g}",
            )
        return quantized(self.scale)

    def quantizer(self, coded: CodedTensor, tensor: PrunedTensor) -> Quantizer | None:
        """The quantiser that trains on from `coded`."""
        return trained_quantizer(coded, tensor, self._coding.quantize.dead_zone)

    def first_quantizer(self, tensor: PrunedTensor, deviations: float) -> Quantizer:
        """One to begin with."""
        return first_quantizer(tensor, deviations, self._coding.quantize.per)

    def stored(self, coded: Sequence[CodedTensor], state: Mapping[str, Tensor]) -> list[StoredTensor]:
        """All tensors of the file."""
        settings = self._coding.quantize
        return assemble(state, coded, tied_names(self._network.model), settings.other, settings.other_bits)

    def decoded(self, coded: Sequence[CodedTensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What comes out of that file."""
        return state_dict(self.stored(coded, state))


def effective_threshold(spec: ArmSpec) -> ThresholdSettings:
    """The arm's threshold without what plays no part for its rule and method."""
    given, method = spec.threshold, METHODS[spec.method]
    number = {"percentile": "percentile", "energy": "energy", "absolute": "value"}.get(given.rule)
    return ThresholdSettings(
        rule=given.rule,
        scope=given.scope,
        shrinkage=given.shrinkage if method.score == "magnitude" else "hard",
        atom_norm=given.atom_norm and method.basis in ("wavelet", "shuffled"),
        allocation=given.allocation,
        **({} if number is None else {number: getattr(given, number)}),
    )


def retrainings_with(key: str, settings: RetrainSettings, quantizes: bool = True) -> tuple[str, ...]:
    """The kinds of retraining in which `retrain.<key>` plays a part; `quantizes`: they train the quantiser."""
    fixed = ("finetune", "iterative", "gradual", "rate")
    only = {
        "epochs": fixed,
        "schedule": fixed,
        "rounds": ("iterative", "rewind"),
        "ramp": ("gradual", "rate", *(["finetune", "iterative", "rewind"] if settings.regrow else [])),
        "rewind": ("rewind",),
        "rewind_epoch": ("rewind",),
        "quantize_epochs": ("finetune", "iterative", "gradual", "rewind") if quantizes else (),
        "step": ("rate",),
        "rate_weight": ("rate",),
        "group_weight": ("rate",),
        "freeze_epochs": ("rate",),
    }
    return only.get(key, RETRAININGS[1:])


def effective_retraining(settings: RetrainSettings, quantizes: bool = True) -> dict[str, Any]:
    """The settings of a retraining without what plays no part for its kind; `quantizes`: it trains the quantiser."""
    found = differences(settings)
    return {
        key: value
        for key, value in found.items()
        if key == "name" or settings.name in retrainings_with(key, settings, quantizes)
    }


def effective_quantization(settings: QuantizeSettings, has_bands: bool) -> QuantizeSettings:
    """The quantiser's settings without what plays no part; `has_bands`: some tensor has more than one subband."""
    uniform, unused = settings.name == "uniform", QuantizeSettings()
    rounds = uniform and settings.is_trainable  # otherwise bits are weighed, which begins with a zero bin of its own
    plays = {
        "step": uniform,
        "bits": settings.uses_bits,
        "dead_zone": rounds or (uniform and settings.dead_zone > WEIGHED_DEAD_ZONE),
        "per": uniform and settings.step is None and has_bands,
        "atom_norm": rounds and has_bands,
        "damping": settings.importance != "none",
        "images": settings.importance != "none",
        "coefficients": settings.name == "none",
        "other_bits": settings.other == "quantized",
    }
    return replace(settings, **{key: getattr(unused, key) for key, part in plays.items() if not part})


def has_bands(spec: ArmSpec) -> bool:
    """Whether the arm's basis has more than one subband for some tensor."""
    return METHODS[spec.method].basis in ("wavelet", "shuffled") and any(any(plan.levels) for plan in spec.plans)


def _made_by(spec: ArmSpec, coding: Coding) -> dict[str, Any]:
    """What made a file, as its header keeps it: only what decides it, so that equal arms are equal files."""
    threshold = effective_threshold(spec)
    if prunes_nothing(threshold) and all(plan.percentile is None for plan in spec.plans):
        threshold = ThresholdSettings(percentile=0.0)
    rule = {"kept": list(spec.kept)} if spec.kept is not None else {"threshold": differences(threshold)}
    return {
        "wavesweep": version("wavesweep"),
        "method": spec.method,
        **rule,
        **(
            {}
            if coding.retrain.name == "none"
            else {"retrain": effective_retraining(coding.retrain, coding.quantize.is_trainable)}
        ),
        "quantize": differences(effective_quantization(coding.quantize, has_bands(spec))),
        "seed": spec.seed,
        **({"shrink": True} if coding.shrink else {}),
    }


def prunes_nothing(threshold: ThresholdSettings) -> bool:
    """Whether the rule keeps all coefficients, whatever they are, so that no other setting of it matters."""
    return threshold.rule == "percentile" and threshold.percentile == 0


def _rates(bands: Sequence[Band], symbols: Sequence[Symbols]) -> list[npt.NDArray[np.float64]]:
    planes = planes_of([(band.level, band.orientation, band.shape) for band in bands])
    return [found / ONE for found in significance_probabilities(planes, symbols)]


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
