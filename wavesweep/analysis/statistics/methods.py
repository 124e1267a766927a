"""The methods as analyses know them: the order in which they are shown, and which of them have a wavelet."""

from collections.abc import Iterable

from wavesweep.settings.effective import methods_with_levels
from wavesweep.settings.registry import Method, rows

# The order of legends and tables.
METHODS = tuple(rows(Method))
# Methods whose result depends on `wavelet` and `level`.
WAVELET_METHODS = methods_with_levels()
WITHOUT_TRANSFORM = tuple(name for name, row in rows(Method).items() if row.basis == "identity")


def rank(method: str) -> int:
    """The position of a method in the order; unknown methods share the last one."""
    return METHODS.index(method) if method in METHODS else len(METHODS)


def in_order(methods: Iterable[str]) -> list[str]:
    """Methods in their order, each once, unknown ones last by name."""
    return sorted(set(methods), key=lambda name: (rank(name), name))
