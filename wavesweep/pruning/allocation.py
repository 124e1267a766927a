"""How many coefficients each tensor may keep, when an overall number is shared out among several.

Numbers in, counts out, one function for each rule. A rule adds coefficients one by one in an order that does not
depend on the overall number, so no tensor keeps fewer when more are kept in total.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from math import floor, prod
from operator import itemgetter

import torch
from torch import Tensor

from wavesweep.pruning.selection import keep_top

# Points (percentile, validation accuracy lost) of one tensor that is pruned alone.
Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Participant:
    """A tensor that shares an overall number with others.

    `shape` is the weight's, `magnitudes` those of its coefficients, shape (n,); `curve` is for `sensitivity` only.
    """

    shape: tuple[int, ...]
    magnitudes: Tensor
    curve: Curve = ()

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return self.magnitudes.numel()


def erk(tensors: Sequence[Participant], kept: int) -> tuple[int, ...]:
    """Densities of Erdos-Renyi-kernel graphs (Evci et al. 2020, "Rigging the Lottery").

    A tensor's density is in proportion to the sum of its dimensions over their product, for a convolution
    (in + out + height + width) / (in * out * height * width). Where that exceeds 1 the tensor stays dense and the
    others share the rest.

    Args:
        tensors: those that share the number.
        kept: coefficients to keep in total.

    Returns:
        Coefficients to keep per tensor; their sum is `kept`.

    Raises:
        ValueError: `kept` is negative or exceeds the number of coefficients.
    """
    weights = [Fraction(sum(tensor.shape), prod(tensor.shape)) * tensor.size for tensor in tensors]
    return _share_out(weights, [tensor.size for tensor in tensors], kept)


def lamp(tensors: Sequence[Participant], kept: int) -> tuple[int, ...]:
    """The number of each tensor's coefficients among the `kept` highest LAMP scores of all.

    Layer-adaptive magnitude-based pruning (Lee et al. 2021), on coefficients of any basis.

    Args:
        tensors: those that share the number.
        kept: coefficients to keep in total.

    Returns:
        Coefficients to keep per tensor; their sum is `kept`.

    Raises:
        ValueError: `kept` is negative or exceeds the number of coefficients.
    """
    if not tensors:
        return _share_out([], [], kept)
    mask = keep_top(torch.cat([lamp_scores(tensor.magnitudes) for tensor in tensors]), kept)
    return tuple(int(part.sum()) for part in torch.split(mask, [tensor.size for tensor in tensors]))


def lamp_scores(magnitudes: Tensor) -> Tensor:
    """Square of each magnitude over the sum of the squares of those not smaller, shape (n,), float64.

    As in the paper equal magnitudes have an order, here that of their indices, and count once each: the first of
    them has the highest score. So the largest magnitude of a tensor scores 1, and no tensor loses all.
    """
    squares = magnitudes.double().square()
    ordered, order = squares.sort(descending=True, stable=True)
    scores = torch.empty_like(squares)
    # The sum is zero where all are; their score is, too.
    scores[order] = ordered / ordered.cumsum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return scores


def sensitivity(tensors: Sequence[Participant], kept: int) -> tuple[int, ...]:
    """The counts that lose least validation accuracy, if the losses of tensors that are pruned alone add up.

    A curve begins at no loss, never falls (where it was measured to, the loss before counts), and is interpolated on
    the largest convex curve below its points. A sum of convex curves is smallest where pruning always continues in the
    tensor that next loses least per coefficient. Beyond a curve's last point the loss is taken to rise to everything
    (1) at 100 %. Tensors that lose equally little share in proportion.

    Args:
        tensors: those that share the number, each with its curve.
        kept: coefficients to keep in total.

    Returns:
        Coefficients to keep per tensor; their sum is `kept`.

    Raises:
        ValueError: `kept` is negative or exceeds the number of coefficients.
    """
    sizes = [tensor.size for tensor in tensors]
    _check_total(sizes, kept)
    pieces = [
        (slope, index, length)
        for index, tensor in enumerate(tensors)
        for slope, length in _convex_pieces(tensor.curve, tensor.size)
    ]
    left = sum(sizes) - kept
    pruned = [0] * len(sizes)
    for _, equal in groupby(sorted(pieces), key=itemgetter(0)):
        _, indices, lengths = zip(*equal, strict=True)
        taken = _share_out([Fraction(length) for length in lengths], lengths, min(left, sum(lengths)))
        for index, count in zip(indices, taken, strict=True):
            pruned[index] += count
        left -= sum(taken)
    return tuple(size - count for size, count in zip(sizes, pruned, strict=True))


# `uniform`, where every tensor keeps the same share, needs no counts.


def _convex_pieces(curve: Curve, size: int) -> list[tuple[Fraction, int]]:
    """Loss per pruned coefficient, and number of coefficients, of each straight piece of the convex curve."""
    highest: dict[int, Fraction] = {0: Fraction(0)}
    most = Fraction(0)
    for percentile, lost in sorted([*curve, (100.0, 0.0 if any(p == 100 for p, _ in curve) else 1.0)]):
        most = max(most, Fraction(lost))
        highest[floor(Fraction(repr(percentile)) * size / 100 + Fraction(1, 2))] = most
    hull: list[tuple[int, Fraction]] = []
    for point in sorted(highest.items()):
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [(_slope(one, other), other[0] - one[0]) for one, other in pairwise(hull)]


def _slope(one: tuple[int, Fraction], other: tuple[int, Fraction]) -> Fraction:
    return (other[1] - one[1]) / (other[0] - one[0])


def _share_out(weights: Sequence[Fraction], most: Sequence[int], total: int) -> tuple[int, ...]:
    """Whole numbers in proportion to `weights`, at most `most` each, whose sum is `total` exactly.

    Fractions are rounded as in Webster's method of dividing seats: the next unit goes to the highest
    weight / (count + 1/2), the lower index first. Rounding by largest remainders could give a tensor less of a larger
    total.
    """
    _check_total(most, total)
    half = Fraction(1, 2)
    factor = _common_factor(weights, most, total)
    counts = [min(limit, floor(factor * weight + half)) for weight, limit in zip(weights, most, strict=True)]

    def worth(index: int, count: Fraction) -> Fraction:
        return weights[index] / count

    while sum(counts) < total:
        can_grow = [index for index, count in enumerate(counts) if count < most[index]]
        counts[_first_best(can_grow, lambda index: worth(index, counts[index] + half))] += 1
    while sum(counts) > total:
        can_shrink = [index for index, count in enumerate(counts) if count][::-1]
        counts[_first_best(can_shrink, lambda index: -worth(index, counts[index] - half))] -= 1
    return tuple(counts)


def _common_factor(weights: Sequence[Fraction], most: Sequence[int], total: int) -> Fraction:
    """The factor with which the weights, cut to `most`, add up to `total`."""
    full: set[int] = set()
    while True:
        rest = [index for index in range(len(weights)) if index not in full]
        left = total - sum(most[index] for index in full)
        factor = Fraction(left) / (sum((weights[index] for index in rest), Fraction(0)) or 1)
        exceeding = {index for index in rest if factor * weights[index] > most[index]}
        if not exceeding:
            return factor
        full |= exceeding


def _first_best(indices: Sequence[int], worth: Callable[[int], Fraction]) -> int:
    return max(indices, key=worth)  # of equals max takes the first


def _check_total(sizes: Sequence[int], kept: int) -> None:
    if not 0 <= kept <= sum(sizes):
        raise ValueError(f"cannot keep {kept} of {sum(sizes)} coefficients")
