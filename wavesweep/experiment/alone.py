"""One tensor of a network pruned alone, all others as they are: how much accuracy that costs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from wavesweep.experiment.arm_keys import arm_key
from wavesweep.experiment.arms import EvaluationContext
from wavesweep.experiment.coding import code_arm
from wavesweep.pruning.prune import ArmSpec
from wavesweep.settings.keys import hash_of
from wavesweep.settings.schema import Settings

# Raise when a point would give another result than before.
_SCAN_VERSION = 2


def alone_path(spec: ArmSpec, context: EvaluationContext) -> Path:
    """Where the record of a tensor that is pruned alone lies; `spec` has one plan."""
    key = hash_of([arm_key(spec, context.baseline.record["key"], context.coding), _SCAN_VERSION])
    return context.outputs / "sensitivity" / "points" / key / "point.json"


def measure_alone(spec: ArmSpec, context: EvaluationContext, _directory: Path) -> dict[str, Any]:
    """Validation accuracy and loss with one tensor pruned and coded, and the size of a file that holds it alone."""
    name = spec.plans[0].name
    network, whole = context.network(), context.baseline.state
    alone = replace(
        network,
        state={name: whole[name]},
        # What the quantiser asks about is the network with this one tensor changed.
        importance=lambda names, _: network.importance(names, whole),
        accuracy=lambda state: network.accuracy({**whole, **state}),
    )
    coded = code_arm(spec, context.coding, alone)
    quality = context.quality({**whole, name: coded.tensors[0].weight()})
    return {
        "coefficients": coded.pruned.tensors[0].mask.numel(),
        "kept": coded.pruned.kept[0],
        "accuracy": quality["accuracy"],
        "loss": quality["loss"],
        "stored_bytes": len(coded.content),
    }


def alone_row(spec: ArmSpec, point: dict[str, Any], settings: Settings, context: EvaluationContext) -> dict[str, Any]:
    """The row of the sensitivity table that a record makes."""
    plan, before = spec.plans[0], context.baseline.record["validation"]
    return {
        "model": settings.model.name,
        "dataset": settings.dataset.name,
        "seed": settings.seed,
        "method": spec.method,
        "wavelet": plan.wavelet,
        "level": plan.requested_level,
        "layout": plan.layout,
        "tensor": plan.name,
        "weights": plan.weights,
        "percentile": plan.percentile,
        "accuracy_lost": before["accuracy"] - point["accuracy"],
        "baseline_accuracy": before["accuracy"],
        "baseline_loss": before["loss"],
        **point,
    }
