"""The primary metric of a task as records describe it: its name, unit and direction, and how its values are shown.

Nothing here loads PyTorch: tables, searches and the analysis ask for it, and no longer for an accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The unit of a fraction from 0 to 1, which is shown in percent, and whose losses are points.
SHARE = "share"


@dataclass(frozen=True)
class PrimaryMetric:
    """What choices are made by and losses are counted in.

    Attributes:
        name: of the metric in `validation` and `test`.
        unit: of its values; `share` for a fraction, which is shown in percent; empty for none.
        maximize: whether higher is better.
        task: its name.
    """

    name: str = "accuracy"
    unit: str = SHARE
    maximize: bool = True
    task: str = "classification"

    @property
    def is_accuracy(self) -> bool:
        """Whether it is that of classification, whose records say nothing of a task."""
        return self == ACCURACY

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.unit == SHARE else 1.0

    @property
    def shown_unit(self) -> str:
        """The unit of what is shown: `%` of a share."""
        return "%" if self.unit == SHARE else self.unit

    @property
    def lost_unit(self) -> str:
        """The unit of what is lost: points of a share."""
        return "points" if self.unit == SHARE else self.unit

    def value(self, quality: Mapping[str, Any]) -> float:
        """That of a network by its measures on a split."""
        return float(quality[self.name])

    def score(self, quality: Mapping[str, Any]) -> float:
        """The same, with the sign by which more is better."""
        return self.sign * self.value(quality)

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.maximize else -1

    def drop(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
        """What was lost between the measures of two networks, in the unit in which losses are shown."""
        return self.scale * self.sign * float(before[self.name] - after[self.name])

    def percent_lost(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
        """What was lost, in percent of the value before."""
        lost = self.sign * float(before[self.name] - after[self.name])
        return 100 * lost / max(abs(self.value(before)), 1e-12)

    def lowest_score(self, before: Mapping[str, Any], max_drop: float, drop_in: str) -> float:
        """The least score of a network that loses at most so much, in units (points of a share) or percent."""
        if drop_in == "percent":
            return self.score(before) - max_drop / 100 * abs(self.value(before))
        return self.score(before) - max_drop / self.scale

    def shown(self, value: float) -> str:
        """A value without its unit."""
        return f"{100 * value:.2f}" if self.unit == SHARE else f"{value:.4g}"

    def with_unit(self, value: float) -> str:
        """A value with its unit."""
        return f"{self.shown(value)} {self.shown_unit}".rstrip()

    def shown_drop(self, lost: float) -> str:
        """A loss without its unit."""
        return f"{lost:.2f}" if self.unit == SHARE else f"{lost:.4g}"

    def shown_end(self, lost: float) -> str:
        """An end of an interval of a loss."""
        return f"{lost:.1f}" if self.unit == SHARE else f"{lost:.3g}"

    @property
    def label(self) -> str:
        """Name and unit as the head of a column, without a split: `%` of accuracy, `mean_iou %`, `r2`."""
        return "%" if self.is_accuracy else f"{self.name} {self.shown_unit}".rstrip()

    def described(self) -> dict[str, str]:
        """As records describe it."""
        direction = "higher" if self.maximize else "lower"
        return {"name": self.task, "primary": self.name, "unit": self.unit, "direction": direction}


ACCURACY = PrimaryMetric()


def primary_of(record: Mapping[str, Any]) -> PrimaryMetric:
    """The primary metric of a record; one that says nothing of a task is of classification."""
    task = record.get("task")
    if not isinstance(task, Mapping):
        return ACCURACY
    return PrimaryMetric(task["primary"], task["unit"], task["direction"] == "higher", task["name"])


def task_entry(metric: PrimaryMetric) -> dict[str, Any]:
    """What a record says of its task: nothing for classification, whose fields are older than tasks."""
    return {} if metric.is_accuracy else {"task": metric.described()}
