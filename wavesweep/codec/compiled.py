"""The range coder's inner loop, compiled by numba once per machine; the same source runs without it, slower."""

from collections.abc import Callable
from functools import lru_cache

from wavesweep.codec import kernel

CodeBand = Callable[..., int]


@lru_cache(maxsize=1)
def compiled() -> CodeBand:
    """`kernel.code_band` for arrays; it lets other threads run."""
    import numba
    from numba.extending import register_jitable

    for helper in (
        kernel.learn,
        kernel.mix,
        kernel.train,
        kernel.code_bit,
        kernel.sign_of,
        kernel.exponent_of,
    ):
        register_jitable(helper)
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(kernel.code_band)
    except RuntimeError:  # there is no directory that the compiled code could be kept in
        return numba.njit(nogil=True, error_model="numpy")(kernel.code_band)
