"""A split of any structure: tensors in memory, or a data set of PyTorch that is read batch by batch."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate

from wavesweep.tasks.task import map_tensors, tensors_in

# Examples of a map-style data set that are read at once when some are asked for.
_AT_ONCE = 256


class Examples:
    """Examples of any structure; a batch is a tensor, or a tuple, list or mapping of tensors, as the data set gives it.

    `source` is such a structure with all examples, whose tensors have one length, or a data set of
    `torch.utils.data`, map-style or iterable, which is read through a `DataLoader` with `workers` processes. Of a data
    set that has a `collate_fn`, that makes the batches. `rows` are the numbers of the examples that are meant.
    """

    def __init__(self, source: Any, count: int, workers: int = 0, rows: Tensor | None = None) -> None:
        self.source, self._workers, self._rows = source, workers, rows
        self._count = count if rows is None else len(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def in_memory(self) -> bool:
        """Whether all of it is tensors."""
        return is_tree(self.source)

    @property
    def is_iterable(self) -> bool:
        """Whether examples come in the order that the data set gives them."""
        return isinstance(self.source, IterableDataset)

    def part(self, index: Tensor) -> "Examples":
        """Those with these numbers."""
        rows = index if self._rows is None else self._rows[index]
        if self.in_memory:
            return Examples(taken(self.source, rows), len(rows))
        return Examples(self.source, len(rows), self._workers, rows)

    def head(self, most: int) -> "Examples":
        """The first `most`; of an iterable data set too."""
        count = min(most, len(self))
        if not self.is_iterable:
            return self.part(torch.arange(count))
        return Examples(_joined(list(self.batches(min(count, _AT_ONCE), limit=count))), count)

    def evenly_spaced(self, most: int) -> "Examples":
        """At most so many, evenly spaced; the first ones of an iterable data set."""
        count = min(most, len(self))
        if count == len(self):
            return self
        return self.head(most) if self.is_iterable else self.part(torch.arange(count) * len(self) // max(count, 1))

    def content(self) -> Any:
        """All of it as tensors."""
        if self.in_memory:
            return self.source
        # A batch that the data set puts together itself may have a shape of its own.
        return _joined(list(self.batches(len(self) if has_own_batches(self.source) else _AT_ONCE)))

    def batches(self, size: int, order: Tensor | None = None, seed: int = 0, limit: int | None = None) -> Iterator[Any]:
        """Batches of `size` examples, the last one perhaps smaller.

        Args:
            size: of a batch.
            order: of the examples; as they are by default. An iterable data set has its own.
            seed: of the random numbers of the processes that read.
            limit: of the number of examples.
        """
        if self.in_memory:
            order = torch.arange(len(self)) if order is None else order
            for index in torch.split(order[:limit], size):
                yield taken(self.source, index)
            return
        chosen: list[int] | None = None
        if not self.is_iterable:
            rows = self._rows if self._rows is not None else torch.arange(len(self))
            chosen = (rows if order is None else rows[order])[:limit].tolist()
        loader: DataLoader[Any] = DataLoader(
            self.source,
            batch_size=size,
            sampler=chosen,
            num_workers=self._workers,
            collate_fn=getattr(self.source, "collate_fn", None),
            generator=torch.Generator().manual_seed(seed),
        )
        left = len(self) if limit is None else limit
        for batch in loader:
            found = converted(batch)
            count = count_of(found)
            yield found if count <= left else taken(found, torch.arange(left))
            left -= count
            if left <= 0:
                return


def has_own_batches(source: Any) -> bool:
    """Whether a data set says itself how examples make a batch."""
    return hasattr(source, "collate_fn")


def is_tree(content: Any) -> bool:
    """Whether it is a tensor, or a structure of nothing but tensors."""
    if isinstance(content, Tensor):
        return True
    parts: Sequence[Any] = ()
    if isinstance(content, Mapping):
        parts = list(content.values())
    elif isinstance(content, tuple | list):
        parts = content
    return bool(parts) and all(map(is_tree, parts))


def taken(tree: Any, index: Tensor) -> Any:
    """The rows of each tensor with these numbers."""
    return map_tensors(lambda tensor: tensor[index.to(tensor.device)], tree)


def count_of(tree: Any) -> int:
    """How many examples a batch has: the length of its first tensor."""
    return len(next(iter(tensors_in(tree)), ()))


def converted(tree: Any) -> Any:
    """Floats as float32, integers but bytes as int64: what networks and losses take."""

    def of(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return tensor.float()
        return tensor if tensor.dtype in (torch.uint8, torch.bool) else tensor.long()

    return map_tensors(of, tree)


def example_bytes(tree: Any) -> int:
    """Of all tensors of a structure."""
    return sum(tensor.nbytes for tensor in tensors_in(tree))


def iterable_start(source: Any, most: int) -> list[Any]:
    """The first examples of a data set."""
    if isinstance(source, IterableDataset):
        return list(islice(iter(source), most))
    return [source[number] for number in range(min(most, len(source)))]


def collated(source: Any, items: list[Any]) -> Any:
    """Examples as a batch."""
    return converted(getattr(source, "collate_fn", default_collate)(items))


def _joined(batches: list[Any]) -> Any:
    """Batches as one."""
    if len(batches) == 1:
        return batches[0]
    columns = [tensors_in(batch) for batch in batches]
    joined = iter([torch.cat(parts) for parts in zip(*columns, strict=True)])
    return map_tensors(lambda _: next(joined), batches[0])
