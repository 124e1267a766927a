"""One trial, top to bottom: baseline, prune every arm, evaluate, record."""

import logging
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from wavesweep.errors import BusyError
from wavesweep.experiment.arm_keys import rule_number
from wavesweep.experiment.arms import MODEL_FILE, EvaluationContext, arm_directory, make_context, obtain_arm
from wavesweep.experiment.baseline import Workload, load_workload, obtain_baseline
from wavesweep.experiment.csv_files import curves_csv, layers_csv
from wavesweep.experiment.early import EarlyStop, read_early_stop
from wavesweep.experiment.inputs import input_digests
from wavesweep.experiment.matching import match_bytes
from wavesweep.experiment.notes import arm_notes, selection_notes, transform_notes
from wavesweep.experiment.prepare import check_inputs, choose_device, plan_pruned
from wavesweep.pruning.prune import METHODS, ArmSpec
from wavesweep.pruning.sensitivity import curves_for, read_table
from wavesweep.runtime.progress import logging_enabled
from wavesweep.runtime.records import (
    ONNX_FAILURE,
    ONNX_RECORD,
    RESULT_FILE,
    check_writable,
    once_or_failure,
    storing,
    write_atomically,
)
from wavesweep.settings.effective import unused_notes
from wavesweep.settings.keys import study_directory, trial_directory, trial_key
from wavesweep.settings.rules import check
from wavesweep.settings.schema import Settings

SCHEMA_VERSION = 2
# How a trial was run, not what it is.
_NOT_RECORDED = ("progress", "retry_failed", "on_busy", "search", "export")
_log = logging.getLogger("wavesweep.experiment.trial")


def run_trial(settings: Settings) -> dict[str, Any]:
    """The record of the trial that `settings` describe: from disk, or computed now.

    Raises:
        SettingsError: a setting is wrong; nothing was trained.
        TrialError: the trial failed, now or earlier; the reason is recorded beside it.
        ShortMemoryError: there was not enough memory.
        DeviceError: the GPU failed.
        StoreError: the record cannot be written.
        BusyError: another process computes it, and `on_busy` is skip.
    """
    check(settings)
    check_writable(Path(settings.paths.outputs))
    with logging_enabled(settings.progress):
        workload = load_workload(settings)
        check_inputs(settings, workload)
        key = trial_key(settings, input_digests(settings))
        return once_or_failure(
            trial_directory(settings, key) / RESULT_FILE,
            lambda directory: _compute(settings, workload, key, directory),
            wait=settings.on_busy == "wait",
            retry_failed=settings.retry_failed,
        )


def objective(record: dict[str, Any]) -> float:
    """What a search maximises: the validation accuracy of the main arm."""
    return float(record["arms"][0]["validation"]["accuracy"])


def _early_stop(settings: Settings) -> EarlyStop | None:
    search = settings.search
    if search.early_images is None:
        return None
    return read_early_stop(study_directory(settings), search.early_images, search.objectives)


def _compute(settings: Settings, workload: Workload, key: str, directory: Path) -> dict[str, Any]:
    started = time.perf_counter()
    device = choose_device(settings.device)  # what has its record needs none
    with _logged(directory), _memory_given_back(device):
        write_atomically(directory / "config.yaml", _as_yaml(settings))
        plans, not_pruned = plan_pruned(workload.model, settings, workload.dataset.input_shape)
        notes = selection_notes([plan.name for plan in (*plans, *not_pruned)], settings.layers)
        notes += [*unused_notes(settings), *transform_notes(plans, settings)]
        for note in notes:
            _log.info(note)
        baseline = obtain_baseline(settings, workload, device)
        baseline_seconds = time.perf_counter() - started
        _log.info("baseline %s: test accuracy %.4f", baseline.record["key"], baseline.record["test"]["accuracy"])

        context = make_context(settings, workload, baseline, device)
        main = ArmSpec(settings.method.name, tuple(plans), settings.boundary, settings.threshold, settings.seed)
        if settings.threshold.allocation == "sensitivity":
            main = replace(main, curves=curves_for(read_table(settings.threshold.sensitivity or ""), plans))
        wait = settings.on_busy == "wait"
        arms = [_arm_row(main, replace(context, early_stop=_early_stop(settings)), wait=wait)]
        kept = tuple(arms[0].pop("kept_per_group"))
        others = [name for name in settings.compare if name != main.method]
        specs = [ArmSpec(name, main.plans, main.boundary, main.threshold, main.seed, kept) for name in others]
        arms += _all_compared(specs, arms[0], settings.compare_match, context)
        for arm in arms:
            _log.info("%s: test accuracy %.4f", arm["method"], arm["test"]["accuracy"])
        record = {
            "schema_version": SCHEMA_VERSION,
            "key": key,
            "settings": {name: value for name, value in asdict(settings).items() if name not in _NOT_RECORDED},
            "environment": _environment(device),
            "seconds": {"baseline": baseline_seconds, "total": time.perf_counter() - started},
            # Its settings are above, its learning curve is in its own record.
            "baseline": {n: v for n, v in baseline.record.items() if n not in ("settings", "training")},
            "arms": arms,
            "not_pruned": [{"name": p.name, "shape": p.shape, "reason": p.reason} for p in not_pruned],
            "notes": notes + arm_notes(arms),
        }
        write_atomically(directory / "layers.csv", layers_csv(arms))
        if any("retraining" in arm for arm in arms):
            write_atomically(directory / "learning_curves.csv", curves_csv(arms))
        for name in (ONNX_RECORD, ONNX_FAILURE):  # of a record that was here before
            (directory / name).unlink(missing_ok=True)
        _link(arm_directory(context.outputs, arms[0]["arm_key"]) / MODEL_FILE, directory / MODEL_FILE)
    return record


