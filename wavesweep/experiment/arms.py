"""One measured arm: compressed, decoded, evaluated; computed once and kept under its own key.

Trials share arms. In a sweep over wavelets the magnitude and random arms of all trials are the same few, and
two settings that turn out identical after clamping of the level have the same main arm.
"""

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wavesweep.codec.container import read_container
from wavesweep.codec.limits import UNLIMITED
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import state_dict
from wavesweep.compression.compressor import CompressedArm, CompressionSettings, compress_arm
from wavesweep.compression.network import TrainedNetwork, calibration_of
from wavesweep.compression.output_error import output_errors, outputs_before
from wavesweep.errors import FileFormatError, StoppedEarlyError, TrialError
from wavesweep.experiment.arm_keys import arm_key, shared_key
from wavesweep.experiment.baseline import Baseline, Workload, measure, obtain_early_weights
from wavesweep.experiment.early import EarlyStop
from wavesweep.measure.alternatives import gzip_bytes
from wavesweep.measure.cost import dense_bytes, inference_ms, multiply_accumulates, parameters
from wavesweep.measure.drops import drop_between
from wavesweep.measure.intervals import Statistics, interval, read_statistics
from wavesweep.measure.quality import evaluate
from wavesweep.models.load import fill, load_state
from wavesweep.models.tied import once_each
from wavesweep.pruning.prune import ArmSpec, relative_error
from wavesweep.quantization.symbols import Steps
from wavesweep.runtime.metrics import PrimaryMetric, task_entry
from wavesweep.runtime.records import once, write_atomically
from wavesweep.runtime.shapes import Arm
from wavesweep.settings.schema import Settings
from wavesweep.shrink.stored import ShrunkFile
from wavesweep.training.checkpoint import CHECKPOINT
from wavesweep.training.interface import CheckpointPaths, Retrained

MODEL_FILE = "model.wsz"


@dataclass(frozen=True)
class EvaluationContext:
    """What all arms of a trial have in common.

    `baseline` is the record of the trained network. `early_stop`: by what a search stops an arm before it is measured.
    """

    workload: Workload
    baseline: dict[str, Any]
    network: TrainedNetwork
    settings: CompressionSettings
    outputs: Path
    early_stop: EarlyStop | None = None


@dataclass(frozen=True)
class MeasuredArm:
    """An arm and its record. `requested` is the cost that a control was to have; None for the main arm."""

    spec: ArmSpec
    record: dict[str, Any]
    requested: dict[str, int] | None = None


def make_context(settings: Settings, workload: Workload, baseline: Baseline, device: torch.device) -> EvaluationContext:
    """The context of a trial."""
    dataset, retrain, quantize = workload.dataset, settings.retrain, settings.quantize
    outputs = Path(settings.paths.outputs)
    early_state = calibration = None
    if retrain.name == "rewind" and retrain.rewind == "weights":
        early_state = obtain_early_weights(settings, workload, device, retrain.rewind_epoch)
    if quantize.importance != "none":
        calibration = calibration_of(dataset, quantize.images)
    network = TrainedNetwork(
        workload.model.to(device),
        baseline.state,
        device,
        tuple(dataset.input_shape),
        calibration,
        dataset,
        early_state,
        str(outputs.absolute() / baseline.record["key"]),  # elsewhere its weights may be others
    )
    return EvaluationContext(workload, baseline.record, network, CompressionSettings.from_settings(settings), outputs)


