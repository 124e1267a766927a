"""One measured arm: pruned, coded, decoded, evaluated; computed once and kept under its own key.

Trials share arms. In a sweep over wavelets the magnitude and random arms of all trials are the same few, and
two settings that turn out identical after clamping of the level have the same main arm.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wavesweep.codec.assemble import once_each, tied_names
from wavesweep.codec.container import read_container
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import state_dict
from wavesweep.errors import FileFormatError, StoppedEarlyError, TrialError
from wavesweep.experiment.arm_keys import arm_key, shared_key
from wavesweep.experiment.baseline import Baseline, Workload, measure, obtain_early_weights
from wavesweep.experiment.coding import CodedArm, Coding, Network, code_arm
from wavesweep.experiment.early import EarlyStop
from wavesweep.measure.alternatives import gzip_bytes
from wavesweep.measure.cost import dense_bytes, inference_ms, multiply_accumulates, parameters
from wavesweep.measure.quality import evaluate
from wavesweep.models.load import fill
from wavesweep.pruning.prune import ArmSpec, relative_error
from wavesweep.quantization.importance import LayerImportance, layer_importance
from wavesweep.quantization.symbols import Steps
from wavesweep.runtime.records import once, write_atomically
from wavesweep.settings.schema import Recipe, Settings
from wavesweep.shrink.stored import ShrunkFile
from wavesweep.training.checkpoint import CHECKPOINT
from wavesweep.training.interface import CheckpointPaths, Retrained, Training

MODEL_FILE = "model.wsz"
# Those of the last baseline (true) and of the last retrained network (false), which several arms may share, and what
# decided them.
_importances: dict[bool, tuple[tuple[object, ...], dict[str, LayerImportance]]] = {}


@dataclass(frozen=True)
class EvaluationContext:
    """What all arms of a trial have in common.

    `recipe` is the baseline's, `early_weights` gives its state dict after so many epochs; `shown`: progress is;
    `early_stop`: by what a search gives an arm up before it is measured.
    """

    workload: Workload
    baseline: Baseline
    coding: Coding
    device: torch.device
    outputs: Path
    recipe: Recipe
    early_weights: Callable[[int], Mapping[str, Tensor]]
    shown: bool
    early_stop: EarlyStop | None = None

    def network(self) -> Network:
        """What quantisation, retraining and shrinking may ask about the baseline."""
        shape = tuple(self.workload.dataset.input_shape)
        return Network(
            self.workload.model, self.baseline.state, self._importance, self._accuracy, self._training, shape
        )

    def quality(self, state: Mapping[str, Tensor]) -> dict[str, float]:
        """Quality on the validation split of a network of that state."""
        dataset, model = self.workload.dataset, self.workload.model
        # What was changed under its first name is loaded under all, or the last would bring the old values back.
        tied = {name: state[first] for name, first in tied_names(model).items()}
        model.load_state_dict({**state, **tied})
        return evaluate(model.to(self.device), dataset, dataset.validation, "validation", self.device)

    def _importance(self, names: tuple[str, ...], state: Mapping[str, Tensor]) -> dict[str, LayerImportance]:
        images, seed = self.coding.quantize.images, self.coding.seed
        is_baseline = state is self.baseline.state
        network = self.baseline.record["key"] if is_baseline else _digest(state)
        key = (network, names, images, seed, str(self.device))
        if is_baseline not in _importances or _importances[is_baseline][0] != key:
            _importances.pop(is_baseline, None)  # before the next, since those of very wide layers fill the memory
            dataset, model = self.workload.dataset, self.workload.model
            model.load_state_dict(dict(state))
            batch = dataset.normalise(dataset.calibration.head(images).images[:].to(self.device)).clone()
            _importances[is_baseline] = key, layer_importance(model.to(self.device), names, batch, seed)
        return _importances[is_baseline][1]

    def _accuracy(self, state: Mapping[str, Tensor]) -> float:
        return self.quality(state)["accuracy"]

    def _training(self, paths: CheckpointPaths | None) -> Training:
        return Training(
            self.workload.dataset,
            self.recipe,
            self.coding.seed,
            self.device,
            paths,
            self.shown,
            self.early_weights,
            str(self.outputs.absolute() / self.baseline.record["key"]),  # elsewhere its weights may be others
        )


def _digest(state: Mapping[str, Tensor]) -> str:
    content = hashlib.sha256()
    for value in state.values():
        content.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def make_context(settings: Settings, workload: Workload, baseline: Baseline, device: torch.device) -> EvaluationContext:
    """The context of a trial."""
    return EvaluationContext(
        workload,
        baseline,
        Coding(settings.retrain, settings.quantize, settings.codec, settings.seed, settings.shrink),
        device,
        Path(settings.paths.outputs),
        settings.model.recipe,
        partial(obtain_early_weights, settings, workload, device),
        settings.progress,
    )


def obtain_arm(spec: ArmSpec, context: EvaluationContext, wait: bool = True) -> dict[str, Any]:
    """The record of an arm: from disk, or computed now. Its file lies beside the record.

    Raises:
        BusyError: `wait` is false and another process computes it, or the retraining it shares with other arms.
    """
    key = arm_key(spec, context.baseline.record["key"], context.coding)
    path = arm_directory(context.outputs, key) / "arm.json"
    shared = shared_key(spec, context.baseline.record["key"], context.coding)
    paths = CheckpointPaths(path.parent, None if shared is None else context.outputs / "retrained" / shared, wait)

    def compute(_: Path) -> dict[str, Any]:
        return {"arm_key": key, **_compute(spec, context, paths)}

    try:
        record = once(path, compute, wait=wait)
    except (StoppedEarlyError, TrialError):  # its retraining is not gone on with
        path.with_name(CHECKPOINT).unlink(missing_ok=True)
        raise
    if not _is_intact(path.with_name(MODEL_FILE)):  # lost or damaged; the same one comes out again
        path.unlink(missing_ok=True)
        record = once(path, compute, wait=wait)
    path.with_name(CHECKPOINT).unlink(missing_ok=True)
    return record


def _is_intact(path: Path) -> bool:
    try:
        read_container(path.read_bytes())
    except (OSError, FileFormatError):
        return False
    return True


def arm_directory(outputs: Path, key: str) -> Path:
    """Where an arm's record and its file are."""
    return outputs / "arms" / key


