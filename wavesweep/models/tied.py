"""Tensors that a network has under several names, such as an embedding that is its output layer too."""

from collections.abc import Mapping

from torch import Tensor, nn


def tied_names(model: nn.Module) -> dict[str, str]:
    """Second names of tensors that the network has under several names, and their first."""
    first: dict[int, str] = {}
    same = {}
    for name, value in model.state_dict(keep_vars=True).items():
        earlier = first.setdefault(id(value), name)
        if earlier != name:
            same[name] = earlier
    return same


def once_each(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A state dict of the network without second names."""
    second = tied_names(model)
    return {name: value for name, value in state.items() if name not in second}
