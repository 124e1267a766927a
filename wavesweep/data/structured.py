"""Data of the user's own for any task: tensors of any structure, or data sets of PyTorch, in memory where they fit."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from wavesweep.data.custom import class_parts
from wavesweep.data.examples import (
    Examples,
    collated,
    converted,
    count_of,
    example_bytes,
    has_own_batches,
    is_tree,
    iterable_start,
)
from wavesweep.data.splits import AnySplit, Parts, Split
from wavesweep.errors import SettingsError
from wavesweep.runtime.factories import call_factory
from wavesweep.runtime.finite import is_finite
from wavesweep.runtime.seeding import seeded
from wavesweep.tasks.task import Task, tensors_in
from wavesweep.tasks.usual import CLASSIFICATION

# What is kept in memory where dataset.in_memory does not say.
_MOST_BYTES = 2**30
# Examples of a data set that stays where it is that stand for all of them in keys.
_DIGESTED = 64
_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}
RETURNS = (
    "(train, test) or (train, validation, test), each a tensor, a tuple or a mapping of tensors of one length, "
    "or a data set of torch.utils.data"
)


def any_dataset(
    target: str | None, arguments: Mapping[str, Any], task: Task, workers: int, in_memory: bool | None
) -> Parts:
    """What a factory returns, with a digest of the content.

    Raises:
        SettingsError: the factory cannot be called, or returns something else.
    """
    with seeded(0):  # the content is part of every key, so it must be the same each time
        returned = call_factory("dataset", target, arguments, RETURNS)
        if task is CLASSIFICATION and in_memory is not False and _has_classes(returned):
            return class_parts(target, returned)
        return _parts(target, returned, task, workers, in_memory)


def _has_classes(returned: Any) -> bool:
    """Whether each split is a pair of inputs and classes, or a map-style data set of such pairs.

    What is something else altogether is said by whoever reads it as that.
    """
    for part in returned if isinstance(returned, tuple | list) else ():
        if isinstance(part, Mapping | Tensor | IterableDataset):
            return False
        if isinstance(part, tuple | list):
            if len(part) != 2:
                return False
            continue
        try:
            first = part[0]
        except Exception:  # whatever a user's data set does: read again where its errors are told
            continue
        if not isinstance(first, tuple | list) or len(first) != 2:
            return False
    return True


def _parts(target: str | None, returned: Any, task: Task, workers: int, in_memory: bool | None) -> Parts:
    if not isinstance(returned, tuple | list) or len(returned) not in _NAMES:
        what = type(returned).__name__
        found = f"{what} of {len(returned)}" if isinstance(returned, tuple | list) else what
        raise _refusal(target, f"must return {RETURNS}", f"it returned {found}")
    names = _NAMES[len(returned)]
    splits = {name: _split(part, name, target, workers, in_memory) for name, part in zip(names, returned, strict=True)}
    digest = hashlib.sha256()
    for part in splits.values():
        _add(digest, part)
    if "validation" not in splits and isinstance(splits["train"], Examples) and splits["train"].is_iterable:
        allowed = "must return (train, validation, test) where train is iterable, of which no part can be taken"
        raise _refusal(target, allowed, "it returned (train, test)")
    if any(isinstance(part, Examples) for part in splits.values()):
        splits = {name: _as_examples(part) for name, part in splits.items()}
    train = splits["train"]
    width = task.width(train.labels) if isinstance(train, Split) else 0
    return Parts(train, splits["test"], width, digest.hexdigest()[:16], splits.get("validation"))


def _split(part: Any, name: str, target: str | None, workers: int, in_memory: bool | None) -> AnySplit:
    try:
        found = _read(part, workers, in_memory)
    except SettingsError:
        raise
    except Exception as error:  # whatever a user's data set does
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _refusal(target, f"must return {RETURNS}", f"{name} cannot be read as such ({reason})") from None
    if not len(found):
        raise _refusal(target, "must return examples in each split", f"{name} has none")
    if isinstance(found, Examples) and not found.in_memory:
        return found
    tree = found.content() if isinstance(found, Examples) else (found.images[:], found.labels)
    lengths = {len(tensor) if tensor.dim() else 0 for tensor in tensors_in(tree)}
    if len(lengths) > 1:
        many = " and ".join(map(str, sorted(lengths)))
        raise _refusal(target, "must return tensors of one length in a split", f"those of {name} have {many} rows")
    if not all(is_finite(tensor) for tensor in tensors_in(tree) if tensor.is_floating_point()):
        raise _refusal(target, "must return finite numbers", f"{name} holds NaN or infinity")
    return found


def _read(part: Any, workers: int, in_memory: bool | None) -> AnySplit:
    tree = _as_tensors(part)
    if is_tree(tree):
        return _in_memory(tree)
    if isinstance(part, IterableDataset):
        first = collated(part, iterable_start(part, 1))
        count = len(part) if hasattr(part, "__len__") else sum(1 for _ in part)
    elif hasattr(part, "__getitem__") and hasattr(part, "__len__"):
        if not len(part):
            return Examples((), 0)
        first, count = collated(part, [part[0]]), len(part)
    else:
        raise TypeError(f"{type(part).__name__} is no data set")
    if not is_tree(first):
        raise TypeError("an example holds something that is no tensor, array or number")
    examples = Examples(part, count, workers)
    stays = isinstance(part, IterableDataset) or has_own_batches(part)
    fits = not stays and example_bytes(first) * count <= _MOST_BYTES
    return _in_memory(examples.content()) if (fits if in_memory is None else in_memory) else examples


def _as_tensors(part: Any) -> Any:
    """Arrays as tensors, in a structure of them."""
    if isinstance(part, Tensor):
        return part.detach().cpu().contiguous()
    if isinstance(part, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(part))
    if isinstance(part, Mapping):
        return {name: _as_tensors(value) for name, value in part.items()}
    if isinstance(part, tuple | list):
        return tuple(_as_tensors(value) for value in part)
    return part


def _in_memory(tree: Any) -> AnySplit:
    """A pair of inputs and targets as a split that knows images and tokens; all else as examples."""
    tree = converted(tree)
    if isinstance(tree, tuple | list) and len(tree) == 2 and all(isinstance(one, Tensor) for one in tree):
        inputs, targets = tree
        allowed = {torch.uint8: inputs.dim() == 4, torch.int64: inputs.dim() > 1, torch.float32: inputs.dim() > 1}
        if allowed.get(inputs.dtype) and targets.dim() and len(inputs) == len(targets):
            return Split(inputs, targets)
    return Examples(tree, count_of(tree))


def _as_examples(split: AnySplit) -> Examples:
    return split if isinstance(split, Examples) else Examples((split.images[:], split.labels), len(split))


def _structure(tree: Any) -> str:
    """How a batch is put together: names of mappings are those of the network's arguments."""
    if isinstance(tree, Mapping):
        return f"{{{', '.join(f'{name}: {_structure(value)}' for name, value in tree.items())}}}"
    if isinstance(tree, tuple | list):
        return f"({', '.join(map(_structure, tree))})"
    return "tensor"


def _add(digest: Any, part: AnySplit) -> None:
    """The content of a split; of one that stays where it is its length and some of its examples."""
    if isinstance(part, Examples) and not part.in_memory:
        digest.update(f"{len(part)} examples\n".encode())
        part = part.evenly_spaced(_DIGESTED)
    tree = part.content() if isinstance(part, Examples) else (part.images[:], part.labels)
    digest.update(_structure(tree).encode())
    for tensor in tensors_in(tree):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())


def _refusal(target: str | None, allowed: str, found: str) -> SettingsError:
    return SettingsError("dataset.target", target, allowed, found)
