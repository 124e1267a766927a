"""Intervals of what compression loses of a metric that follows from sums over examples: a paired bootstrap."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavesweep.runtime.records import write_atomically

STATISTICS_FILE = "statistics.npz"
# Numbers of a split beyond which no statistics are kept, resamples, and how many of them are made at once.
MOST_NUMBERS = 4_000_000
_RESAMPLES, _AT_ONCE = 1000, 50
Statistics = NDArray[np.float64]


def interval(
    before: Statistics, after: Statistics, result: Callable[[Tensor], float], sign: float
) -> tuple[float, float] | None:
    """The 95 % interval of `sign` * (metric before - metric after), by resampling the examples of both together.

    Args:
        before: what each example adds to the sums, shape (examples, k), of the network before compression.
        after: likewise, of the compressed one.
        result: from the sums to the metric.
        sign: that of a loss, times the scale in which it is shown.

    Returns:
        None where the two are not of the same examples, or too few.
    """
    if before.shape != after.shape or len(before) < 2:
        return None
    generator, count = np.random.default_rng(0), len(before)
    differences = []
    for _ in range(_RESAMPLES // _AT_ONCE):
        drawn = generator.multinomial(count, np.full(count, 1 / count), _AT_ONCE).astype(np.float64)
        for first, second in zip(torch.from_numpy(drawn @ before), torch.from_numpy(drawn @ after), strict=True):
            differences.append(sign * (result(first) - result(second)))
    low, high = np.percentile(differences, [2.5, 97.5])
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def write_statistics(directory: Path, statistics: Mapping[str, Statistics]) -> None:
    """Keep those of a baseline, by split, beside its record."""
    if statistics:
        content = io.BytesIO()
        np.savez(content, **statistics)  # type: ignore[arg-type]
        write_atomically(directory / STATISTICS_FILE, content.getvalue())


def read_statistics(directory: Path) -> dict[str, Statistics]:
    """Those of a baseline; none where they are lost or damaged."""
    try:
        content = io.BytesIO((directory / STATISTICS_FILE).read_bytes())
        with np.load(content, allow_pickle=False) as found:
            return {name: np.asarray(found[name], np.float64) for name in found.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
