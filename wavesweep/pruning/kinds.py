"""Kinds of tensors, as `layers.types` names them: what makes a parameter the weight of a convolution, and so on.

Each function is the target of a row of the registry; it is given a module and the name of one of its parameters of two
or more dimensions.
"""

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

from torch import Tensor, nn

from wavesweep.settings import registry
from wavesweep.settings.registry import LayerType

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
# Attention has the linear layers of queries, keys and values as matrices of its own, stacked if they are of one size.
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
# Of inputs, of the hidden state and of its projection; layers number theirs, cells do not.
_RECURRENT = ("weight_ih*", "weight_hh*", "weight_hr*")


def is_conv(module: nn.Module, attribute: str) -> bool:
    """Whether it is the weight of a convolution."""
    return isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) and attribute == "weight"


def is_linear(module: nn.Module, attribute: str) -> bool:
    """Whether it is the weight of a linear layer, or a matrix of attention."""
    if isinstance(module, nn.MultiheadAttention):
        return attribute in _ATTENTION
    return (isinstance(module, nn.Linear) or is_transformers_linear(module)) and attribute == "weight"


def is_recurrent(module: nn.Module, attribute: str) -> bool:
    """Whether it is a matrix of LSTM, GRU or RNN, or of a cell of theirs."""
    is_layer = isinstance(module, nn.RNNBase | nn.RNNCellBase)
    return is_layer and any(fnmatchcase(attribute, pattern) for pattern in _RECURRENT)


def is_embedding(module: nn.Module, attribute: str) -> bool:
    """Whether it is the table of an embedding."""
    return isinstance(module, EMBEDDINGS) and attribute == "weight"


def is_transformers_linear(module: nn.Module) -> bool:
    """Whether it is `transformers.pytorch_utils.Conv1D`, a linear layer whose weight is (in, out); by its name, since
    transformers need not be installed."""
    return any(one.__name__ == "Conv1D" and one.__module__.startswith("transformers.") for one in type(module).__mro__)


def kind_of(module: nn.Module, attribute: str, parameter: Tensor) -> str | None:
    """The kind of a parameter; None where it cannot be pruned, being a vector or no floating-point numbers."""
    if parameter.dim() < 2 or not parameter.is_floating_point():
        return None
    kinds = [one for one in registry.rows(LayerType).values() if not one.of_any_kind]
    named = (one.name for one in kinds if one.target and one.load()(module, attribute))
    other = (one.name for one in kinds if not one.target)
    return next(named, None) or next(other)


def unit_axis(module: nn.Module) -> int:
    """The axis of a module's weights along which its output units lie."""
    return 1 if isinstance(module, TRANSPOSED) or is_transformers_linear(module) else 0


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter has two axes of more than one number; a class token, say, has one."""
    return sum(size > 1 for size in parameter.shape) > 1


def largest_of(sizes: Mapping[str, int], total: int, left_out: float) -> frozenset[str]:
    """All names but the smallest, which have less than the share `left_out` of `total` together.

    Of equal size either all are left out or none.

    Args:
        sizes: numbers in each tensor.
        total: numbers in the whole network.
        left_out: a share, below which what is left out must stay.
    """
    edge, below, most = 0, 0, round(left_out * total, 6)
    for size, count in sorted(Counter(sizes.values()).items()):
        below += size * count
        if below >= most:
            break
        edge = size
    return frozenset(name for name, size in sizes.items() if size > edge)
