"""Layers of other sizes: replacing a module's tensors, and fitting a whole network to stored shapes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from wavesweep.runtime.kernels import memory_format_of

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_resizable(module: nn.Module) -> bool:
    """Whether its units can be cut by cutting its tensors: exactly these types, without groups or parametrisations."""
    own = {name for name, _ in module.named_parameters(recurse=False)}
    plain = own <= {"weight", "bias"} and not next(module.children(), None)
    return plain and type(module) in (*LAYERS, *NORMS) and getattr(module, "groups", 1) == 1


def put_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Replace some of a resizable module's tensors, and what it knows of its sizes."""
    for name, value in tensors.items():
        old = getattr(module, name)
        new = nn.Parameter(value, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else value
        setattr(module, name, new)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, LAYERS):
        module.out_channels, module.in_channels = module.weight.shape[:2]
    elif isinstance(module, NORMS):
        sized = module.weight if module.affine else module.running_mean
        module.num_features = len(sized) if sized is not None else module.num_features


def fit_to(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give the resizable modules of `model` tensors of the given shapes (by name in the state dict), uninitialised."""
    for module_name, module in model.named_modules():
        if not is_resizable(module):
            continue
        prefix = f"{module_name}." if module_name else ""
        own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        changed = {
            name: torch.empty(
                tuple(shapes[prefix + name]),
                dtype=value.dtype,
                device=value.device,
                memory_format=memory_format_of(value),
            )
            for name, value in own.items()
            if prefix + name in shapes and tuple(shapes[prefix + name]) != tuple(value.shape)
        }
        if changed:
            put_tensors(module, changed)


def resizable_names(model: nn.Module) -> set[str]:
    """Names of the tensors that `fit_to` can change."""
    return {
        f"{module_name}.{name}" if module_name else name
        for module_name, module in model.named_modules()
        if is_resizable(module)
        for name in (*dict(module.named_parameters(recurse=False)), *dict(module.named_buffers(recurse=False)))
    }
