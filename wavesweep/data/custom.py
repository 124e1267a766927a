"""Data of the user's own with classes: what a factory returns, as tensors in memory."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from wavesweep.data.splits import Parts, Split
from wavesweep.errors import SettingsError
from wavesweep.runtime.finite import is_finite

_RETURNS = "(train, test) or (train, validation, test), each a pair (inputs, classes) of tensors or a Dataset of torch"
_NAMES = {2: ("train", "test"), 3: ("train", "validation", "test")}


def class_parts(target: str | None, returned: Any) -> Parts:
    """What a factory returned, with a digest of the content.

    Raises:
        SettingsError: it is something else.
    """
    if not isinstance(returned, tuple | list) or len(returned) not in _NAMES:
        what = type(returned).__name__
        found = f"{what} of {len(returned)}" if isinstance(returned, tuple | list) else what
        raise _refusal(target, f"must return {_RETURNS}", f"it returned {found}")
    names = _NAMES[len(returned)]
    splits = {name: _split(part, name, target) for name, part in zip(names, returned, strict=True)}
    train = splits["train"]
    if len({(part.images.shape[1:], part.images.dtype) for part in splits.values()}) > 1:
        found = " and ".join(f"{tuple(part.images.shape[1:])} of {part.images.dtype}" for part in splits.values())
        where = f"{', '.join(names[:-1])} and {names[-1]}"
        raise _refusal(target, f"must return inputs of one shape and type in {where}", f"they are {found}")
    classes = int(train.labels.max()) + 1
    largest = max(int(part.labels.max()) for part in splits.values())
    if largest >= classes or len(torch.unique(train.labels)) != classes:
        raise _refusal(
            target, "must return classes 0, 1, ..., and each of them in train", f"the largest there is {classes - 1}"
        )
    return Parts(train, splits["test"], classes, _digest(*splits.values()), splits.get("validation"))


def _split(part: Any, name: str, target: str | None) -> Split:
    try:
        pair = part if isinstance(part, tuple | list) else tuple(zip(*(part[i] for i in range(len(part))), strict=True))
        inputs, labels = (_tensor(values) for values in pair)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _refusal(target, f"must return {_RETURNS}", f"{name} cannot be read as such ({reason})") from None
    if not inputs.dim() or 0 in inputs.shape[1:]:
        found = f"those of {name} are of shape {tuple(inputs.shape)}"
        raise _refusal(target, "must return inputs that are not empty", found)
    if labels.dtype != torch.int64 or labels.dim() != 1 or not len(labels) or len(labels) != len(inputs):
        found = f"those of {name} are {labels.dtype} of shape {tuple(labels.shape)} for {len(inputs)} inputs"
        raise _refusal(target, "must return one integer class per input", found)
    allowed = {torch.uint8: inputs.dim() == 4, torch.int64: inputs.dim() == 2, torch.float32: inputs.dim() > 1}
    if not allowed.get(inputs.dtype):
        raise _refusal(
            target,
            "must return images as uint8 (n, channels, height, width), tokens as int64 (n, length), or floats (n, ...)",
            f"{name} is {inputs.dtype} of shape {tuple(inputs.shape)}",
        )
    if inputs.is_floating_point() and not is_finite(inputs):
        raise _refusal(target, "must return finite numbers", f"{name} holds NaN or infinity")
    if min(int(labels.min()), 0 if inputs.is_floating_point() else int(inputs.min())) < 0:
        raise _refusal(target, "must return no negative classes or tokens", f"{name} has one")
    return Split(inputs, labels)


def _tensor(values: Any) -> Tensor:
    """Of items the tensor that they make; floats as float32, integers but bytes as int64."""
    if isinstance(values, tuple | list):
        values = torch.stack([torch.as_tensor(value) for value in values])
    tensor = torch.as_tensor(values).detach().cpu()
    if tensor.is_floating_point():
        return tensor.float().contiguous()
    return tensor.contiguous() if tensor.dtype == torch.uint8 and tensor.dim() > 1 else tensor.long().contiguous()


def _digest(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for tensor in (split.images[:], split.labels):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _refusal(target: str | None, allowed: str, found: str) -> SettingsError:
    return SettingsError("dataset.target", target, allowed, found)
