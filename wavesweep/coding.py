"""One arm from pruned coefficients to the bytes of its file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from wavesweep.codec.assemble import assemble, tied_names
from wavesweep.codec.context import ONE, planes_of
from wavesweep.codec.model_file import pack
from wavesweep.codec.range_coder import significance_probabilities
from wavesweep.compression.arm import METHODS, ArmSpec, PrunedArm, prune
from wavesweep.compression.basis import Band
from wavesweep.compression.importance import LayerImportance
from wavesweep.compression.quantize import quantize
from wavesweep.compression.rate_distortion import quantize_rate_distortion
from wavesweep.compression.symbols import CodedTensor, Symbols
from wavesweep.config import CodecSettings, QuantizeSettings, ThresholdSettings
from wavesweep.store.keys import differences

# Halvings of the range of steps in the search for `max_drop`, and that range.
_HALVINGS, _SMALLEST_SCALE, _LARGEST_SCALE = 10, 2.0**-8, 2.0**8


@dataclass(frozen=True)
class Coding:
    """How arms are quantised and coded; `seed` is that of the random projections of `quantize.importance`."""

    quantize: QuantizeSettings
    codec: CodecSettings
    seed: int


@dataclass(frozen=True)
class Network:
    """A trained network, and what quantisation may ask about it.

    `state` is its state dict on the CPU, `importance` the importance of the weights of those names, `accuracy` the
    validation accuracy with those weights replaced.
    """

    model: nn.Module
    state: Mapping[str, Tensor]
    importance: Callable[[tuple[str, ...]], dict[str, LayerImportance]]
    accuracy: Callable[[Mapping[str, Tensor]], float]


@dataclass(frozen=True)
class CodedArm:
    """An arm as a file: its bytes, its tensors as coded, what pruning kept, and the step's factor that was used."""

    content: bytes
    tensors: tuple[CodedTensor, ...]
    pruned: PrunedArm
    step_scale: float


def code_arm(spec: ArmSpec, coding: Coding, network: Network) -> CodedArm:
    """Prune, quantise and encode a network.

    Raises:
        TrialError: a weight is not finite.
    """
    pruned = prune(network.state, spec)
    settings, scale = coding.quantize, spec.step_scale
    importance: dict[str, LayerImportance] = {}
    if settings.importance != "none":
        importance = network.importance(tuple(plan.name for plan in spec.plans))

    def quantized(at: float) -> tuple[CodedTensor, ...]:
        if not settings.rate_weight and settings.importance == "none":
            return tuple(quantize(tensor, settings, at) for tensor in pruned.tensors)
        return tuple(
            quantize_rate_distortion(tensor, settings, importance.get(tensor.plan.name), _rates, at)
            for tensor in pruned.tensors
        )

    if settings.max_drop is not None:
        before = network.accuracy({tensor.plan.name: tensor.weight for tensor in pruned.tensors})
        lowest = before - settings.max_drop / 100
        scale = _largest_scale(lambda at: network.accuracy({t.name: t.weight() for t in quantized(at)}) >= lowest)
    tensors = quantized(scale)
    stored = assemble(network.state, tensors, tied_names(network.model), settings.other, settings.other_bits)
    return CodedArm(pack(stored, coding.codec.name, _made_by(spec, coding)), tensors, pruned, scale)


def deciding_threshold(spec: ArmSpec) -> ThresholdSettings:
    """The arm's threshold without what plays no part for its rule and method."""
    given, method = spec.threshold, METHODS[spec.method]
    number = {"percentile": "percentile", "energy": "energy", "absolute": "value"}.get(given.rule)
    return ThresholdSettings(
        rule=given.rule,
        scope=given.scope,
        shrinkage=given.shrinkage if method.score == "magnitude" else "hard",
        atom_norm=given.atom_norm and method.basis in ("wavelet", "shuffled"),
        **({} if number is None else {number: getattr(given, number)}),
    )


def _made_by(spec: ArmSpec, coding: Coding) -> dict[str, Any]:
    """What made a file, as its header keeps it: only what the arm's key knows, so that equal arms are equal files."""
    rule = {"kept": list(spec.kept)} if spec.kept is not None else {"threshold": differences(deciding_threshold(spec))}
    return {
        "wavesweep": version("wavesweep"),
        "method": spec.method,
        **rule,
        "quantize": differences(coding.quantize),
        "seed": spec.seed,
    }


def _rates(bands: Sequence[Band], symbols: Sequence[Symbols]) -> list[npt.NDArray[np.float64]]:
    planes = planes_of([(band.level, band.orientation, band.shape) for band in bands])
    return [found / ONE for found in significance_probabilities(planes, symbols)]


def _largest_scale(is_good: Callable[[float], bool]) -> float:
    """The largest factor that is good, to a few percent, if goodness falls as it grows."""
    low, high = _SMALLEST_SCALE, _LARGEST_SCALE
    if is_good(high):
        return high
    for _ in range(_HALVINGS):
        middle = float((low * high) ** 0.5)
        low, high = (middle, high) if is_good(middle) else (low, middle)
    return low
