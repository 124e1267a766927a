"""One tensor of a network pruned alone, all others as they are: how much accuracy that costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavesweep.compression.compressor import ArmCoder
from wavesweep.compression.network import validation_quality
from wavesweep.experiment.arm_keys import arm_key
from wavesweep.experiment.arms import EvaluationContext
from wavesweep.pruning.prune import ArmSpec, prune
from wavesweep.runtime.metrics import SHARE, PrimaryMetric
from wavesweep.settings.keys import hash_of
from wavesweep.settings.schema import Settings


def alone_path(spec: ArmSpec, context: EvaluationContext) -> Path:
    """Where the record of a tensor that is pruned alone lies; `spec` has one plan."""
    key = hash_of({"alone": arm_key(spec, context.baseline["key"], context.settings)})
    return context.outputs / "sensitivity" / "points" / key / "point.json"


def measure_alone(spec: ArmSpec, context: EvaluationContext, _directory: Path) -> dict[str, Any]:
    """Validation accuracy (or the task's primary metric) and loss with one tensor pruned and coded, and the size of a
    file that holds it alone."""
    name, network = spec.plans[0].name, context.network
    pruned, coder = prune(network.state, spec), ArmCoder(spec, context.settings, network)
    coded = coder.quantize(pruned.tensors, network.state)
    content, _ = coder.encode(coded, {name: network.state[name]})
    quality = validation_quality(network, {**network.state, name: coded[0].weight()})
    assert network.dataset is not None
    return {
        "coefficients": pruned.tensors[0].mask.numel(),
        "kept": pruned.kept[0],
        "accuracy": network.dataset.task.primary_metric.value(quality),
        "loss": quality["loss"],
        "stored_bytes": len(content),
    }


def _share_lost(metric: PrimaryMetric, before: Mapping[str, float], value: float) -> float:
    """What was lost: of a share the difference; of another metric as a share of the value before, from -1 to 1."""
    after = {metric.name: value}
    if metric.unit == SHARE:
        return metric.sign * (metric.value(before) - value)
    return min(1.0, max(-1.0, metric.percent_lost(before, after) / 100))


def alone_row(spec: ArmSpec, point: dict[str, Any], settings: Settings, context: EvaluationContext) -> dict[str, Any]:
    """The row of the sensitivity table that a record makes."""
    plan, before = spec.plans[0], context.baseline["validation"]
    metric = context.workload.dataset.task.primary_metric
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
        "accuracy_lost": _share_lost(metric, before, point["accuracy"]),
        "baseline_accuracy": metric.value(before),
        "baseline_loss": before["loss"],
        **point,
    }
