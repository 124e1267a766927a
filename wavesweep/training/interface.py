"""What retraining is given, and what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wavesweep.data.splits import Dataset
from wavesweep.pruning.prune import ArmSpec, PrunedArm, PrunedTensor
from wavesweep.quantization.symbols import CodedTensor
from wavesweep.quantization.trainable import Quantizer
from wavesweep.settings.schema import Recipe


class Coder(Protocol):
    """How a network becomes what its file holds; `state` is that of the network that is coded.

    `scale` is the factor of the steps that was last used.
    """

    scale: float

    def quantize(self, tensors: Sequence[PrunedTensor], state: Mapping[str, Tensor]) -> tuple[CodedTensor, ...]:
        """The coded form of pruned tensors."""

    def quantizer(self, coded: CodedTensor, tensor: PrunedTensor) -> Quantizer | None:
        """The quantiser whose training starts from `coded`; None where there is nothing to train."""

    def first_quantizer(self, tensor: PrunedTensor, deviations: float) -> Quantizer:
        """One to begin with, whose step is so many standard deviations of the coefficients."""

    def decoded(self, coded: Sequence[CodedTensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict that comes out of a file with these coded tensors and the others of `state`."""


@dataclass(frozen=True)
class Start:
    """What is retrained: an arm of a trained network.

    `model` is used to measure, what is trained is a copy; `state` is the baseline's state dict, `pruned` what one-shot
    pruning by `spec` gives. `extras` are other tensors, such as biases, that are quantised and paid for with
    `retrain=rate`.
    """

    model: nn.Module
    state: Mapping[str, Tensor]
    spec: ArmSpec
    pruned: PrunedArm
    extras: Sequence[PrunedTensor] = ()


@dataclass(frozen=True)
class CheckpointPaths:
    """Where a retraining writes its checkpoints.

    `own` is the arm's directory. `shared` is for the epochs before the quantiser is trained, which all arms have in
    common that differ in how they are quantised and coded: one process trains them and the others wait, or raise
    `BusyError` if `wait` is false.
    """

    own: Path
    shared: Path | None = None
    wait: bool = True


@dataclass(frozen=True)
class Training:
    """Data and surroundings of a retraining.

    `recipe` is the baseline's, `paths` is where checkpoints go (None: nowhere), `early_state` is the state dict of the
    baseline that `retrain.rewind=weights` returns to. `baseline_key` names the baseline's weights, so that their
    outputs are kept for the next retraining; None: they are not.
    """

    dataset: Dataset
    recipe: Recipe
    seed: int
    device: torch.device
    paths: CheckpointPaths | None
    shown: bool
    early_state: Mapping[str, Tensor] | None = None
    baseline_key: str | None = None


@dataclass(frozen=True)
class Retrained:
    """A retrained network: its coded tensors, its state before coding, the arm's masks, and how it went.

    `coded` has the tensors of the arm, then the extras. `chosen_epoch` is 0 where no epoch was better on validation
    than the network that was not retrained, whose value of the primary metric is `one_shot_quality`; with
    `retrain=rate` it is the last one, since every epoch has another size.
    """

    coded: tuple[CodedTensor, ...]
    state: dict[str, Tensor]
    pruned: PrunedArm
    curve: list[dict[str, Any]]
    chosen_epoch: int
    one_shot_quality: float | None
