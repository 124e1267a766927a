"""Compress trained neural networks in the wavelet domain, with controls."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wavesweep.errors import FileFormatError, SettingsError, WavesweepError

if TYPE_CHECKING:
    from wavesweep.api import compress, save
    from wavesweep.codec.limits import Limits
    from wavesweep.compression.result import CompressedModel
    from wavesweep.experiment.export.onnx import export_onnx
    from wavesweep.models.load import load

__version__ = "0.1.0"
__all__ = [
    "CompressedModel",
    "FileFormatError",
    "Limits",
    "SettingsError",
    "WavesweepError",
    "compress",
    "export_onnx",
    "load",
    "save",
]


# Imported on first use: decoding a file needs neither Hydra nor the data sets.
_MODULES = {
    "CompressedModel": "wavesweep.compression.result",
    "Limits": "wavesweep.codec.limits",
    "compress": "wavesweep.api",
    "export_onnx": "wavesweep.experiment.export.onnx",
    "load": "wavesweep.models.load",
    "save": "wavesweep.api",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'wavesweep' has no attribute {name!r}")
