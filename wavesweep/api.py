"""What the command line does, for a notebook: compress a network, save it, load it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from wavesweep.app import config_directory, register
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import state_dict
from wavesweep.coding import Coding, Network, code_arm
from wavesweep.compose import explain, settings_from
from wavesweep.compression.arm import ArmSpec
from wavesweep.compression.importance import LayerImportance, layer_importance
from wavesweep.config import Settings, check
from wavesweep.errors import SettingsError
from wavesweep.store.records import write_atomically
from wavesweep.trial import plan_pruned


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
        return state_dict(unpack(self.content)[0])


def compress(
    model: nn.Module,
    overrides: Sequence[str] = (),
    *,
    input_shape: Sequence[int] = (),
    images: Tensor | None = None,
) -> CompressedModel:
    """Prune, quantise and encode a trained network as it is; it is left unchanged.

    Args:
        model: the network.
        overrides: settings as on the command line, e.g. ["wavelet=haar", "threshold.percentile=90"]; those of data,
            model and records play no part.
        input_shape: (channels, height, width), for a first linear layer that is to be seen as an image.
        images: normalised training images, shape (count, channels, height, width), for
            quantize.importance=second_order.

    Raises:
        SettingsError: a setting is wrong, or needs data that is not given.
        TrialError: nothing would be transformed, or a weight is not finite.
    """
    settings = _settings(overrides)
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    plans = tuple(plan_pruned(model, settings, tuple(input_shape))[0])

    def importance(names: tuple[str, ...]) -> dict[str, LayerImportance]:
        if images is None:
            raise SettingsError("quantize.importance", "second_order", "needs images", "give compress(images=...)")
        # Each module on its own: a frozen normalisation is in evaluation mode inside a network that is trained.
        was_training = {module: module.training for module in model.modules()}
        try:
            return layer_importance(model, names, images[: settings.quantize.images].clone(), settings.seed)
        finally:
            for module, training in was_training.items():
                module.training = training

    def accuracy(weights: Mapping[str, Tensor]) -> float:
        raise SettingsError("quantize.max_drop", settings.quantize.max_drop, "needs a data set", "use the command line")

    spec = ArmSpec(settings.method.name, plans, settings.boundary, settings.threshold, settings.seed)
    coding = Coding(settings.quantize, settings.codec, settings.seed)
    return CompressedModel(code_arm(spec, coding, Network(model, state, importance, accuracy)).content)


def _settings(overrides: Sequence[str]) -> Settings:
    register()
    others = GlobalHydra.instance().hydra  # the caller may be a Hydra application itself
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_directory())):
            settings = settings_from(compose("config", list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError.from_text(explain(error)) from None
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
