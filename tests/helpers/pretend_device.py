"""A device that computes on the CPU but, as a GPU, takes only tensors that are its own.

It stands in for a GPU where there is none: a program that forgets to move a tensor fails on it, and one that does not
computes the same numbers as on the CPU. It changes PyTorch for the whole process, so use it in one of its own.
"""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

_CPU = torch.device("cpu")
_COPY = torch.ops.aten.copy_.default
# Their indices may lie on the CPU.
_INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten._index_put_impl_.default, torch.ops.aten.index_put_.default}


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


class OnDevice(torch.Tensor):
    """A tensor of the device, which holds one of the CPU."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=torch.device("pretend:0")
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return _called(function, arguments, options or {})

    def tolist(self):
        return self.held.tolist()

    def __deepcopy__(self, memo):
        copy = OnDevice(self.held.clone())
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, self.requires_grad)
        return memo.setdefault(id(self), copy)

    def __reduce_ex__(self, protocol):
        """Pickled as what it holds: read on the CPU again, as checkpoints are."""
        return self.held.__reduce_ex__(protocol)

    # These two let PyTorch swap a parameter for one of another shape.
    def __tensor_flatten__(self):
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner, _meta, _size, _stride):
        return OnDevice(inner["held"])


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return _called(function, arguments, options or {})


def pretend_device() -> torch.device:
    """The device, which from now on is there."""
    backend_registration._setup_privateuseone_for_python_backend("pretend", _Backend())
    # A tensor class of Python's cannot be made in it.
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else nullcontext()
    _Dispatch().__enter__()
    return torch.device("pretend:0")


def _called(function, arguments, options):
    tensors = [leaf for leaf in tree_flatten((arguments, options))[0] if isinstance(leaf, Tensor)]
    mine = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, OnDevice)}
    first_is_mine = bool(arguments) and isinstance(arguments[0], OnDevice)
    others = any(tensor.dim() for tensor in tensors if not isinstance(tensor, OnDevice))
    if mine and others and function is not _COPY and not (function in _INDEXING and first_is_mine):
        raise RuntimeError(f"{function}: expected all tensors to be on the same device")
    device = options.get("device")
    if function is _COPY:
        to_mine = first_is_mine
    else:
        to_mine = bool(mine) if device is None else torch.device(device).type == "pretend"
    if to_mine and options.get("generator") is not None:
        raise RuntimeError(f"{function}: expected a generator of the device")
    if device is not None:
        options = {**options, "device": _CPU}
    held = tree_map(lambda leaf: leaf.held if isinstance(leaf, OnDevice) else leaf, (arguments, options))

    def given(result):
        if not isinstance(result, Tensor):
            return result
        if id(result) in mine:  # changed in place
            return mine[id(result)]
        return OnDevice(result) if to_mine else result

    return tree_map(given, function(*held[0], **held[1]))