def obtain_arm(spec: ArmSpec, context: EvaluationContext, wait: bool = True) -> dict[str, Any]:
    """The record of an arm: from disk, or computed now. Its file lies beside the record.

    Raises:
        BusyError: `wait` is false and another process computes it, or the retraining it shares with other arms.
    """
    key = arm_key(spec, context.baseline["key"], context.settings)
    path = arm_directory(context.outputs, key) / "arm.json"
    shared = shared_key(spec, context.baseline["key"], context.settings)
    paths = CheckpointPaths(path.parent, None if shared is None else context.outputs / "retrained" / shared, wait)

    def compute(_: Path) -> dict[str, Any]:
        return {"arm_key": key, **_compute(spec, context, paths)}

    names = {plan.name for plan in spec.plans}

    def fits(record: dict[str, Any]) -> bool:
        return bool(record["arm_key"] == key) and record["tensors"].keys() >= names

    try:
        record = once(path, compute, Arm, wait=wait, fits=fits)
    except (StoppedEarlyError, TrialError):  # its retraining does not continue
        path.with_name(CHECKPOINT).unlink(missing_ok=True)
        raise
    if not _is_intact(path.with_name(MODEL_FILE), record["stored_bytes"]):  # lost or damaged; the same comes out again
        path.unlink(missing_ok=True)
        record = once(path, compute, Arm, wait=wait, fits=fits)
    path.with_name(CHECKPOINT).unlink(missing_ok=True)
    return record


def _is_intact(path: Path, size_bytes: int) -> bool:
    try:
        content = path.read_bytes()
        read_container(content)
    except (OSError, FileFormatError):
        return False
    return len(content) == size_bytes


def arm_directory(outputs: Path, key: str) -> Path:
    """Where an arm's record and its file are."""
    return outputs / "arms" / key


def _compute(spec: ArmSpec, context: EvaluationContext, paths: CheckpointPaths) -> dict[str, Any]:
    """Compress, decode, measure; what is measured is the file as it lies on the disk."""
    dataset, device, started = context.workload.dataset, context.network.device, time.perf_counter()
    arm = compress_arm(spec, context.settings, context.network, paths)
    path = paths.own / MODEL_FILE
    write_atomically(path, arm.content)
    encoded = time.perf_counter()
    before = outputs_before(context.network, arm)
    compared = time.perf_counter()
    content = path.read_bytes()
    # Layers are cut in a copy: the model is that of all trials.
    model = context.workload.model if arm.shrunk is None else deepcopy(context.workload.model)
    fill(model, state_dict(unpack(content, UNLIMITED)[0])).to(device)
    decoded = time.perf_counter()
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    counts = _counts(arm, state if arm.shrunk is None else arm.shrunk.zeroed, context.network.state)
    if context.early_stop is not None:
        _stop_early_if_weak(context.early_stop, model, counts["coefficient_sparsity"], len(content), context)
    measured = measure(model, dataset, device)
    drops = _drops(context, measured.pop("correct", {}), measured.pop("statistics", {}), measured)
    record = {
        **task_entry(dataset.task.primary_metric),
        **counts,
        **measured,
        **({"drop": drops} if drops else {}),
        "stored_bytes": len(content),
        "gzip_bytes": gzip_bytes(once_each(state, model)),
    }
    if before is not None:
        record["output_error"] = output_errors(before, model).row()
    if arm.retrained is not None:
        record["retraining"] = _retraining(arm.retrained, dataset.task.primary_metric)
    if arm.shrunk is not None:
        record["shrunk"] = _shrunk_row(arm.shrunk, model, context)
    record["seconds"] = {
        "encode": encoded - started,
        "decode": decoded - compared,
        "measure": time.perf_counter() - decoded + compared - encoded,
    }
    return record


def _stop_early_if_weak(
    stop: EarlyStop, model: nn.Module, sparsity: float, size_bytes: int, context: EvaluationContext
) -> None:
    dataset = context.workload.dataset
    part = dataset.validation.head(stop.images)
    accuracy = evaluate(model, dataset, part, "validation", context.network.device)["accuracy"]
    other = {"stored_bytes": float(size_bytes), "sparsity": sparsity}[stop.other]
    if reason := stop.reason(accuracy, other, len(part)):
        raise StoppedEarlyError(reason)


