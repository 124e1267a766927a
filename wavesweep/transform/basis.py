"""What all bases share: bands of coefficients, the basis itself, what describes it, and the identity.

A basis turns a signal (a tensor of a fixed shape) into one vector of coefficients and back. `bands` say which
slice of the vector is which subband, so that thresholds, statistics and entropy coding can use the structure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import pywt
import torch
from torch import Tensor

from wavesweep.settings import registry
from wavesweep.transform.by_parts import BandReader, read_by_parts

# Along one axis: the wavelet, the level, and `a` or `d`.
Atom = tuple[str, int, str]


@dataclass(frozen=True)
class Band:
    """A subband: a contiguous slice of the coefficient vector.

    `level` is 0 for a basis without levels. `orientation` has one letter per transformed axis: `a` for
    approximation, `d` for detail, `-` where that axis was not split at this level. `atoms` are what its coefficients
    stand for along each transformed axis.
    """

    level: int
    orientation: str
    shape: tuple[int, ...]
    start: int
    atoms: tuple[Atom, ...] = ()

    @property
    def slice(self) -> slice:
        """Where the band lies in the coefficient vector."""
        return slice(self.start, self.start + prod(self.shape))

    @property
    def atom_norm(self) -> float:
        """L2 norm of a synthesis atom, away from the boundary; the axes' norms multiply."""
        return prod(_atom_norm(*atom) for atom in self.atoms)


@dataclass(frozen=True)
class Basis:
    """Analysis (signal to coefficient vector), synthesis (back), and the bands of the vector.

    Making a basis costs little whatever its size; what is large, as random matrices are, is made on first use.
    `random_matrices` are the seeds and numbers of rows of these. `synthesise_by_parts` gives the same signal as
    float32 in less memory, where there is a way.
    """

    analyse: Callable[[Tensor], Tensor]
    synthesise: Callable[[Tensor], Tensor]
    bands: tuple[Band, ...]
    random_matrices: tuple[tuple[int, int], ...] = ()
    synthesise_by_parts: Callable[[BandReader], Tensor] | None = None

    @property
    def count(self) -> int:
        """Number of coefficients; with odd axes or some boundary modes more than the signal has samples."""
        return sum(prod(band.shape) for band in self.bands)


@dataclass(frozen=True)
class BasisSpec:
    """All that is needed to make a basis again: what a compressed file holds of it.

    `kind` names a basis of the registry; `axes` are those that are transformed, `levels` the wavelet level of each;
    `seed` decides random matrices, `seed` and `name` (the tensor's) permutations.
    """

    kind: str
    axes: tuple[int, ...] = ()
    wavelet: str = ""
    levels: tuple[int, ...] = ()
    mode: str = ""
    seed: int = 0
    name: str = ""


@lru_cache(maxsize=4096)
def _atom_norm(wavelet: str, level: int, part: str) -> float:
    atom = np.ones(1)
    for step in range(level):
        filtered = (atom, None) if step or part == "a" else (None, atom)
        atom = pywt.idwt(*(None if f is None else np.pad(f, 64) for f in filtered), wavelet, mode="zero")
        atom = np.trim_zeros(atom)
    return float(np.linalg.norm(atom))


def identity_basis(shape: Sequence[int], spec: BasisSpec) -> Basis:
    """The coefficients are the samples themselves."""
    shape = tuple(shape)
    return Basis(
        analyse=lambda signal: signal.reshape(-1),
        synthesise=lambda coefficients: coefficients.reshape(shape),
        bands=(Band(0, "", shape, 0),),
        synthesise_by_parts=lambda read: read_by_parts(read, shape, torch.float32),
    )


def make_basis(spec: BasisSpec, shape: Sequence[int]) -> Basis:
    """The basis of `spec` for signals of `shape`."""
    basis: Basis = registry.row(registry.Basis, spec.kind).load()(shape, spec)
    return basis