@contextmanager
def _memory_given_back(device: torch.device) -> Iterator[None]:
    """Leave what PyTorch keeps of a GPU's memory to the other processes there."""
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _link(source: Path, target: Path) -> None:
    """The main arm's file under the trial as well: a hard link, or a copy where there are none."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        write_atomically(target, source.read_bytes())


def _all_compared(
    specs: Sequence[ArmSpec], main: dict[str, Any], match: str, context: EvaluationContext
) -> list[dict[str, Any]]:
    """The rows of the compared arms. Trials share these: one that another process is computing now comes last."""
    rows: dict[int, dict[str, Any]] = {}
    for wait in (False, True):
        for number, spec in enumerate(specs):
            if number not in rows:
                with suppress(BusyError):
                    rows[number] = _compared(spec, main, match, context, wait)
    return [rows[number] for number in range(len(specs))]


def _compared(
    spec: ArmSpec, main: dict[str, Any], match: str, context: EvaluationContext, wait: bool
) -> dict[str, Any]:
    """The row of an arm that is compared with the main one at the same cost."""
    requested = {"kept_coefficients": main["kept_coefficients"]}
    if match == "bytes":
        wait = True  # such an arm is hardly ever shared, and finding it takes long
        requested = {"stored_bytes": main["stored_bytes"]}
        prunes = main["kept_coefficients"] < main["total_coefficients"]
        spec = match_bytes(spec, main["stored_bytes"], prunes, context)
    row = _arm_row(spec, context, requested, wait)
    row.pop("kept_per_group")
    return row


def _arm_row(
    spec: ArmSpec, context: EvaluationContext, requested: dict[str, Any] | None = None, wait: bool = True
) -> dict[str, Any]:
    """The arm's measures, and what follows from them and the settings."""
    arm = dict(obtain_arm(spec, context, wait))
    measured = arm.pop("tensors")
    if requested is None:
        requested = {"rule": spec.threshold.rule, "value": rule_number(spec), "scope": spec.threshold.scope}
        if spec.threshold.allocation != "uniform":
            requested["allocation"] = spec.threshold.allocation
    uses_levels = METHODS[spec.method].basis in ("wavelet", "shuffled")
    layers = []
    for plan in spec.plans:
        row = {**plan.row(), **measured[plan.name]}
        if not uses_levels:
            row |= {"wavelet": None, "requested_level": None, "levels": None}
        layers.append(row)
    return {
        "method": spec.method,
        "requested": requested,
        **arm,
        "dense_bytes": context.baseline.record["dense_bytes"],
        "compression_ratio": context.baseline.record["dense_bytes"] / arm["stored_bytes"],
        "bits_per_weight": 8 * arm["stored_bytes"] / context.baseline.record["parameters"],
        "macs": arm.get("shrunk", context.baseline.record)["macs"],
        "layers": layers,
    }


def _as_yaml(settings: Settings) -> bytes:
    """All settings, as a sweep's own `on_busy` would be none that the user gave."""
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


class _QuietFileHandler(logging.FileHandler):
    """Says nothing about a full disk: the record that cannot be written either does."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass


@contextmanager
def _logged(directory: Path) -> Iterator[None]:
    """Write the log of this trial to `trial.log`, with the traceback of what ends it."""
    with storing(directory):
        handler = _QuietFileHandler(directory / "trial.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    try:
        yield
    except BusyError as error:
        _log.info("%s; this trial comes later", error)
        raise
    except BaseException:
        _log.exception("the trial did not finish")
        raise
    finally:
        _log.removeHandler(handler)
        with suppress(OSError):
            handler.close()
