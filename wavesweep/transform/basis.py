"""The table of bases, and the basis that a description names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wavesweep.transform.bands import Basis, BasisSpec, identity_basis
from wavesweep.transform.dct import dct_basis
from wavesweep.transform.rotation import rotation_basis
from wavesweep.transform.shuffle import shuffled_basis
from wavesweep.transform.wavelet import wavelet_basis


@dataclass(frozen=True)
class BasisKind:
    """A row of the table of bases: the function that makes one, and the fields of `BasisSpec` that it uses.

    `fields` are in the order in which a file holds them.
    """

    make: Callable[[Sequence[int], BasisSpec], Basis]
    fields: tuple[str, ...] = ()


BASES: Mapping[str, BasisKind] = {
    "identity": BasisKind(identity_basis),
    "wavelet": BasisKind(wavelet_basis, ("axes", "wavelet", "levels", "mode")),
    "dct": BasisKind(dct_basis, ("axes",)),
    "rotation": BasisKind(rotation_basis, ("axes", "seed", "name")),
    "shuffled": BasisKind(shuffled_basis, ("axes", "wavelet", "levels", "mode", "seed", "name")),
}


def make_basis(spec: BasisSpec, shape: Sequence[int]) -> Basis:
    """The basis of `spec` for signals of `shape`."""
    return BASES[spec.kind].make(shape, spec)
