"""What a network returns, as the one tensor that everything else works with."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# Names by which libraries call the predictions in what a network returns: Hugging Face, torchvision, and users.
_NAMES = ("logits", "out", "prediction", "predictions", "output", "outputs", "last_hidden_state")


def tensor_of_outputs(outputs: Any) -> Any:
    """The predictions in what a network returns: of an object or a mapping those with a usual name, else the first.

    What holds no tensor is returned as it is, so that who needs one can say what there is instead.

    Args:
        outputs: a tensor, a tuple or list, a mapping, or an object such as the outputs of Hugging Face.
    """
    found = _tensor_in(outputs)
    return outputs if found is None else found


def _tensor_in(outputs: Any) -> Tensor | None:
    if isinstance(outputs, Tensor):
        return outputs
    for name in _NAMES:
        value = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if isinstance(value, Tensor):
            return value
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, tuple | list) else ()
    return next((found for found in map(_tensor_in, parts) if found is not None), None)