def _compute(spec: ArmSpec, context: EvaluationContext, paths: CheckpointPaths) -> dict[str, Any]:
    started = time.perf_counter()
    coded = code_arm(spec, context.coding, context.network(), paths)
    path = paths.own / MODEL_FILE
    write_atomically(path, coded.content)
    encoded = time.perf_counter()
    # What is measured is the file as it lies on the disk.
    content = path.read_bytes()
    # Layers are cut in a copy: the model is that of all trials.
    model = context.workload.model if coded.shrunk is None else deepcopy(context.workload.model)
    fill(model, state_dict(unpack(content, sys.maxsize)[0])).to(context.device)
    decoded = time.perf_counter()
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    counts = _counts(coded, state if coded.shrunk is None else coded.shrunk.zeroed, context.baseline.state)
    if context.early_stop is not None:
        _stop_early_if_weak(context.early_stop, model, counts["coefficient_sparsity"], len(content), context)
    record = {
        **counts,
        **measure(model, context.workload.dataset, context.device),
        "stored_bytes": len(content),
        "gzip_bytes": gzip_bytes(once_each(state, model)),
    }
    if coded.retrained is not None:
        record["retraining"] = _retraining(coded.retrained)
    if coded.shrunk is not None:
        record["shrunk"] = _shrunk_row(coded.shrunk, model, context)
    record["seconds"] = {
        "encode": encoded - started,
        "decode": decoded - encoded,
        "measure": time.perf_counter() - decoded,
    }
    return record


def _stop_early_if_weak(
    stop: EarlyStop, model: nn.Module, sparsity: float, size_bytes: int, context: EvaluationContext
) -> None:
    part = context.workload.dataset.validation.head(stop.images)
    accuracy = evaluate(model, context.workload.dataset, part, "validation", context.device)["accuracy"]
    other = {"stored_bytes": float(size_bytes), "sparsity": sparsity}[stop.other]
    if reason := stop.reason(accuracy, other, len(part.labels)):
        raise StoppedEarlyError(reason)


def _retraining(retrained: Retrained) -> dict[str, Any]:
    """How retraining went; `chosen_epoch` 0 is the arm that was not retrained."""
    return {
        "epochs": len(retrained.curve),
        "chosen_epoch": retrained.chosen_epoch,
        "one_shot_validation_accuracy": retrained.one_shot_accuracy,
        "curve": retrained.curve,
    }


def _shrunk_row(file: ShrunkFile, model: nn.Module, context: EvaluationContext) -> dict[str, Any]:
    """What removing units changed, and which were not removed; `model` is the decoded network."""
    full, example = context.workload.model, context.workload.dataset.example
    full.load_state_dict(file.zeroed)
    return {
        "parameters_before": parameters(full),
        "parameters_after": parameters(model),
        "macs": multiply_accumulates(model, example, context.device),
        "dense_bytes": dense_bytes(model),
        "inference_ms_zeroed": inference_ms(full.to(context.device), example, context.device),
        "removed": {name: len(units) for name, units in file.shrunk.removed.items()},
        "kept_because": file.shrunk.kept_because,
    }


def _counts(coded: CodedArm, state: dict[str, Tensor], original: dict[str, Tensor]) -> dict[str, Any]:
    tensors: dict[str, dict[str, Any]] = {}
    for tensor, symbols in zip(coded.pruned.tensors, coded.tensors, strict=True):
        name = tensor.plan.name
        tensors[name] = {
            "coefficients": tensor.mask.numel(),
            "kept": int(tensor.mask.sum()),
            "nonzero": int(np.count_nonzero(symbols.symbols)),
            "zero_weights": int((state[name] == 0).sum()),
            "steps": list(symbols.reconstruction.steps) if isinstance(symbols.reconstruction, Steps) else None,
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
        "weight_sparsity": totals["zero_weights"] / sum(tensor.weight.numel() for tensor in coded.pruned.tensors),
        "kept_per_group": list(coded.pruned.kept),
        "shrinkage": coded.pruned.shrinkage,
        "step_scale": coded.step_scale,
        "tensors": tensors,
    }
