"""Packages that only some settings need: here and not beside what uses them, as the checks of settings come first."""

from functools import lru_cache
from importlib.util import find_spec

from wavesweep.errors import SettingsError


def check_onnx_packages() -> None:
    """Refuse an export where a package that it needs is absent.

    Raises:
        SettingsError: naming it.
    """
    if missing := _missing_packages():
        allowed = f"needs packages that are not installed ({', '.join(missing)})"
        raise SettingsError("export", "onnx", allowed, "pip install 'wavesweep[onnx]'")


@lru_cache  # a sweep asks for each of its points
def _missing_packages() -> tuple[str, ...]:
    return tuple(name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None)
