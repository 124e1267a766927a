"""What the command line does, for a notebook: compress a network, save it, load it again."""

import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from wavesweep.app import register
from wavesweep.checks import check
from wavesweep.codec.header import unstorable
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import state_dict
from wavesweep.coding import Coding, Network, code_arm
from wavesweep.compose import explain, settings_from
from wavesweep.compression.arm import ArmSpec
from wavesweep.compression.importance import LayerImportance, layer_importance
from wavesweep.config import Settings, config_directory
from wavesweep.data.splits import Dataset, Split
from wavesweep.errors import SettingsError
from wavesweep.idle import idle_notes
from wavesweep.models.zoo import give_logits, take_contiguous
from wavesweep.prepare import choose_device, plan_pruned
from wavesweep.retrain.interface import Places, Training
from wavesweep.sensitivity import curves_for, read_table
from wavesweep.store.records import write_atomically


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
    settings = _settings(overrides)
    # A loop over methods may give all of them the settings of wavelets, as a trial gives them to its controls.
    also = ["wavelet"] if settings.method.name != "wavelet" else []
    for note in idle_notes(replace(settings, compare=also, compare_match="coefficients")):
        warnings.warn(note, stacklevel=2)
    if reason := unstorable(model.state_dict()):
        raise SettingsError.from_text(f"model: {reason}", "model")
    network = take_contiguous(give_logits(deepcopy(model)))
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    _check_types(model, settings)
    if settings.shrink and input_shape:
        _check_inputs(torch.zeros(1, *input_shape), network, "input_shape")
    if validation is not None and (not isinstance(validation, tuple | list) or len(validation) != 2):
        allowed = "must be a pair of images and labels"
        raise SettingsError(
            "validation", type(validation).__name__, allowed, "give compress(validation=(images, labels))"
        )
    for inputs, what in ((images, "images"), (None if validation is None else validation[0], "validation")):
        if inputs is not None:
            _check_inputs(inputs, network, what)
    plans = tuple(plan_pruned(model, settings, tuple(input_shape))[0])

    def importance(names: tuple[str, ...], state: Mapping[str, Tensor]) -> dict[str, LayerImportance]:
        if images is None:
            raise SettingsError("quantize.importance", "second_order", "needs images", "give compress(images=...)")
        scratch = deepcopy(network)
        scratch.load_state_dict(dict(state))
        sample = images[: settings.quantize.images].clone().to(next(scratch.parameters()).device)
        return layer_importance(scratch, names, sample, settings.seed)

    def accuracy(state: Mapping[str, Tensor]) -> float:
        raise SettingsError("quantize.max_drop", settings.quantize.max_drop, "needs a data set", "use the command line")

    def training(places: Places | None) -> Training:
        if images is None or labels is None or validation is None:
            raise SettingsError(
                "retrain.name", settings.retrain.name, "needs data", "give compress(images=, labels=, validation=)"
            )
        held_out = Split(*validation)
        # Labels need not have all classes of the network.
        scratch = deepcopy(network).eval()
        with torch.no_grad():
            classes = scratch(images[:1].to(next(scratch.parameters()).device)).shape[1]
        for split, what in ((Split(images, labels), "labels"), (held_out, "validation")):
            _check_labels(split, classes, what)
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
        return Training(data, settings.model.recipe, settings.seed, device, places, settings.progress, early_weights)

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


def _check_types(model: nn.Module, settings: Settings) -> None:
    """Refuse parameters of types that cannot be coded, or not retrained."""
    retrain = settings.retrain.name
    allowed = (torch.float32,) if retrain != "none" else (torch.float32, torch.float64, torch.float16)
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype not in allowed:
            names = ", ".join(str(kind).removeprefix("torch.") for kind in allowed)
            what = "" if retrain == "none" else f" with retrain={retrain}"
            kind = str(parameter.dtype).removeprefix("torch.")
            raise SettingsError("model", f"{name} of {kind}", f"must be {names}{what}", "give compress(model.float())")


def _check_inputs(inputs: Tensor, network: nn.Module, what: str) -> None:
    """Refuse inputs that the network does not take, before anything is computed with all of them."""
    parameter = next(network.parameters(), None)
    wanted = torch.float32 if parameter is None else parameter.dtype
    allowed = f"must be a tensor of {str(wanted).removeprefix('torch.')}, or of int64 for tokens"
    if not isinstance(inputs, Tensor):
        raise SettingsError(what, type(inputs).__name__, allowed, f"give compress({what}=torch.as_tensor(...))")
    if inputs.dtype not in (wanted, torch.int64):
        raise SettingsError(what, str(inputs.dtype).removeprefix("torch."), allowed, f"convert and normalise {what}")
    if not len(inputs):
        raise SettingsError(what, tuple(inputs.shape), "must hold one input at least")
    scratch = deepcopy(network).eval()
    try:
        with torch.no_grad():
            scratch(inputs[:1] if parameter is None else inputs[:1].to(parameter.device))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(what, tuple(inputs.shape), f"is not what the network takes ({reason})") from None


def _check_labels(split: Split, classes: int, what: str) -> None:
    labels = split.labels
    if len(labels) != len(split.images) or labels.dim() != 1 or labels.dtype != torch.int64:
        raise SettingsError(what, tuple(labels.shape), "must be one int64 per image", f"give compress({what}=...)")
    if len(labels) == 0 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        allowed = f"must hold classes from 0 to below {classes}, the number of the network's outputs"
        raise SettingsError(what, "labels", allowed, f"give compress({what}=...)")


def _settings(overrides: Sequence[str]) -> Settings:
    register()
    others = GlobalHydra.instance().hydra  # the caller may be a Hydra application itself
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_directory())):
            settings = settings_from(compose("config", list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        text = explain(error)
        if found := re.match(r"(\S+): several values need a sweep", text):  # whose command line is of no use here
            text = f"{found[1]}: must be one value; call compress for each"
        raise SettingsError.from_text(text) from None
    finally:
        GlobalHydra.instance().hydra = others
    check(settings)
    return settings


def save(compressed: CompressedModel, path: str | Path) -> int:
    """Write a compressed network atomically; returns the size of the file in bytes.

    Raises:
        StoreError: it cannot be written.
    """
    write_atomically(Path(path), compressed.content)
    return compressed.stored_bytes
