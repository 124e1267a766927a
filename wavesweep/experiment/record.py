"""The record of a trial, and the tables beside it."""

import csv
import io
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch
import yaml

from wavesweep.compression.output_error import quantization_notes
from wavesweep.experiment.arm_keys import rule_number
from wavesweep.experiment.arms import MeasuredArm
from wavesweep.experiment.controls import TOLERANCE
from wavesweep.pruning.plan import TensorPlan
from wavesweep.pruning.prune import ArmSpec
from wavesweep.settings.effective import uses_basis_with_levels
from wavesweep.settings.schema import Settings

SCHEMA_VERSION = 2
_OF_BASELINE_ALONE = ("settings", "training", "correct", "task")
# How a trial was run, not what it is.
_NOT_RECORDED = ("progress", "retry_failed", "on_busy", "search", "export")


def trial_record(
    settings: Settings,
    key: str,
    device: torch.device,
    *,
    baseline: Mapping[str, Any],
    arms: Sequence[MeasuredArm],
    not_pruned: Sequence[TensorPlan],
    not_coded: Mapping[str, Any],
    splits: Mapping[str, Any],
    notes: Sequence[str],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What `result.json` holds.

    Args:
        settings: of the trial.
        key: its key.
        device: what it ran on.
        baseline: the record of the trained network.
        arms: the main one first.
        not_pruned: all other parameters, with the reason.
        not_coded: what the main arm's file holds number by number.
        splits: what the data set's splits are.
        notes: what its reader must know; those of the arms come in addition.
        seconds: what took how long.
    """
    rows = [_arm_row(arm, baseline) for arm in arms]
    return {
        "schema_version": SCHEMA_VERSION,
        "key": key,
        **({"task": baseline["task"]} if "task" in baseline else {}),
        "settings": {name: value for name, value in asdict(settings).items() if name not in _NOT_RECORDED},
        "environment": _environment(device),
        "seconds": dict(seconds),
        "splits": dict(splits),
        # Its settings are above, its learning curve and what it has right are in its own record.
        "baseline": {name: value for name, value in baseline.items() if name not in _OF_BASELINE_ALONE},
        "arms": rows,
        "not_pruned": [{"name": plan.name, "shape": plan.shape, "reason": plan.reason} for plan in not_pruned],
        "not_coded": dict(not_coded),
        "notes": [*notes, *_arm_notes(rows, settings)],
    }


def _arm_row(arm: MeasuredArm, baseline: Mapping[str, Any]) -> dict[str, Any]:
    """The arm's measures, and what follows from them and the settings."""
    spec = arm.spec
    measures = {name: value for name, value in arm.record.items() if name not in ("tensors", "kept_per_group", "task")}
    return {
        "method": spec.method,
        "requested": _rule(spec) if arm.requested is None else arm.requested,
        **measures,
        "dense_bytes": baseline["dense_bytes"],
        "compression_ratio": baseline["dense_bytes"] / measures["stored_bytes"],
        "bits_per_weight": 8 * measures["stored_bytes"] / baseline["parameters"],
        "macs": measures.get("shrunk", baseline)["macs"],
        "layers": [_layer_row(plan, spec.method, arm.record["tensors"][plan.name]) for plan in spec.plans],
    }


def _rule(spec: ArmSpec) -> dict[str, Any]:
    rule = {"rule": spec.threshold.rule, "value": rule_number(spec), "scope": spec.threshold.scope}
    if spec.threshold.allocation != "uniform":
        rule["allocation"] = spec.threshold.allocation
    return rule


def _layer_row(plan: TensorPlan, method: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    row = {**plan.row(), **measured}
    if not uses_basis_with_levels(method):
        row |= {"wavelet": None, "requested_level": None, "levels": None}
    return row


def _arm_notes(arms: Sequence[dict[str, Any]], settings: Settings) -> list[str]:
    """What a reader must know about the arms: what was not pruned, removed or reached as asked for."""
    notes = []
    for arm in arms:
        if arm.get("retraining", {}).get("chosen_epoch") == 0:
            notes.append(f"{arm['method']}: no epoch of retraining was better on validation; the one-shot arm is kept")
        if arm["nonzero_coefficients"] == arm["total_coefficients"]:
            notes.append(f"{arm['method']}: nothing was pruned")
        kept = {row["name"]: (row["kept"], row["nonzero"]) for row in arm["layers"]}
        said = quantization_notes(kept, arm.get("output_error"), settings)
        notes += [f"{arm['method']}: {text}" for text in said]
        if "shrunk" in arm and not any(arm["shrunk"]["removed"].values()):
            why = "see shrunk.kept_because" if arm["shrunk"]["kept_because"] else "none is all zero"
            notes.append(f"{arm['method']}: no unit could be removed, {why}")
        wanted = arm["requested"].get("kept_coefficients")
        if wanted is not None and arm["kept_coefficients"] != wanted:
            notes.append(
                f"{arm['method']}: keeps {arm['kept_coefficients']} coefficients where {wanted} were asked for"
            )
        size = arm["requested"].get("stored_bytes")
        if size is not None and abs(arm["stored_bytes"] - size) > TOLERANCE * size:
            notes.append(f"{arm['method']}: takes {arm['stored_bytes']} bytes where {size} were asked for")
    return notes


def layers_csv(arms: Sequence[dict[str, Any]]) -> bytes:
    """One row per arm and tensor; lists are written with spaces between their numbers."""
    layers = [(arm["method"], layer) for arm in arms for layer in arm["layers"]]
    rows = [{"method": method, **{name: _spaced(value) for name, value in row.items()}} for method, row in layers]
    return _as_csv(rows)


def curves_csv(arms: Sequence[dict[str, Any]]) -> bytes:
    """One row per arm and epoch of retraining."""
    return _as_csv([{"method": arm["method"], **row} for arm in arms for row in arm["retraining"]["curve"]])


def _spaced(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _as_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def settings_yaml(settings: Settings) -> bytes:
    """All settings; a sweep's own `on_busy` is left out, as it would be none that the user gave."""
    text: str = yaml.safe_dump(asdict(replace(settings, on_busy="wait")), sort_keys=False)
    return text.encode()


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "versions": _versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


@lru_cache
def _versions() -> dict[str, str]:
    packages = ("wavesweep", "torch", "torchvision", "numpy", "PyWavelets", "scipy", "hydra-core")
    return {name: version(name) for name in packages}
