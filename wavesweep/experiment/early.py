"""Stopping a search's trial early: a part of the validation images shows that it is far from the front."""

from dataclasses import dataclass
from math import sqrt

from wavesweep.runtime.records import read_json
from wavesweep.runtime.shapes import Front
from wavesweep.settings.keys import study_directory
from wavesweep.settings.schema import Settings

FRONT_FILE = "front.json"
# Standard errors of its accuracy that a trial is given credit for.
_CREDIT = 2.0
# Objectives beside accuracy that are known before a network is evaluated, and whether more is better.
COUNTED = {"stored_bytes": False, "sparsity": True}


@dataclass(frozen=True)
class EarlyStop:
    """The front that a trial must come near to, and the number of validation images by which that is judged.

    `front` holds pairs of validation accuracy and the objective `other`.
    """

    images: int
    other: str
    front: tuple[tuple[float, float], ...]

    def reason(self, accuracy: float, other: float, images: int) -> str | None:
        """Why a trial with that accuracy on so many images is stopped early; None where it is not.

        It is stopped if a trial of the front is at least as good in the other objective, and still more accurate
        when two standard errors are added to this one's accuracy.
        """
        spread = sqrt(max(accuracy * (1 - accuracy), 1 / images) / images)  # never zero: 0 of 50 is not 0 of all
        hoped = accuracy + _CREDIT * spread
        sign = 1 if COUNTED[self.other] else -1
        better = [found for found, size in self.front if sign * size >= sign * other and found > hoped]
        if not better:
            return None
        return (
            f"{100 * accuracy:.1f} % of {images} validation images, "
            f"where the front has {100 * max(better):.1f} % of all at no higher cost"
        )


def read_early_stop(settings: Settings) -> EarlyStop | None:
    """By the front of the search that the trial is part of; None where it stops nothing early, or has no front yet."""
    search = settings.search
    if search.early_images is None:
        return None
    content = read_json(study_directory(settings) / FRONT_FILE, Front)
    if content is None:
        return None
    (other,) = (name for name in search.objectives if name != "accuracy")
    first, second = search.objectives.index("accuracy"), search.objectives.index(other)
    values = [row["values"] for row in content["front"]]
    if any(len(one) != len(search.objectives) for one in values):
        return None  # of a damaged front; the next trial writes it anew
    front = tuple((one[first], one[second]) for one in values)
    return EarlyStop(search.early_images, other, front)
