"""What the command line does, for a notebook: compress a network, save it, load it again."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from wavesweep.cli.composition import compose_settings
from wavesweep.codec.header import unstorable
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import state_dict
from wavesweep.data.splits import Dataset, Split
from wavesweep.errors import SettingsError
from wavesweep.experiment.callers import check_inputs, check_labels, check_model, check_shape, classes_of, copied
from wavesweep.experiment.coding import Coding, Network, code_arm
from wavesweep.experiment.notes import selection_notes
from wavesweep.experiment.prepare import choose_device, plan_pruned
from wavesweep.models.zoo import give_logits, take_contiguous
from wavesweep.pruning.prune import ArmSpec
from wavesweep.pruning.sensitivity import curves_for, read_table
from wavesweep.quantization.importance import LayerImportance, layer_importance
from wavesweep.runtime.records import write_atomically
from wavesweep.settings.effect import idle_notes
from wavesweep.training.interface import CheckpointPaths, Training


@dataclass(frozen=True)
class CompressedModel:
    """A compressed network: the bytes of its file."""

    content: bytes

    @property
    def stored_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)

    def state_dict(self) -> dict[str, Tensor]:
        """The decoded tensors."""
        return state_dict(unpack(self.content, sys.maxsize)[0])  # its own content, however large


def compress(
    model: nn.Module,
    overrides: Sequence[str] = (),
    *,
    input_shape: Sequence[int] = (),
    images: Tensor | None = None,
    labels: Tensor | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
) -> CompressedModel:
    """Prune, retrain, quantise and encode a trained network; it is left unchanged.

    Args:
        model: the network.
        overrides: settings as on the command line, e.g. ["wavelet=haar", "threshold.percentile=90"]; those of data,
            model, comparison, export and records play no part, but for model.recipe: what retrain.* leaves open is
            taken from there. Of others that play no part a warning tells.
        input_shape: (channels, height, width), for a first linear layer that is to be seen as an image, and for
            shrink=true.
        images: normalised training images, shape (count, channels, height, width), or tokens as int64, shape
            (count, length), for quantize.importance=second_order and for retraining.
        labels: their classes, shape (count,), for retraining.
        validation: images and labels by which retraining chooses its best epoch.

    Raises:
        SettingsError: a setting is wrong, or needs data that is not given.
        TrialError: nothing would be transformed, or a weight is not finite.
    """
    if isinstance(overrides, str):
        raise SettingsError("overrides", overrides, "must be a list of settings", f"give [{overrides!r}]")
    if not isinstance(overrides, Sequence) or not all(isinstance(override, str) for override in overrides):
        raise SettingsError("overrides", overrides, "must be a list of settings, such as ['level=2']")
    settings = compose_settings(overrides)
    if settings.quantize.max_drop is not None:
        raise SettingsError("quantize.max_drop", settings.quantize.max_drop, "needs a data set", "use the command line")
    check_model(model, settings)
    input_shape = check_shape(input_shape)
    # A loop over methods may give all of them the settings of wavelets, as a trial gives them to its controls.
    also = ["wavelet"] if settings.method.name != "wavelet" else []
    for note in idle_notes(replace(settings, compare=also, compare_match="coefficients")):
        warnings.warn(note, stacklevel=2)
    if reason := unstorable(model.state_dict()):
        raise SettingsError.from_text(f"model: {reason}", "model")
    network = take_contiguous(give_logits(copied(model)))
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    if settings.shrink and input_shape:
        check_inputs(torch.zeros(1, *input_shape), network, "input_shape")
    if validation is not None and (not isinstance(validation, tuple | list) or len(validation) != 2):
        allowed = "must be a pair of images and labels"
        raise SettingsError(
            "validation", type(validation).__name__, allowed, "give compress(validation=(images, labels))"
        )
    for inputs, what in ((images, "images"), (None if validation is None else validation[0], "validation")):
        if inputs is not None:
            check_inputs(inputs, network, what)
    pruned, others = plan_pruned(model, settings, tuple(input_shape))
    for note in selection_notes([plan.name for plan in (*pruned, *others)], settings.layers):
        warnings.warn(note, stacklevel=2)
    plans = tuple(pruned)

    def importance(names: tuple[str, ...], state: Mapping[str, Tensor]) -> dict[str, LayerImportance]:
        if images is None:
            raise SettingsError("quantize.importance", "second_order", "needs images", "give compress(images=...)")
        scratch = deepcopy(network)
        scratch.load_state_dict(dict(state))
        sample = images[: settings.quantize.images].clone().to(next(scratch.parameters()).device)
        return layer_importance(scratch, names, sample, settings.seed)

    def accuracy(state: Mapping[str, Tensor]) -> float:
        raise AssertionError("quantize.max_drop was refused")

    def training(paths: CheckpointPaths | None) -> Training:
        if images is None or labels is None or validation is None:
            raise SettingsError(
                "retrain.name", settings.retrain.name, "needs data", "give compress(images=, labels=, validation=)"
            )
        held_out = Split(*validation)
        # Labels need not have all classes of the network.
        scratch = deepcopy(network).eval()
        with torch.no_grad():
            outputs = scratch(images[:1].clone().to(next(scratch.parameters()).device))
        classes = classes_of(outputs)
        for split, what in ((Split(images, labels), "labels"), (held_out, "validation")):
            check_labels(split, classes, what)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise SettingsError(
                "retrain.name", settings.retrain.name, "needs parameters with gradients", "unfreeze some"
            )
        if settings.retrain.augment and images.dim() != 4:
            raise SettingsError("retrain.augment", True, "needs images, of shape (count, channels, height, width)")
        # The images are normalised already, so their mean is taken as 0 and their standard deviation as 1.
        data = Dataset(Split(images, labels), held_out, held_out, classes, torch.zeros(()), torch.ones(()))
        place = next(model.parameters()).device
        device = place if place.type == "cuda" and settings.device != "cpu" else choose_device(settings.device)
        return Training(data, settings.model.recipe, settings.seed, device, paths, settings.progress, early_weights)

    def early_weights(epoch: int) -> Mapping[str, Tensor]:
        raise SettingsError("retrain.rewind", "weights", "needs the training of the baseline", "use the command line")

    spec = ArmSpec(settings.method.name, plans, settings.boundary, settings.threshold, settings.seed)
    if settings.shrink and not input_shape:
        raise SettingsError("shrink", True, "needs the shape of an image", "give compress(input_shape=...)")
    if settings.threshold.allocation == "sensitivity":
        spec = replace(spec, curves=curves_for(read_table(settings.threshold.sensitivity or ""), plans))
    coding = Coding(settings.retrain, settings.quantize, settings.codec, settings.seed, settings.shrink)
    known = Network(network, state, importance, accuracy, training, tuple(input_shape))
    return CompressedModel(code_arm(spec, coding, known).content)


def save(compressed: CompressedModel, path: str | Path) -> int:
    """Write a compressed network atomically; returns the size of the file in bytes.

    Raises:
        StoreError: it cannot be written.
    """
    write_atomically(Path(path), compressed.content)
    return compressed.stored_bytes
