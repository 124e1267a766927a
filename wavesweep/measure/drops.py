"""Points of accuracy that compression loses, with a 95 % interval from the images on which the two networks differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Drop:
    """A loss of accuracy, in points, that was measured on `images` images; a gain is negative.

    Attributes:
        points: the loss.
        low: the lower end of the 95 % interval.
        high: the upper end.
        images: how many there are.
        lost: how many only the network before compression has right.
        gained: how many only the compressed one has right.
    """

    points: float
    low: float
    high: float
    images: int
    lost: int
    gained: int


def drop_of(lost: int, gained: int, images: int) -> Drop:
    """The loss and its interval: Bonett and Price (2012), a Wald interval for paired shares with one image added to
    each of the two kinds that differ. Its coverage stays near 95 % where few images differ, and none is certainty."""
    more, less = (lost + 1) / (images + 2), (gained + 1) / (images + 2)
    middle, half = more - less, _Z * sqrt((more + less - (more - less) ** 2) / (images + 2))
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Drop(100 * (lost - gained) / images, 100 * low, 100 * high, images, lost, gained)


def packed(correct: NDArray[np.bool_]) -> str:
    """Whether each image is right, eight in two hexadecimal digits."""
    return np.packbits(correct).tobytes().hex()


def drop_between(before: Any, after: str, images: int) -> Drop | None:
    """The drop between two networks, by what each has right, packed; None if `before` is not known or of others."""
    if not isinstance(before, str) or not images:
        return None
    try:
        first, second = (_unpacked(text, images) for text in (before, after))
    except ValueError:
        return None
    return drop_of(int((first & ~second).sum()), int((second & ~first).sum()), images)


def _unpacked(text: str, count: int) -> NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(bool)
    if not 0 <= len(bits) - count < 8:
        raise ValueError
    return bits[:count]


def with_interval(points: float, interval: Sequence[float] | None) -> str:
    """Points and their interval, if it is known, as they are shown: `0.69 (-0.8 to 2.2)`."""
    return f"{points:.2f}" if interval is None else f"{points:.2f} ({interval[0]:.1f} to {interval[1]:.1f})"
