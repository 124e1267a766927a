"""The export of a finished trial: the network decoded from its file, as ONNX, run by onnxruntime and compared."""

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.codec.limits import UNLIMITED
from wavesweep.data.splits import Split
from wavesweep.errors import TrialError
from wavesweep.experiment.arms import MODEL_FILE
from wavesweep.experiment.baseline import Workload, load_workload
from wavesweep.experiment.export.onnx import INPUT, OPSET, OnnxNetwork, onnx_bytes
from wavesweep.measure.cost import inference_ms
from wavesweep.measure.quality import forward, quality_of
from wavesweep.models.load import load
from wavesweep.runtime.progress import logging_enabled
from wavesweep.runtime.records import (
    ONNX_FAILURE,
    ONNX_FILE,
    ONNX_RECORD,
    RESULT_FILE,
    once_or_failure,
    write_atomically,
)
from wavesweep.runtime.shapes import Export
from wavesweep.settings.keys import trial_directory
from wavesweep.settings.schema import Settings

SCHEMA_VERSION = 1
# How far outputs may be from PyTorch's, as a share of the largest: float32 in another order gives some 1e-6.
_TOLERANCE = 1e-3
# Inputs of a split that onnxruntime runs at most, and those of them on which it is compared with PyTorch: on a CPU a
# large network takes hours for all of a large data set.
_MOST_INPUTS, _MOST_COMPARED = 10_000, 1_000
_CPU = torch.device("cpu")


def export_trial(settings: Settings, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Write the file that `export` asks for and a record of it, unless they are there.

    Args:
        settings: of the trial.
        record: its result, which stays as it is.

    Returns:
        The record of the file; None where `export` is none.

    Raises:
        TrialError: the network cannot be exported, now or earlier.
        StoreError: the file cannot be written.
        BusyError: another process has the trial, and `on_busy` is skip.
    """
    if settings.export == "none":
        return None
    directory = trial_directory(settings, record["key"])
    if not (directory / ONNX_FILE).exists():
        (directory / ONNX_RECORD).unlink(missing_ok=True)
    with logging_enabled(settings.progress):
        return once_or_failure(
            directory / ONNX_RECORD,
            lambda directory: _compute(load_workload(settings), record["arms"][0]["arm_key"], directory),
            Export,
            wait=settings.on_busy == "wait",
            retry_failed=settings.retry_failed,
            failure_name=ONNX_FAILURE,
        )


def export_line(settings: Settings, key: str, exported: Mapping[str, Any]) -> str:
    """The file in a line: where it is, how large, how exact and how fast."""
    onnxruntime, pytorch = (exported[name]["single"]["median"] for name in ("inference_ms", "pytorch_inference_ms"))
    return (
        f"onnx: {trial_directory(settings, key) / ONNX_FILE}, {exported['bytes']:,} bytes, "
        f"{100 * exported['equal_predictions']:.2f} % of predictions as PyTorch's, "
        f"{onnxruntime:.3g} ms for one input (PyTorch {pytorch:.3g})"
    )


def _compute(workload: Workload, arm_key: str, directory: Path) -> dict[str, Any]:
    started = time.perf_counter()
    dataset, model = workload.dataset, _decoded(workload, directory)
    example, validation, test = dataset.example, dataset.validation, dataset.test
    if not (isinstance(example, Tensor) and isinstance(validation, Split) and isinstance(test, Split)):
        raise TrialError("the network cannot be exported as ONNX: its inputs are not one tensor of images or tokens")
    content = onnx_bytes(model, example)
    network = OnnxNetwork(content)
    compared = validation.evenly_spaced(_MOST_COMPARED)
    expected, found = (forward(one, dataset, compared, _CPU) for one in (model, network))
    difference = float((found - expected).abs().max())
    # In this form NaN is refused as well.
    if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise TrialError(f"the network exported as ONNX gives other outputs than PyTorch's (by up to {difference:.3g})")
    splits = {name: split.evenly_spaced(_MOST_INPUTS) for name, split in (("validation", validation), ("test", test))}
    logits = {name: forward(network, dataset, split, _CPU) for name, split in splits.items()}
    record = {
        "schema_version": SCHEMA_VERSION,
        "arm_key": arm_key,
        "bytes": len(content),
        "opset": OPSET,
        "input": {
            "name": INPUT,
            "shape": ["batch", *example.shape[1:]],
            "dtype": str(example.dtype).removeprefix("torch."),
            "mean": dataset.mean.flatten().tolist(),
            "std": dataset.std.flatten().tolist(),
        },
        "largest_difference": difference,
        "equal_predictions": float((found.argmax(1) == expected.argmax(1)).double().mean()),
        "inputs": {"compared": len(compared), **{name: len(split) for name, split in splits.items()}},
        **{name: asdict(quality_of(logits[name], split.labels, dataset.classes)) for name, split in splits.items()},
        "pytorch_inference_ms": inference_ms(model, example, _CPU),
        "inference_ms": network.inference_ms(example),
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")},
        "seconds": time.perf_counter() - started,
    }
    write_atomically(directory / ONNX_FILE, content)
    return record


def _decoded(workload: Workload, directory: Path) -> nn.Module:
    """The network of the trial's file, in a copy: the model is that of all trials."""
    path = directory / MODEL_FILE
    try:
        return load(path, deepcopy(workload.model).to(_CPU), limits=UNLIMITED)  # it is our own
    except FileNotFoundError:
        remedy = f"remove {directory / RESULT_FILE} and run the same command again to have it made anew"
        raise TrialError(f"{path} is not there any more; {remedy}") from None
