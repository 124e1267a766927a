"""Training of the baseline: deterministic given the seed, and resumed from its last epoch after a kill."""

import io
import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavesweep.data.splits import Dataset, StoredImages
from wavesweep.errors import TrialError
from wavesweep.measure.quality import evaluate
from wavesweep.runtime.kernels import deterministic_convolutions
from wavesweep.runtime.progress import Meter
from wavesweep.runtime.records import write_atomically
from wavesweep.runtime.seeding import reseed, seeded
from wavesweep.settings.schema import Recipe

_CROP_PADDING = 4
_CHECKPOINT = "checkpoint.pt"


@deterministic_convolutions()
@seeded(0)  # so that the caller's random numbers go on; those of an epoch are seeded with it
def train(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    device: torch.device,
    directory: Path,
    shown: bool,
    until: int | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place by `recipe`, or only its first `until` epochs, and return one row per epoch.

    After every epoch a checkpoint is written to `directory`; the next call goes on from there and gives the same
    weights as an uninterrupted run, because the order of the images follows from the seed and the epoch.

    Raises:
        TrialError: the loss became NaN or infinite.
    """
    model.to(device)
    optimizer = make_optimizer(model.parameters(), recipe)
    checkpoint = directory / _CHECKPOINT
    curve = _resume(checkpoint, model, optimizer)
    images, labels = to_device_if_fits(dataset.train.images, device), dataset.train.labels.to(device)
    last = recipe.epochs if until is None else until
    with Meter((last - len(curve)) * len(labels), "training the baseline", shown) as meter:
        for epoch in range(len(curve), last):
            started = time.perf_counter()
            model.train()
            total_loss, batches = torch.zeros((), dtype=torch.float64, device=device), 0
            for batch in epoch_batches(images, labels, recipe, seed, epoch):
                factor = rate_factor(recipe.schedule, (epoch + batch.share) / recipe.epochs)
                set_learning_rate(optimizer, recipe.learning_rate * factor)
                loss = batch_loss(model, dataset.normalise(batch.images), batch.labels, recipe.precision)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total_loss += loss.detach()
                batches += 1
                meter.advance(len(batch.labels))
            mean_loss = float(total_loss) / max(batches, 1)
            if not math.isfinite(mean_loss):
                raise TrialError(
                    f"training diverged: the loss is {mean_loss} in epoch {epoch + 1}; lower model.recipe.learning_rate"
                )
            accuracy = evaluate(model, dataset, dataset.validation, "validation", device)["accuracy"]
            seconds = time.perf_counter() - started
            curve.append({"epoch": epoch + 1, "loss": mean_loss, "validation_accuracy": accuracy, "seconds": seconds})
            _save(checkpoint, model, optimizer, curve)
            meter.advance(
                0,
                f"epoch {epoch + 1}/{recipe.epochs}, loss {mean_loss:.3f}, validation {accuracy:.2%}, "
                f"{len(labels) / seconds:,.0f} images/s",
            )
    return curve


def discard_checkpoint(directory: Path) -> None:
    """Remove the checkpoint of a finished training."""
    (directory / _CHECKPOINT).unlink(missing_ok=True)


@dataclass(frozen=True)
class Batch:
    """Images (not normalised yet) and labels of one step, their positions in the split, and the share of the epoch that
    lies before it."""

    images: Tensor
    labels: Tensor
    index: Tensor
    share: float


def to_device_if_fits(images: Tensor | StoredImages, device: torch.device) -> Tensor | StoredImages:
    """The images of a split on the device, if they leave half of a GPU's free memory to the training; otherwise where
    they are, and each batch is moved."""
    if device.type == "cuda" and isinstance(images, Tensor) and images.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return images
    return images.to(device)


def epoch_batches(
    images: Tensor | StoredImages, labels: Tensor, recipe: Recipe, seed: int, epoch: int
) -> Iterator[Batch]:
    """The batches of one epoch, in an order and with augmentations that follow from the seed and the epoch alone."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    reseed(seed * 1_000_003 + epoch)  # dropout and the like of a user's own model
    order = torch.randperm(len(labels), generator=generator)
    # Moved at once: each copy to a GPU waits for what it still has to do.
    order_of = {device: order.to(device) for device in {images.device, labels.device}}
    for start in range(0, len(order), recipe.batch_size):
        part = slice(start, start + recipe.batch_size)
        index = order_of[labels.device][part]
        if len(index) == 1 < min(recipe.batch_size, len(order)):
            continue  # a rest of one image, on which batch normalisation cannot train
        chosen = images[order_of[images.device][part]].to(labels.device)
        if recipe.augment:
            chosen = _augment(chosen, generator)
        yield Batch(chosen, labels[index], index, start / len(order))


def batch_loss(model: nn.Module, inputs: Tensor, labels: Tensor, precision: str) -> Tensor:
    """Mean cross-entropy of a batch."""
    return F.cross_entropy(outputs_of(model, inputs, precision), labels)


def outputs_of(model: nn.Module, inputs: Tensor, precision: str) -> Tensor:
    """Logits in float32; with precision bfloat16 the forward pass runs under autocast."""
    if precision == "bfloat16" and inputs.device.type == "cpu":
        _say_if_slow()
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        outputs: Tensor = model(inputs)
    return outputs.float()


@cache
def _say_if_slow() -> None:
    """One line, once: without instructions for it PyTorch computes bfloat16 many times slower than float32."""
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        print(
            "note: this CPU has no bfloat16 instructions, so precision=bfloat16 takes several times as long as "
            "float32; model.recipe.precision=float32 and retrain.precision=float32 are faster here",
            file=sys.stderr,
            flush=True,
        )


def make_optimizer(
    parameters: Iterable[nn.Parameter], recipe: Recipe, fused: bool | None = None
) -> torch.optim.Optimizer:
    """The recipe's optimizer over the parameters that have gradients; `fused` as PyTorch's optimizers have it."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    shared: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "fused": fused}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(trained, momentum=recipe.momentum, **shared)
    return torch.optim.Adam(trained, **shared)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def rate_factor(schedule: str, progress: float) -> float:
    """Factor of the learning rate when the share `progress` of the training is done."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "multistep":
        return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
    return 1.0


def _augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop after padding by 4 pixels of zero, and random horizontal flip; shape (n, c, h, w)."""
    count, _, height, width = images.shape
    padded = F.pad(images, (_CROP_PADDING,) * 4)
    shifts = torch.randint(0, 2 * _CROP_PADDING + 1, (2, count), generator=generator).to(images.device)
    flips = torch.rand(count, generator=generator).to(images.device) < 0.5
    rows = shifts[0, :, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = shifts[1, :, None] + torch.where(flips[:, None], columns.flip(1), columns)
    batch = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, curve: list[dict[str, float]]) -> None:
    buffer = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "curve": curve}, buffer)
    write_atomically(path, buffer.getvalue())


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict[str, float]]:
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # missing or damaged: from the start, the same weights come out
        return []
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    curve: list[dict[str, float]] = state["curve"]
    return curve
