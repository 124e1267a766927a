"""The sensitivity scan: prune one tensor at a time, and write what each costs as a table.

The points of a grid that differ in `threshold.percentile` only are one scan. Every measured point has a record of its
own, so a killed scan continues where it stopped, a finer grid measures only what is new, and several processes can
share one.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wavesweep.errors import BusyError, SettingsError
from wavesweep.experiment.arm_keys import arm_key
from wavesweep.experiment.arms import EvaluationContext, make_context
from wavesweep.experiment.baseline import load_workload, obtain_baseline
from wavesweep.experiment.coding import code_arm
from wavesweep.experiment.inputs import input_digests
from wavesweep.experiment.prepare import choose_device, plan_pruned
from wavesweep.pruning.prune import ArmSpec
from wavesweep.pruning.sensitivity import table_csv
from wavesweep.runtime.progress import Meter, logging_enabled
from wavesweep.runtime.records import once, read_json, write_atomically
from wavesweep.settings.keys import hash_of, trial_key
from wavesweep.settings.schema import Settings
from wavesweep.sweep.point import check_ready, checked_points

# Raise when a point would give another result than before.
_SCAN_VERSION = 2


def run_scans(composed: Sequence[tuple[tuple[str, ...], Settings]]) -> None:
    """Run one scan for all points of a grid that differ in their percentile only.

    Args:
        composed: the overrides of each point, and the settings they make.

    Raises:
        SettingsError: a setting is wrong; nothing was trained.
        TrialError: a baseline or a point cannot be computed; all points before are kept.
        StoreError: records cannot be written.
    """
    scans: dict[str, tuple[Settings, set[float]]] = {}
    for point in checked_points(composed):
        _check_scan(point.settings)
        threshold = replace(point.settings.threshold, percentile=0.0)
        common = replace(point.settings, threshold=threshold, compare=[])
        key = trial_key(common, input_digests(common))
        scans.setdefault(key, (common, set()))[1].add(float(point.settings.threshold.percentile))
    check_ready([settings for settings, _ in scans.values()], launcher=None)
    for settings, percentiles in scans.values():
        with logging_enabled(settings.progress):
            scan(settings, sorted(percentiles))


def _check_scan(settings: Settings) -> None:
    """Refuse settings that have no effect on a scan and change what its result would mean."""
    wanted: tuple[tuple[str, object, object], ...] = (
        ("threshold.rule", settings.threshold.rule, "percentile"),
        ("threshold.scope", settings.threshold.scope, "layer"),
        ("threshold.allocation", settings.threshold.allocation, "uniform"),
        ("retrain.name", settings.retrain.name, "none"),
        ("shrink", settings.shrink, False),
        ("export", settings.export, "none"),
    )
    for key, value, needed in wanted:
        if value != needed:
            allowed = f"must be {str(needed).lower()} with experiment=sensitivity"
            raise SettingsError(key, value, allowed, "leave it out")
    for override in settings.layers.overrides:
        if override.percentile is not None:
            key = f"layers.overrides[match={override.match}].percentile"
            allowed = "has no effect on a scan of percentiles"
            raise SettingsError(key, override.percentile, allowed, "leave it out, or the tensor by layers.exclude")


def scan(settings: Settings, percentiles: Sequence[float]) -> None:
    """Measure every tensor of a network at every percentile, then print and write the table.

    Raises:
        TrialError: the baseline or a point cannot be computed; all points before are kept.
        StoreError: records cannot be written.
    """
    device, workload = choose_device(settings.device), load_workload(settings)
    plans, _ = plan_pruned(workload.model, settings, workload.dataset.input_shape)
    baseline = obtain_baseline(settings, workload, device)
    outputs = Path(settings.paths.outputs)
    context = make_context(settings, workload, baseline, device)
    method, boundary, seed = settings.method.name, settings.boundary, settings.seed
    specs = [
        ArmSpec(method, (replace(plan, percentile=percentile),), boundary, settings.threshold, seed)
        for plan in plans
        for percentile in percentiles
    ]
    paths = [_record_path(spec, context) for spec in specs]
    found_before = _measure_all(specs, paths, context, settings.progress)
    rows = [_row(spec, read_json(path) or {}, settings, context) for spec, path in zip(specs, paths, strict=True)]
    table_path = outputs / "sensitivity" / hash_of([path.parent.name for path in paths]) / "table.csv"
    write_atomically(table_path, table_csv(rows))
    _print(rows, settings)
    print(f"{len(specs)} points: {found_before} of them measured before this run   table: {table_path}")
    print(f"use it with: threshold.allocation=sensitivity threshold.sensitivity={table_path}")


def _record_path(spec: ArmSpec, context: EvaluationContext) -> Path:
    key = hash_of([arm_key(spec, context.baseline.record["key"], context.coding), _SCAN_VERSION])
    return context.outputs / "sensitivity" / "points" / key / "point.json"


def _measure_all(specs: Sequence[ArmSpec], paths: Sequence[Path], context: EvaluationContext, shown: bool) -> int:
    """Measure the points without a record; returns the number of those that had one."""
    missing = [pair for pair in zip(specs, paths, strict=True) if read_json(pair[1]) is None]
    found_before = len(specs) - len(missing)
    with Meter(len(missing), "sensitivity scan", shown) as meter:
        # First what nobody else is measuring, then wait for the rest: so processes share the work.
        for wait in (False, True):
            busy = []
            for spec, path in missing:
                try:
                    point = once(path, partial(_measure, spec, context), wait=wait)
                except BusyError:
                    busy.append((spec, path))
                    continue
                plan = spec.plans[0]
                meter.advance(text=f"{plan.name} at {plan.percentile:g} %: {100 * point['accuracy']:.2f} %")
            missing = busy
    return found_before


def _measure(spec: ArmSpec, context: EvaluationContext, _directory: Path) -> dict[str, Any]:
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


def _row(spec: ArmSpec, point: dict[str, Any], settings: Settings, context: EvaluationContext) -> dict[str, Any]:
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


def _print(rows: Sequence[dict[str, Any]], settings: Settings) -> None:
    """Validation accuracy in %: a row per tensor, a column per percentile."""
    console = Console(markup=False, emoji=False, width=10_000, no_color=True)
    name, before = f"{settings.model.name} on {settings.dataset.name}", rows[0]["baseline_accuracy"]
    console.print(f"baseline {name}, seed {settings.seed}: validation {100 * before:.2f} %", highlight=False)
    percentiles = list(dict.fromkeys(row["percentile"] for row in rows))
    table = Table(box=None, pad_edge=False)
    for column in ("tensor", "coefficients", *(f"{percentile:g} %" for percentile in percentiles)):
        table.add_column(column, justify="left" if column == "tensor" else "right")
    for start in range(0, len(rows), len(percentiles)):
        of_tensor = rows[start : start + len(percentiles)]
        accuracies = (f"{100 * row['accuracy']:.2f}" for row in of_tensor)
        table.add_row(of_tensor[0]["tensor"], f"{of_tensor[0]['coefficients']:,}", *accuracies)
    console.print(table)
