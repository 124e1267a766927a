"""Metrics: frozen rows that are accumulated batch by batch, so that nothing of a data set needs to stay in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wavesweep.runtime.metrics import SHARE, PrimaryMetric

__all__ = ["SHARE", "Metric", "mean_metric", "summed_metric"]


@dataclass(frozen=True)
class Metric:
    """One number of a network on a split.

    Attributes:
        name: in records and tables.
        update: from the state so far (None before the first batch), predictions and targets of a batch to the state
            after it.
        result: from the state after the last batch to the number.
        unit: of the number; `share` for a fraction from 0 to 1, which tables show in percent; empty for none.
        maximize: whether higher is better.
        statistics: where the state is a sum over examples: what each example of a batch adds, shape (examples, k).
            Intervals of losses are made of it.
    """

    name: str
    update: Callable[[Any, Any, Any], Any]
    result: Callable[[Any], float]
    unit: str = ""
    maximize: bool = True
    statistics: Callable[[Any, Any], Tensor] | None = None

    def described(self, task: str) -> PrimaryMetric:
        """As records describe it."""
        return PrimaryMetric(self.name, self.unit, self.maximize, task)


def summed_metric(
    name: str,
    statistics: Callable[[Any, Any], Tensor],
    result: Callable[[Tensor], float],
    unit: str = "",
    maximize: bool = True,
) -> Metric:
    """A metric that follows from sums over examples.

    Args:
        name: in records.
        statistics: from predictions and targets of a batch to what each example adds, shape (examples, k).
        result: from the sums over all examples, float64 of shape (k,), to the number.
        unit: as in `Metric`.
        maximize: as in `Metric`.
    """

    def update(state: Tensor | None, predictions: Any, targets: Any) -> Tensor:
        added = statistics(predictions, targets).double().sum(0).cpu()
        return added if state is None else state + added

    return Metric(name, update, result, unit, maximize, statistics)


def mean_metric(
    name: str,
    each: Callable[[Any, Any], Tensor],
    unit: str = "",
    maximize: bool = True,
    last: Callable[..., Any] = float,
) -> Metric:
    """The mean of a number per example, shape (examples,), such as an error; `last` is applied to that mean."""

    def statistics(predictions: Any, targets: Any) -> Tensor:
        values = each(predictions, targets).reshape(-1).double()
        return torch.stack([values, torch.ones_like(values)], 1)

    return summed_metric(name, statistics, lambda sums: float(last(sums[0] / sums[1])), unit, maximize)
