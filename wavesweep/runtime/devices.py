"""Which device a process computes on, and how it leaves a GPU to others."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wavesweep.errors import SettingsError
from wavesweep.runtime.workers import worker_number


def choose_device(name: str) -> torch.device:
    """The device that `device` names; `auto` takes CUDA where there is one. joblib's workers take its GPUs in turn.

    Raises:
        SettingsError: CUDA is asked for and absent.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise SettingsError("device", name, "no CUDA device is available", "use device=cpu or device=auto")
    if not available or name == "cpu":
        return torch.device("cpu")
    number, count = worker_number(), torch.cuda.device_count()
    return torch.device("cuda" if number is None or count < 2 else f"cuda:{number % count}")


@contextmanager
def cached_memory_released(device: torch.device) -> Iterator[None]:
    """At the end, leave what PyTorch keeps of a GPU's memory to the other processes there."""
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
