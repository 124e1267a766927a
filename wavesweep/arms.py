"""One measured arm: pruned, loaded into the network, evaluated; computed once and kept under its own key.

Trials share arms. In a sweep over wavelets the magnitude and random arms of all trials are the same few, and
two settings that turn out identical after clamping of the level have the same main arm.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pywt
import torch

from wavesweep.baseline import Baseline, Subject, measure
from wavesweep.compress.arm import METHODS, ArmSpec, PrunedArm, prune
from wavesweep.compress.layers import TensorPlan
from wavesweep.store.keys import hash_of
from wavesweep.store.records import once

# Raise when an arm of the same specification would give another result than before.
ARM_VERSION = 1


@dataclass(frozen=True)
class Bench:
    """What all arms of a trial have in common."""

    subject: Subject
    baseline: Baseline
    device: torch.device
    outputs: Path


def obtain_arm(spec: ArmSpec, bench: Bench) -> dict[str, Any]:
    """The record of an arm: from disk, or computed now."""
    key = arm_key(spec, bench.baseline.record["key"])
    path = bench.outputs / "arms" / key / "arm.json"
    return once(path, lambda _: {"arm_key": key, **_compute(spec, bench)})


def arm_key(spec: ArmSpec, baseline_key: str) -> str:
    """Hash of what can change the arm's result: effective levels and filters, not requested ones or names."""
    method = METHODS[spec.method]
    uses_wavelet = method.basis in ("wavelet", "shuffled")
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
            "shrinkage": spec.threshold.shrinkage if method.score == "magnitude" else "hard",
            "atom_norm": spec.threshold.atom_norm and uses_wavelet,
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
    content: dict[str, Any] = {"name": plan.name, "percentile": plan.percentile}
    if basis == "identity":
        return content
    content |= {"view": plan.view, "axes": plan.axes}
    if basis in ("wavelet", "shuffled"):
        # db1, haar and bior1.1 are one wavelet; what counts are the filters.
        content |= {
            "levels": plan.levels,
            "filters": pywt.Wavelet(plan.wavelet).filter_bank if any(plan.levels) else None,
        }
    return content


def _compute(spec: ArmSpec, bench: Bench) -> dict[str, Any]:
    started = time.perf_counter()
    pruned = prune(bench.baseline.state, spec)
    compressed_seconds = time.perf_counter() - started
    model = bench.subject.model
    model.load_state_dict(bench.baseline.state)
    with torch.no_grad():
        # After the whole state, so that a tied weight is pruned under all its names.
        for tensor in pruned.tensors:
            model.get_parameter(tensor.plan.name).copy_(tensor.weight)
    model.to(bench.device)
    record = {**_counts(pruned), **measure(model, bench.subject.dataset, bench.device)}
    record["seconds"] = {
        "prune": compressed_seconds,
        "measure": time.perf_counter() - started - compressed_seconds,
    }
    return record


def _counts(pruned: PrunedArm) -> dict[str, Any]:
    tensors = {}
    for tensor in pruned.tensors:
        tensors[tensor.plan.name] = {
            "coefficients": tensor.mask.numel(),
            "kept": int(tensor.mask.sum()),
            "zero_weights": int((tensor.weight == 0).sum()),
            "error": tensor.error,
        }
    kept, total = (
        sum(row["kept"] for row in tensors.values()),
        sum(row["coefficients"] for row in tensors.values()),
    )
    weights = sum(tensor.weight.numel() for tensor in pruned.tensors)
    zero_weights = sum(row["zero_weights"] for row in tensors.values())
    return {
        "kept_coefficients": kept,
        "total_coefficients": total,
        "coefficient_sparsity": 1 - kept / total,
        "weight_sparsity": zero_weights / weights,
        "kept_per_group": list(pruned.kept),
        "shrinkage": pruned.shrinkage,
        "tensors": tensors,
    }
