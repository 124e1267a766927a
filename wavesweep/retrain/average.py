"""Averages of the weights over the steps of training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Exponential moving averages of a network's parameters and statistics (Polyak and Juditsky 1992).

    Each step of training moves every weight by its noise, and one that lies near the middle of two multiples of its
    step to and fro between them; an average of the last steps has less of both.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """`decay` is the weight of what was before: 0.99 averages over about a hundred steps."""
        # The state dict shares its memory with the network, and lists all names of tied weights: averaged alike.
        self._current = [value for value in network.state_dict().values() if value.is_floating_point()]
        self._averages = [value.clone() for value in self._current]
        self._move = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """Take in the weights after a step."""
        self._move(self._averages, self._current, 0)  # the number of averages plays no part

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network with the averages for its weights, until the block ends."""
        own = [value.clone() for value in self._current]
        self._set(self._averages)
        try:
            yield
        finally:
            self._set(own)

    def _set(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for current, value in zip(self._current, values, strict=True):
                current.copy_(value)

    def saved(self) -> list[Tensor]:
        """The averages, for a checkpoint."""
        return self._averages

    def load(self, saved: Sequence[Tensor]) -> None:
        """Go on from the averages of a checkpoint."""
        for average, value in zip(self._averages, saved, strict=True):
            average.copy_(value)