def _drops(
    context: EvaluationContext, correct: Mapping[str, str], statistics: Mapping[str, Statistics], measured: Any
) -> dict[str, Any]:
    """What was lost on each split with its interval, from the examples of both networks; nothing where the baseline's
    are not known."""
    dataset = context.workload.dataset
    before = context.baseline.get("correct")
    known = before if isinstance(before, Mapping) else {}
    counts = {"validation": len(dataset.validation), "test": len(dataset.test)}
    found = {name: drop_between(known.get(name), after, counts[name]) for name, after in correct.items()}
    if any(found.values()):
        return {name: asdict(drop) for name, drop in found.items() if drop is not None}
    if not statistics:
        return {}
    described, kept = dataset.task.primary_metric, read_statistics(baseline_directory(context))
    metric = next(one for one in dataset.task.metrics if one.name == described.name)
    drops = {}
    for name, after in statistics.items():
        sign = described.sign * described.scale
        ends = interval(kept[name], after, metric.result, sign) if name in kept else None
        if ends is not None:
            lost = described.drop(context.baseline[name], measured[name])
            drops[name] = {"lost": lost, "low": ends[0], "high": ends[1], "examples": len(after)}
    return drops


def baseline_directory(context: EvaluationContext) -> Path:
    """Where the baseline of a trial lies."""
    return context.outputs / "baselines" / str(context.baseline["key"])


def _retraining(retrained: Retrained, metric: PrimaryMetric) -> dict[str, Any]:
    """How retraining went; `chosen_epoch` 0 is the arm that was not retrained."""
    return {
        "epochs": len(retrained.curve),
        "chosen_epoch": retrained.chosen_epoch,
        f"one_shot_validation_{metric.name}": retrained.one_shot_quality,
        "curve": retrained.curve,
    }


def _shrunk_row(file: ShrunkFile, model: nn.Module, context: EvaluationContext) -> dict[str, Any]:
    """What removing units changed, and which were not removed; `model` is the decoded network."""
    full, example, device = context.workload.model, context.workload.dataset.example, context.network.device
    load_state(full, file.zeroed)
    return {
        "parameters_before": parameters(full),
        "parameters_after": parameters(model),
        "macs": multiply_accumulates(model, example, device),
        "dense_bytes": dense_bytes(model),
        "inference_ms_zeroed": inference_ms(full.to(device), example, device),
        "removed": {name: len(units) for name, units in file.shrunk.removed.items()},
        "kept_because": file.shrunk.kept_because,
    }


def _counts(arm: CompressedArm, state: Mapping[str, Tensor], original: Mapping[str, Tensor]) -> dict[str, Any]:
    tensors: dict[str, dict[str, Any]] = {}
    for tensor, coded in zip(arm.pruned.tensors, arm.tensors, strict=True):
        name = tensor.plan.name
        tensors[name] = {
            "coefficients": tensor.mask.numel(),
            "kept": int(tensor.mask.sum()),
            "nonzero": int(np.count_nonzero(coded.symbols)),
            "zero_weights": int((state[name] == 0).sum()),
            "steps": list(coded.reconstruction.steps) if isinstance(coded.reconstruction, Steps) else None,
            "error": relative_error(original[name], state[name]),
        }
    totals = {
        key: sum(row[key] for row in tensors.values()) for key in ("coefficients", "kept", "nonzero", "zero_weights")
    }
    return {
        "kept_coefficients": totals["kept"],
        "total_coefficients": totals["coefficients"],
        "nonzero_coefficients": totals["nonzero"],
        "coefficient_sparsity": 1 - totals["nonzero"] / totals["coefficients"],
        "weight_sparsity": totals["zero_weights"] / sum(tensor.weight.numel() for tensor in arm.pruned.tensors),
        "kept_per_group": list(arm.pruned.kept),
        "shrinkage": arm.pruned.shrinkage,
        "step_scale": arm.step_scale,
        "tensors": tensors,
    }
