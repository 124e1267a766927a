"""Random numbers that are the same each time: our own, and those in code of the user's."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(seed: int, *parts: str) -> int:
    """A seed of its own for each purpose and tensor, so that they do not depend on each other's order."""
    digest = hashlib.sha256("/".join([str(seed), *parts]).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def reseed(seed: int) -> None:
    """Begin PyTorch's, NumPy's and Python's random numbers anew."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PyTorch's, NumPy's and Python's random numbers from `seed`; afterwards each continues as if nothing had been."""
    before, numpy_before = random.getstate(), np.random.get_state()
    is_used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if is_used else []
    with torch.random.fork_rng(devices=devices):
        reseed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)
