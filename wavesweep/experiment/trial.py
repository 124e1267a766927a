"""One trial, top to bottom: baseline, main arm, controls, record."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wavesweep.compression.plan import (
    arm_spec,
    computed_notes,
    plan_pruned,
    selection_notes,
    transform_notes,
)
from wavesweep.compression.uncoded import uncoded_notes, uncoded_record, uncoded_tensors
from wavesweep.errors import BusyError
from wavesweep.experiment.arms import MODEL_FILE, MeasuredArm, arm_directory, make_context, obtain_arm
from wavesweep.experiment.baseline import Workload, load_workload, obtain_baseline
from wavesweep.experiment.checks import check_inputs
from wavesweep.experiment.controls import obtain_controls
from wavesweep.experiment.early import read_early_stop
from wavesweep.experiment.inputs import input_digests
from wavesweep.experiment.record import curves_csv, layers_csv, settings_yaml, trial_record
from wavesweep.experiment.splits import splits_record
from wavesweep.runtime.devices import cached_memory_released, choose_device
from wavesweep.runtime.metrics import primary_of
from wavesweep.runtime.progress import logging_enabled
from wavesweep.runtime.records import (
    ONNX_FAILURE,
    ONNX_RECORD,
    RESULT_FILE,
    check_writable,
    once_or_failure,
    read_trial,
    storing,
    write_atomically,
)
from wavesweep.runtime.shapes import Trial
from wavesweep.settings.effective import unused_notes
from wavesweep.settings.keys import trial_directory, trial_key
from wavesweep.settings.rules import check
from wavesweep.settings.schema import Settings

_log = logging.getLogger("wavesweep.experiment.trial")


def run_trial(settings: Settings, started: Callable[[Path], None] = lambda _: None) -> dict[str, Any]:
    """The record of the trial that `settings` describe: from disk, or computed now.

    Args:
        settings: of the trial.
        started: called with the trial's directory before it is computed; not where its record is there.

    Raises:
        SettingsError: a setting is wrong; nothing was trained.
        TrialError: the trial failed, now or earlier; the reason is recorded beside it.
        ShortMemoryError: there was not enough memory.
        DeviceError: the GPU failed.
        StoreError: the record cannot be written.
        BusyError: another process computes it, and `on_busy` is skip.
    """
    check(settings)
    with logging_enabled(settings.progress):
        key = trial_key(settings, input_digests(settings))
        directory = trial_directory(settings, key)
        record = read_trial(directory)  # which needs neither the data nor a directory that can be written
        if record is not None:
            return record
        check_writable(Path(settings.paths.outputs))
        workload = load_workload(settings)
        check_inputs(settings, workload)

        def compute(directory: Path) -> dict[str, Any]:
            started(directory)
            return _compute(settings, workload, key, directory)

        return once_or_failure(
            directory / RESULT_FILE,
            compute,
            Trial,
            wait=settings.on_busy == "wait",
            retry_failed=settings.retry_failed,
            fits=lambda record: bool(record["key"] == key),
        )


def objective(record: dict[str, Any]) -> float:
    """What a search maximises: the validation accuracy of the main arm, or the primary metric with its sign."""
    return primary_of(record).score(record["arms"][0]["validation"])


def _compute(settings: Settings, workload: Workload, key: str, directory: Path) -> dict[str, Any]:
    started = time.perf_counter()
    device = choose_device(settings.device)  # what has its record needs none
    with _logged(directory), cached_memory_released(device):
        write_atomically(directory / "config.yaml", settings_yaml(settings))
        plans, not_pruned = plan_pruned(workload.model, settings, workload.dataset.input_shape)
        notes = selection_notes([plan.name for plan in (*plans, *not_pruned)], settings.layers)
        notes += [*unused_notes(settings), *workload.notes, *computed_notes(workload.model)]
        notes += transform_notes(plans, settings)
        for note in notes:
            _log.info(note)

        baseline = obtain_baseline(settings, workload, device)
        baseline_seconds = time.perf_counter() - started
        metric = workload.dataset.task.primary_metric
        value = metric.value(baseline.record["test"])
        _log.info("baseline %s: test %s %.4f", baseline.record["key"], metric.name, value)

        context = make_context(settings, workload, baseline, device)
        spec, wait = arm_spec(settings, plans), settings.on_busy == "wait"
        main = MeasuredArm(spec, obtain_arm(spec, replace(context, early_stop=read_early_stop(settings)), wait))
        arms = [main, *obtain_controls(main, settings.compare, settings.compare_match, context)]
        for arm in arms:
            _log.info("%s: test %s %.4f", arm.spec.method, metric.name, metric.value(arm.record["test"]))

        model_file = arm_directory(context.outputs, main.record["arm_key"]) / MODEL_FILE
        uncoded = uncoded_tensors(model_file.read_bytes(), not_pruned)
        record = trial_record(
            settings,
            key,
            device,
            baseline=baseline.record,
            arms=arms,
            not_pruned=not_pruned,
            splits=splits_record(settings, workload.dataset),
            not_coded=uncoded_record(uncoded),
            notes=[*notes, *uncoded_notes(uncoded)],
            seconds={"baseline": baseline_seconds, "total": time.perf_counter() - started},
        )
        _write_files(directory, record, model_file)
    return record


def _write_files(directory: Path, record: dict[str, Any], model_file: Path) -> None:
    """What lies beside the record, which is written last; files of a record that was here before go."""
    write_atomically(directory / "layers.csv", layers_csv(record["arms"]))
    if any("retraining" in arm for arm in record["arms"]):
        write_atomically(directory / "learning_curves.csv", curves_csv(record["arms"]))
    for name in (ONNX_RECORD, ONNX_FAILURE):
        (directory / name).unlink(missing_ok=True)
    _link(model_file, directory / MODEL_FILE)


def _link(source: Path, target: Path) -> None:
    """The main arm's file under the trial as well: a hard link, or a copy where there are none."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        write_atomically(target, source.read_bytes())


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
