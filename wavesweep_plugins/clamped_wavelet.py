"""The method of the study `wavelet_vs_magnitude`: wavelet pruning as it was published, with its level clamped.

The best-known attempt at pruning in the wavelet domain clamped the level of a tensor to what its shortest axis allows,
0 included, so that on 3x3 kernels it was magnitude pruning under another name. A method of your own is added in the
same way: a module of rows in a folder `wavesweep_plugins` on the Python path.
"""

from collections.abc import Sequence

from wavesweep.settings.registry import Method


def shortest_axis(shape: Sequence[int], view: Sequence[int], axis: int) -> int:
    """The length that limits the level of `axis`: that of the weight's shortest axis, transformed or not."""
    return min(*shape, view[axis])


ROWS = (
    Method(
        "clamped_wavelet",
        "as a published study did it: the level that the shortest axis allows, 0 included",
        basis="wavelet",
        level_limit="wavesweep_plugins.clamped_wavelet:shortest_axis",
    ),
)
