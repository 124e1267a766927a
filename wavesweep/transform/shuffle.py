"""A wavelet after a permutation: the control that has the same transform and no locality."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from wavesweep.runtime.seeding import derived_seed
from wavesweep.transform.basis import Basis, BasisSpec
from wavesweep.transform.by_parts import BandReader
from wavesweep.transform.wavelet import wavelet_basis


def shuffled_basis(shape: Sequence[int], spec: BasisSpec) -> Basis:
    """The wavelet of `spec` after a fixed random permutation along each of its axes."""
    wavelet = wavelet_basis(shape, spec)

    @cache
    def all_orders() -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        orders = {
            axis: torch.randperm(
                shape[axis],
                generator=torch.Generator().manual_seed(derived_seed(spec.seed, "shuffle", spec.name, str(axis))),
            )
            for axis in spec.axes
        }
        return orders, {axis: order.argsort() for axis, order in orders.items()}

    @cache  # a copy to a GPU waits for what it still has to do
    def on(device: torch.device) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        orders, back = all_orders()
        there, back_there = ({axis: one.to(device) for axis, one in each.items()} for each in (orders, back))
        return there, back_there

    def analyse(signal: Tensor) -> Tensor:
        there, back_there = on(signal.device)
        return wavelet.analyse(_Permutation.apply(signal, there, back_there))

    def synthesise(coefficients: Tensor) -> Tensor:
        there, back_there = on(coefficients.device)
        signal: Tensor = _Permutation.apply(wavelet.synthesise(coefficients), back_there, there)
        return signal

    def synthesise_by_parts(read: BandReader) -> Tensor:
        assert wavelet.synthesise_by_parts is not None
        return _permuted(wavelet.synthesise_by_parts(read), all_orders()[1])

    return Basis(analyse, synthesise, wavelet.bands, synthesise_by_parts=synthesise_by_parts)


class _Permutation(torch.autograd.Function):
    """Permutations of axes; the adjoint is the inverse, while autograd's would add to zeros by index."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, orders: dict[int, Tensor], inverse: dict[int, Tensor]) -> Tensor:
        ctx.inverse = inverse
        return _permuted(signal, orders)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _permuted(gradient, ctx.inverse), None, None


def _permuted(signal: Tensor, orders: dict[int, Tensor]) -> Tensor:
    for axis, order in orders.items():
        signal = signal.index_select(axis, order)
    return signal
