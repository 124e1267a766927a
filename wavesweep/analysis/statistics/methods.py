"""The methods as analyses know them: the order in which they are shown, and which of them have a wavelet."""

from collections.abc import Iterable

# The order of legends and tables.
METHODS = ("wavelet", "magnitude", "random", "unit", "dct", "rotation", "shuffled")
# Methods whose result depends on `wavelet` and `level`.
WAVELET_METHODS = ("wavelet", "shuffled")
WITHOUT_TRANSFORM = ("magnitude", "random", "unit")


def rank(method: str) -> int:
    """The position of a method in the order; unknown methods share the last one."""
    return METHODS.index(method) if method in METHODS else len(METHODS)


def in_order(methods: Iterable[str]) -> list[str]:
    """Methods in their order, each once, unknown ones last by name."""
    return sorted(set(methods), key=lambda name: (rank(name), name))
