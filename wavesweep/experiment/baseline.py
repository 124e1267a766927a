"""The trained network that every trial starts from: made once, stored, and shared by all processes."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from wavesweep.data.datasets import form_of_folder, load_dataset
from wavesweep.data.splits import Dataset
from wavesweep.experiment.inputs import checkpoint_digest
from wavesweep.experiment.splits import split_notes
from wavesweep.experiment.task_check import checked_by
from wavesweep.measure.alternatives import dense_file_bytes, gzip_bytes, int8_state
from wavesweep.measure.cost import dense_bytes, inference_ms, multiply_accumulates
from wavesweep.measure.drops import packed
from wavesweep.measure.intervals import write_statistics
from wavesweep.measure.quality import evaluate, evaluate_each
from wavesweep.models.checkpoints import load_checkpoint
from wavesweep.models.computed import fold_computed
from wavesweep.models.load import load_first_names, load_state
from wavesweep.models.pretrained import weights_file
from wavesweep.models.tied import once_each
from wavesweep.models.zoo import build_model, with_channels_last
from wavesweep.runtime import shapes
from wavesweep.runtime.metrics import task_entry
from wavesweep.runtime.records import once_or_failure, write_atomically
from wavesweep.settings.keys import baseline_key
from wavesweep.settings.schema import Settings
from wavesweep.training.train import discard_checkpoint, train

_WEIGHTS_FILE = "weights.safetensors"
# The network of the last trial, which the next one of this process most likely uses again, and notes on its checkpoint.
_models: dict[tuple[object, ...], tuple[nn.Module, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Workload:
    """What the settings say is to be compressed: data, network and the digests of files they name.

    In `model` weights that layers compute are plain parameters already; it is not trained as such. `notes` say so, and
    what a reader must know of the data and of how the checkpoint was read.
    """

    dataset: Dataset
    model: nn.Module
    digests: dict[str, str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Baseline:
    """The trained weights (state dict on the CPU), and their record."""

    state: dict[str, Tensor]
    record: dict[str, Any]


def load_workload(settings: Settings) -> Workload:
    """Data set and untrained network; both are kept for the next call of this process.

    Raises:
        SettingsError: the data set, the model or the checkpoint cannot be had.
    """
    digests = {}
    if settings.model.checkpoint is not None:
        digests["checkpoint"] = checkpoint_digest(settings.model.checkpoint)
        # A checkpoint that does not fit is refused before thousands of images are decoded.
        if (form := form_of_folder(settings)) is not None:
            _remembered_model(settings, _Form(form.input_shape, form.classes), digests)
    if settings.model.weights is not None:
        digests["weights"] = weights_file(settings.model)
    dataset = load_dataset(settings)
    if dataset.digest is not None:
        digests["dataset"] = dataset.digest
    model, notes = _remembered_model(settings, _form_of(settings, dataset), digests)
    return Workload(dataset, model, digests, (*notes, *split_notes(settings, dataset)))


def obtain_baseline(settings: Settings, workload: Workload, device: torch.device) -> Baseline:
    """The baseline of `settings`: from memory, from disk, or trained now (by one process, the others wait).

    Raises:
        TrialError: its training diverged, now or earlier.
    """
    key = baseline_key(settings, workload.digests)
    directory = Path(settings.paths.outputs) / "baselines" / key

    def compute(into: Path) -> dict[str, Any]:
        started = time.perf_counter()
        model, _ = _initial_model(settings, _form_of(settings, workload.dataset))
        curve = train(model, workload.dataset, settings.model.recipe, settings.seed, device, into, settings.progress)
        fold_computed(model)  # what is compressed, and so what it is compared with
        # Copies, because safetensors refuses tensors that share memory, as tied weights do.
        state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
        write_atomically(into / _WEIGHTS_FILE, save(state))
        model.to(device)
        measured = measure(model, workload.dataset, device)
        write_statistics(into, measured.pop("statistics", {}))
        return {
            "key": key,
            "settings": {
                "model": asdict(settings.model),
                "dataset": asdict(settings.dataset),
                "seed": settings.seed,
            },
            **task_entry(workload.dataset.task.primary_metric),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            **measured,
            "macs": multiply_accumulates(model, workload.dataset.example, device),
            "dense_bytes": dense_bytes(model),
            "alternatives": _alternatives(model, state, workload.dataset, device),
            "training": curve,
            "seconds": time.perf_counter() - started,
        }

    record_path, weights_path = directory / "baseline.json", directory / _WEIGHTS_FILE

    def obtain() -> dict[str, Any]:
        return once_or_failure(
            record_path,
            compute,
            shapes.Baseline,
            retry_failed=settings.retry_failed,
            fits=lambda record: bool(record["key"] == key),
        )

    record = obtain()
    discard_checkpoint(directory)
    state = _read_weights(weights_path, workload.model)
    if state is None:  # lost or damaged; the same ones come out again
        record_path.unlink(missing_ok=True)
        record = obtain()
        state = _weights(weights_path)
    return Baseline(state, record)


def obtain_early_weights(settings: Settings, workload: Workload, device: torch.device, epoch: int) -> dict[str, Tensor]:
    """State dict of the baseline after its first `epoch` epochs, which are trained again where they are not on disk.

    Training is deterministic, so these are the weights that the baseline had.
    """
    directory = Path(settings.paths.outputs) / "baselines" / baseline_key(settings, workload.digests) / f"epoch_{epoch}"

    def compute(into: Path) -> dict[str, Any]:
        model, _ = _initial_model(settings, _form_of(settings, workload.dataset))
        recipe = settings.model.recipe
        curve = train(model, workload.dataset, recipe, settings.seed, device, into, settings.progress, until=epoch)
        fold_computed(model)
        state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
        write_atomically(into / _WEIGHTS_FILE, save(state))
        return {"epoch": epoch, "training": curve}

    record_path = directory / "weights.json"

    def obtain() -> None:
        once_or_failure(
            record_path,
            compute,
            shapes.EarlyWeights,
            retry_failed=settings.retry_failed,
            fits=lambda record: bool(record["epoch"] == epoch),
        )

    obtain()
    discard_checkpoint(directory)
    state = _read_weights(directory / _WEIGHTS_FILE, workload.model)
    if state is None:  # lost or damaged; the same ones come out again
        record_path.unlink(missing_ok=True)
        obtain()
        state = _weights(directory / _WEIGHTS_FILE)
    return state


def measure(model: nn.Module, dataset: Dataset, device: torch.device) -> dict[str, Any]:
    """Quality on validation and test, and inference time, of a network that is on `device`.

    Other networks are compared by what is known of each example: `correct` says of each image whether it is right,
    packed; of other tasks `statistics`, arrays by split, are what the primary metric is made of.
    """
    splits = {"validation": dataset.validation, "test": dataset.test}
    found = {name: evaluate_each(model, dataset, split, name, device) for name, split in splits.items()}
    known = {
        "correct": {name: packed(one.correct) for name, one in found.items() if one.correct is not None},
        "statistics": {name: one.statistics for name, one in found.items() if one.statistics is not None},
    }
    return {
        **{name: one.quality for name, one in found.items()},
        "inference_ms": inference_ms(model, dataset.example, device),
        **{name: values for name, values in known.items() if values},
    }


def _alternatives(model: nn.Module, state: dict[str, Tensor], dataset: Dataset, device: torch.device) -> dict[str, Any]:
    """What the network takes without wavesweep, and what int8 costs in accuracy; leaves the model as it was."""
    once = once_each(state, model)
    decoded, int8 = int8_state(once)
    load_first_names(model, decoded)
    for name, split in (("validation", dataset.validation), ("test", dataset.test)):
        int8[name] = evaluate(model, dataset, split, name, device)
    load_state(model, state)
    return {"safetensors_bytes": dense_file_bytes(once), "gzip_bytes": gzip_bytes(once), "int8": int8}


@dataclass(frozen=True)
class _Form:
    """What a network must fit: the shape of an input, the number of classes; an example and a check, if it has any."""

    input_shape: tuple[int, ...]
    classes: int
    example: Tensor | None = None
    checked: Callable[[nn.Module], None] | None = None


def _form_of(settings: Settings, dataset: Dataset) -> _Form:
    example = dataset.example
    checked = checked_by(settings, dataset)
    return _Form(dataset.input_shape, dataset.classes, example if isinstance(example, Tensor) else None, checked)


def _initial_model(settings: Settings, form: _Form) -> tuple[nn.Module, tuple[str, ...]]:
    """The network before its training here, and what is to be said of its checkpoint."""
    model = build_model(settings.model, form.input_shape, form.classes, settings.seed, form.example, form.checked)
    note = None if settings.model.checkpoint is None else load_checkpoint(model, settings.model.checkpoint)
    model = with_channels_last(model, settings.model) if _uses_cpu(settings) else model
    return model, () if note is None else (note,)


def _uses_cpu(settings: Settings) -> bool:
    return settings.device == "cpu" or not torch.cuda.is_available()


def _remembered_model(settings: Settings, form: _Form, digests: dict[str, str]) -> tuple[nn.Module, tuple[str, ...]]:
    key = (
        repr(settings.model),
        repr(settings.task),
        settings.seed,
        form.input_shape,
        form.classes,
        digests.get("checkpoint"),
        _uses_cpu(settings),
    )
    if key not in _models:
        _models.clear()
        model, notes = _initial_model(settings, form)
        _models[key] = model, (*notes, *fold_computed(model))
    return _models[key]


def _read_weights(path: Path, model: nn.Module) -> dict[str, Tensor] | None:
    """The weights at `path`; None where they are lost, damaged or not those of such a network."""
    try:
        state = _weights(path)
    except (FileNotFoundError, SafetensorError):
        return None
    wanted = {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}
    if {name: (value.shape, value.dtype) for name, value in state.items()} == wanted:
        return state
    _weights.cache_clear()  # of what lies there now
    return None


@lru_cache(maxsize=2)
def _weights(path: Path) -> dict[str, Tensor]:
    return load_file(path)
