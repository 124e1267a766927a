"""Layouts: how a weight is seen as a signal, and which of the signal's axes are transformed.

Each takes the shape of the weight and its view, (out, in, *spatial): a tensor of two dimensions has no spatial axes
unless it is the first linear layer, which is seen as (out, channels, height, width). Each returns the layout's name,
the shape of the signal, and the axes to transform.
"""

from math import prod

# `auto` transforms spatial axes from this length on: shorter ones (3x3, 5x5, 7x7 kernels) allow most wavelets
# no level at all, and their odd lengths grow by a fifth or more at each level.
USEFUL_SPATIAL_LENGTH = 16

Shape = tuple[int, ...]
Layout = tuple[str, Shape, tuple[int, ...]]


def spatial(shape: Shape, view: Shape) -> Layout:
    """The axes of the image or the kernel."""
    return "spatial", view, tuple(range(2, len(view)))


def channel(shape: Shape, view: Shape) -> Layout:
    """The axes of units and inputs of the weight as it is."""
    return "channel", shape, tuple(range(min(2, len(shape))))


def every_axis(shape: Shape, view: Shape) -> Layout:
    """All axes of the view."""
    return "all", view, tuple(range(len(view)))


def flat(shape: Shape, view: Shape) -> Layout:
    """The weight as one row of numbers."""
    return "flat", (prod(shape),), (0,)


def auto(shape: Shape, view: Shape) -> Layout:
    """`spatial` where there are spatial axes and all are long enough, else `channel`."""
    lengths = view[2:]
    is_useful = lengths and min(lengths) >= USEFUL_SPATIAL_LENGTH
    return spatial(shape, view) if is_useful else channel(shape, view)
