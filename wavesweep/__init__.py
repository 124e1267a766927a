"""Compress trained neural networks in the wavelet domain, with controls."""

from typing import TYPE_CHECKING, Any

from wavesweep.errors import FileFormatError, SettingsError, WavesweepError

if TYPE_CHECKING:
    from wavesweep.api import CompressedModel, compress, save
    from wavesweep.experiment.onnx import export_onnx
    from wavesweep.models.load import load

__version__ = "0.1.0"
__all__ = [
    "CompressedModel",
    "FileFormatError",
    "SettingsError",
    "WavesweepError",
    "compress",
    "export_onnx",
    "load",
    "save",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: decoding a file needs neither Hydra nor the data sets.
    if name == "load":
        from wavesweep.models.load import load

        return load
    if name == "export_onnx":
        from wavesweep.experiment.onnx import export_onnx

        return export_onnx
    if name in ("CompressedModel", "compress", "save"):
        from wavesweep import api

        return getattr(api, name)
    raise AttributeError(f"module 'wavesweep' has no attribute {name!r}")
