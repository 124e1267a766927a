"""One measured arm: pruned, coded, decoded, evaluated; computed once and kept under its own key.

Trials share arms. In a sweep over wavelets the magnitude and random arms of all trials are the same few, and
two settings that turn out identical after clamping of the level have the same main arm.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pywt
import torch
from torch import Tensor

from wavesweep.baseline import Baseline, Subject, measure
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import state_dict
from wavesweep.coding import CodedArm, Coding, Network, code_arm, deciding_threshold
from wavesweep.compression.arm import METHODS, ArmSpec, relative_error
from wavesweep.compression.importance import LayerImportance, layer_importance
from wavesweep.compression.layers import TensorPlan
from wavesweep.compression.symbols import Steps
from wavesweep.measure.alternatives import gzip_bytes
from wavesweep.measure.quality import evaluate
from wavesweep.store.keys import differences, hash_of
from wavesweep.store.records import once, write_atomically

MODEL_FILE = "model.wsz"
# That of the last baseline, which the next arm of this process most likely needs again.
_importances: dict[tuple[object, ...], dict[str, LayerImportance]] = {}
# Raise when an arm of the same specification would give another result than before.
ARM_VERSION = 1


@dataclass(frozen=True)
class Bench:
    """What all arms of a trial have in common."""

    subject: Subject
    baseline: Baseline
    coding: Coding
    device: torch.device
    outputs: Path

    def network(self) -> Network:
        """What quantisation may ask about the baseline."""
        return Network(self.subject.model, self.baseline.state, self._importance, self._accuracy)

    def _importance(self, names: tuple[str, ...]) -> dict[str, LayerImportance]:
        images, seed = self.coding.quantize.images, self.coding.seed
        key = (self.baseline.record["key"], names, images, seed, str(self.device))
        if key not in _importances:
            dataset, model = self.subject.dataset, self.subject.model
            model.load_state_dict(self.baseline.state)
            batch = dataset.normalise(dataset.train.images[:images].to(self.device))
            _importances.clear()
            _importances[key] = layer_importance(model.to(self.device), names, batch, seed)
        return _importances[key]

    def _accuracy(self, weights: Mapping[str, Tensor]) -> float:
        dataset, model = self.subject.dataset, self.subject.model
        model.load_state_dict(self.baseline.state)
        with torch.no_grad():
            for name, weight in weights.items():
                model.get_parameter(name).copy_(weight)
        model.to(self.device)
        return evaluate(model, dataset, dataset.validation, "validation", self.device)["accuracy"]


def obtain_arm(spec: ArmSpec, bench: Bench) -> dict[str, Any]:
    """The record of an arm: from disk, or computed now. Its file lies beside the record."""
    key = arm_key(spec, bench.baseline.record["key"], bench.coding)
    path = arm_directory(bench.outputs, key) / "arm.json"
    return once(path, lambda directory: {"arm_key": key, **_compute(spec, bench, directory)})


def arm_directory(outputs: Path, key: str) -> Path:
    """Where an arm's record and its file are."""
    return outputs / "arms" / key


def arm_key(spec: ArmSpec, baseline_key: str, coding: Coding) -> str:
    """Hash of what can change the arm's result: effective levels and filters, not requested ones or names."""
    method = METHODS[spec.method]
    uses_wavelet = method.basis in ("wavelet", "shuffled")
    threshold = deciding_threshold(spec)
    seeded = method.basis in ("rotation", "shuffled") or method.score == "random"
    rule: dict[str, Any]
    if spec.kept is None:
        rule = {"rule": spec.threshold.rule, "number": rule_number(spec)}
    else:
        rule = {"kept": list(spec.kept)}
    return hash_of(
        {
            "version": ARM_VERSION,
            "baseline": baseline_key,
            "method": asdict(method),
            "tensors": [_plan_content(plan, method.basis) for plan in spec.plans],
            "boundary": spec.boundary if uses_wavelet else None,
            "seed": spec.seed if seeded else None,
            "scope": spec.threshold.scope,
            "quantize": differences(coding.quantize),
            "codec": coding.codec.name,
            "step_scale": spec.step_scale,
            "images_seed": coding.seed if coding.quantize.importance != "none" else None,
            "shrinkage": threshold.shrinkage,
            "atom_norm": threshold.atom_norm,
            **rule,
        }
    )


def rule_number(spec: ArmSpec) -> float | None:
    """The number that goes with the threshold rule, None for a rule without one."""
    threshold = spec.threshold
    return {"percentile": threshold.percentile, "energy": threshold.energy, "absolute": threshold.value}.get(
        threshold.rule
    )


def _plan_content(plan: TensorPlan, basis: str) -> dict[str, Any]:
    # The view counts for every basis: the coder's contexts are its rows and columns.
    content: dict[str, Any] = {
        "name": plan.name,
        "percentile": plan.percentile,
        "bits": plan.bits,
        "view": plan.view,
    }
    if basis == "identity":
        return content
    content["axes"] = plan.axes
    if basis in ("wavelet", "shuffled"):
        # db1, haar and bior1.1 are one wavelet; what counts are the filters.
        content |= {
            "levels": plan.levels,
            "filters": pywt.Wavelet(plan.wavelet).filter_bank if any(plan.levels) else None,
        }
    return content


def _compute(spec: ArmSpec, bench: Bench, directory: Path) -> dict[str, Any]:
    started = time.perf_counter()
    coded = code_arm(spec, bench.coding, bench.network())
    write_atomically(directory / MODEL_FILE, coded.content)
    encoded = time.perf_counter()
    # What is measured is the file as it lies on the disk.
    content = (directory / MODEL_FILE).read_bytes()
    model = bench.subject.model
    model.load_state_dict(state_dict(unpack(content)[0]))
    model.to(bench.device)
    decoded = time.perf_counter()
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    record = {
        **_counts(coded, state, bench.baseline.state),
        **measure(model, bench.subject.dataset, bench.device),
        "stored_bytes": len(content),
        "gzip_bytes": gzip_bytes(state),
    }
    record["seconds"] = {
        "encode": encoded - started,
        "decode": decoded - encoded,
        "measure": time.perf_counter() - decoded,
    }
    return record


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
