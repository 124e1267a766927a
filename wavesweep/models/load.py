"""Filling a network from a compressed file."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from torch import Tensor, nn

from wavesweep.codec.limits import DEFAULT_LIMITS, Limits
from wavesweep.codec.read import read
from wavesweep.codec.tensors import StoredTensor, state_dict
from wavesweep.errors import FileFormatError
from wavesweep.models.computed import copy_of, fold_computed, has_computed
from wavesweep.models.resize import fit_to, resizable_names
from wavesweep.models.tied import tied_names

Model = TypeVar("Model", bound=nn.Module)


@overload
def load(path: str | Path, model: None = None, *, limits: Limits = ...) -> dict[str, Tensor]: ...
@overload
def load(path: str | Path, model: Model, *, limits: Limits = ...) -> Model: ...
def load(path: str | Path, model: nn.Module | None = None, *, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Decode a `.wsz` file.

    Args:
        path: the file.
        model: a network to fill; its tensors' names and shapes must be the file's. Where units were removed, it may
            also have the shapes from before: its layers are then cut to the file's. Weights that layers compute (by
            torch.nn.utils.parametrize, weight_norm, prune and the like) become plain parameters, the decoded ones.
        limits: refuse a file that declares more, before anything is made of it. They are raised to the size of
            `model`, so that every file of it is read.

    Returns:
        The state dict (float32 unless stored otherwise), or `model` with it.

    Raises:
        FileFormatError: the file is damaged, declares more than `limits` allow a file of its size, or does not fit
            `model`, which is then left as it was.
        OSError: the file cannot be read.
    """
    tensors, header = read(path, limits if model is None else limits.raised_for(model.state_dict().values()))
    return state_dict(tensors) if model is None else filled(model, tensors, header, str(path))


def filled(model: Model, tensors: list[StoredTensor], header: Mapping[str, Any], what: str) -> Model:
    """`model` with the tensors of a file, which must fit; `what` is the file in the error if they do not.

    Raises:
        FileFormatError: they do not fit; `model` is as it was.
    """
    state = state_dict(tensors)
    # A file that holds what weights are computed from, not what comes out, has the names of the network as it is.
    if has_computed(model) and state.keys() != model.state_dict().keys():
        plain = copy_of(model, shared=True)  # which shows whether it fits before the network is changed
        fold_computed(plain)
        _check_fit(what, state, plain, header)
        fold_computed(model)
    else:
        _check_fit(what, state, model, header)
    return fill(model, state)


def fill(model: Model, state: Mapping[str, Tensor]) -> Model:
    """`model` with the tensors of `state`; layers that are larger than they are cut to their size."""
    fit_to(model, {name: value.shape for name, value in state.items()})
    load_state(model, state)
    return model


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a whole state dict of the network itself, whose layers may ask which version of theirs wrote it."""
    versioned = OrderedDict(state)
    versioned._metadata = getattr(model.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    model.load_state_dict(versioned)


def load_first_names(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Likewise, where tied tensors were changed under their first name: the others would bring the old values back."""
    load_state(model, {**state, **{name: state[first] for name, first in tied_names(model).items()}})


def _check_fit(what: str, state: Mapping[str, Tensor], model: nn.Module, header: Mapping[str, Any]) -> None:
    own = dict(model.state_dict())
    full, resizable = header.get("full_shapes"), resizable_names(model)
    for name, shape in full.items() if isinstance(full, dict) else ():
        # One that was cut counts as fitting, if the model's layer can be cut likewise.
        if (
            name in own
            and name in state
            and name in resizable
            and list(own[name].shape) == shape
            and _is_cut_of(state[name].shape, shape)
        ):
            own[name] = state[name]
    problems = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape),
    }
    # Of a layer that is cut all tensors have as many units.
    problems["of another number of units than its weight"] = sorted(
        name
        for name, value in state.items()
        if (weight := state.get(f"{name.rpartition('.')[0]}.weight")) is not None
        and name in resizable
        and value.dim() == 1
        and value.shape[:1] != weight.shape[:1]
    )
    text = "; ".join(f"{problem}: {', '.join(names[:5])}" for problem, names in problems.items() if names)
    if text:
        raise FileFormatError(f"{what}: does not fit the model ({text})")


def _is_cut_of(shape: Sequence[int], full: Sequence[int]) -> bool:
    """Whether units or inputs, the first two axes, were removed and nothing else."""
    return (
        len(shape) == len(full)
        and all(0 < size <= most for size, most in zip(shape, full, strict=True))
        and list(shape[2:]) == list(full[2:])
    )
