"""Transformers as plain matrix products."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.backends import mha
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def without_fused_attention() -> Iterator[None]:
    """Call each layer of a transformer: the fused kernels of PyTorch call none, so that nothing in them is seen."""
    was_enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        mha.set_fastpath_enabled(was_enabled)
