"""The sensitivity scan: prune one tensor at a time, and write what each costs as a table.

The points of a grid that differ in `threshold.percentile` only are one scan. Every measured point has a record of its
own, so a killed scan continues where it stopped, a finer grid measures only what is new, and several processes can
share one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from wavesweep.compression.plan import plan_pruned
from wavesweep.errors import BusyError, SettingsError
from wavesweep.experiment.alone import alone_path, alone_row, measure_alone
from wavesweep.experiment.arms import EvaluationContext, make_context
from wavesweep.experiment.baseline import load_workload, obtain_baseline
from wavesweep.experiment.inputs import input_digests
from wavesweep.pruning.prune import ArmSpec
from wavesweep.pruning.sensitivity import table_csv
from wavesweep.runtime.devices import choose_device
from wavesweep.runtime.progress import Meter, logging_enabled
from wavesweep.runtime.records import check_writable, once, read_json, write_atomically, write_if_possible
from wavesweep.runtime.shapes import Alone
from wavesweep.settings.keys import hash_of, trial_key
from wavesweep.settings.schema import Settings
from wavesweep.sweep.point import check_ready, checked_points


@dataclass(frozen=True)
class ScanResult:
    """What a scan measured: a row per tensor and percentile, percentiles in order within each tensor.

    `notes` are what a reader must know of data and checkpoint.
    """

    settings: Settings
    rows: tuple[dict[str, Any], ...]
    found_before: int
    table: Path
    notes: tuple[str, ...] = ()


def run_scans(composed: Sequence[tuple[tuple[str, ...], Settings]]) -> Iterator[ScanResult]:
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
            result = scan(settings, sorted(percentiles))
        yield result


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


def scan(settings: Settings, percentiles: Sequence[float]) -> ScanResult:
    """Measure every tensor of a network at every percentile, and write the table.

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
    paths = [alone_path(spec, context) for spec in specs]
    found_before = _measure_all(specs, paths, context, settings.progress)
    points = [read_json(path, Alone) or {} for path in paths]
    rows = [alone_row(spec, point, settings, context) for spec, point in zip(specs, points, strict=True)]
    table_path = outputs / "sensitivity" / hash_of([path.parent.name for path in paths]) / "table.csv"
    (write_if_possible if found_before == len(specs) else write_atomically)(table_path, table_csv(rows))
    return ScanResult(settings, tuple(rows), found_before, table_path, workload.notes)


def _measure_all(specs: Sequence[ArmSpec], paths: Sequence[Path], context: EvaluationContext, shown: bool) -> int:
    """Measure the points without a record; returns the number of those that had one."""
    missing = [pair for pair in zip(specs, paths, strict=True) if read_json(pair[1], Alone) is None]
    found_before = len(specs) - len(missing)
    if missing:
        check_writable(context.outputs)
    with Meter(len(missing), "sensitivity scan", shown) as meter:
        # First what nobody else is measuring, then wait for the rest: so processes share the work.
        for wait in (False, True):
            busy = []
            for spec, path in missing:
                try:
                    point = once(path, partial(measure_alone, spec, context), Alone, wait=wait)
                except BusyError:
                    busy.append((spec, path))
                    continue
                plan = spec.plans[0]
                metric = context.workload.dataset.task.primary_metric
                value = metric.with_unit(point["accuracy"])
                meter.advance(text=f"{plan.name} at {plan.percentile:g} %: {value}")
            missing = busy
    return found_before
