"""How much work and memory a file may ask of its reader: bounded by its size, checked before anything is made."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from math import prod

from torch import Tensor

from wavesweep.errors import FileFormatError

# A wavelet makes less than twice as many coefficients as there are numbers along an axis; no network comes near 2**4.
_COEFFICIENTS_PER_NUMBER = 8
# Levels of a wavelet on all axes of a tensor, each of which has 2**axes - 1 bands.
_MOST_LEVELS = 20


def _limit(default: int, text: str) -> int:
    value: int = field(default=default, metadata={"help": text})
    return value


@dataclass(frozen=True)
class Limits:
    """What a file may declare. Whoever trusts a file raises these; a given network raises them to its own size."""

    numbers: int = _limit(1 << 28, "numbers of all tensors, or coefficients where these are more")
    free_numbers: int = _limit(1 << 22, "numbers that a file of any size may declare")
    numbers_per_byte: int = _limit(1 << 12, "numbers that it may declare besides for each of its bytes")
    bands_per_tensor: int = _limit(64, "subbands of a wavelet of one tensor")
    free_parts: int = _limit(1 << 11, "tensors and subbands that a file of any size may have")
    numbers_per_part: int = _limit(1 << 9, "numbers for which it may have one more of these")
    free_entries: int = _limit(1 << 21, "numbers of random matrices, beside as many as its tensors have")
    header_bytes: int = _limit(1 << 20, "bytes of the header, packed and unpacked")

    def numbers_of(self, size_bytes: int) -> tuple[int, str]:
        """How many numbers a file of that size may declare, and which of the limits to raise for more."""
        by_size = self.free_numbers + self.numbers_per_byte * size_bytes
        return (by_size, "free_numbers") if by_size < self.numbers else (self.numbers, "numbers")

    def raised_for(self, tensors: Iterable[Tensor]) -> "Limits":
        """Raised so that every file of a network with these tensors is read, whatever its sparsity."""
        shapes = [tuple(tensor.shape) for tensor in tensors]
        numbers = _COEFFICIENTS_PER_NUMBER * sum(max(prod(shape), 1) for shape in shapes)
        bands = _MOST_LEVELS << max(map(len, shapes), default=0)
        return replace(
            self,
            numbers=max(self.numbers, numbers),
            free_numbers=max(self.free_numbers, numbers),
            bands_per_tensor=max(self.bands_per_tensor, bands),
            free_parts=max(self.free_parts, len(shapes) * bands),
            free_entries=max(self.free_entries, numbers),
        )


DEFAULT_LIMITS = Limits()
# For files that this process made itself.
UNLIMITED = Limits(**{field.name: 1 << 62 for field in fields(Limits)})


class Budget:
    """What is left of the limits of a file while the entries of its header are checked, one after the other."""

    def __init__(self, limits: Limits, size_bytes: int) -> None:
        self._limits, self._numbers, self._parts = limits, 0, 0
        self._most_numbers, self._limit_of_numbers = limits.numbers_of(size_bytes)
        self._matrices: dict[object, int] = {}

    def check_numbers(self, numbers: int) -> None:
        """Whether so many more are allowed.

        Raises:
            FileFormatError: they are not.
        """
        if self._numbers + numbers > self._most_numbers:
            raise beyond("declares too many numbers", self._most_numbers, self._limit_of_numbers)

    def check_bands(self, name: str, bands: int) -> None:
        """Whether a tensor may have so many.

        Raises:
            FileFormatError: it may not.
        """
        most = self._limits.bands_per_tensor
        if bands > most:
            raise beyond(f"tensor {name} declares {bands} subbands", most, "bands_per_tensor")

    def take(self, numbers: int, bands: int = 1) -> None:
        """Count a tensor in.

        Raises:
            FileFormatError: there are more numbers than are allowed.
        """
        self.check_numbers(numbers)
        self._numbers += numbers
        self._parts += bands

    def take_matrices(self, sizes: Iterable[tuple[object, int]]) -> None:
        """Count in random matrices, each given by what tells it apart and its number of rows."""
        self._matrices.update(sizes)

    def finish(self) -> None:
        """Check what depends on all tensors.

        Raises:
            FileFormatError: there are too many tensors and bands, or too large matrices, for so few numbers.
        """
        most_parts = self._limits.free_parts + self._numbers // self._limits.numbers_per_part
        if self._parts > most_parts:
            raise beyond(f"declares {self._parts} tensors and subbands", most_parts, "free_parts")
        entries, most_entries = sum(n * n for n in self._matrices.values()), self._limits.free_entries + self._numbers
        if entries > most_entries:
            raise beyond(f"declares random matrices of {entries} numbers", most_entries, "free_entries")


def beyond(what: str, most: int, limit: str) -> FileFormatError:
    """The error for a file that asks for more than is allowed, with the limit that is to be raised."""
    return FileFormatError(
        f"{what}; at most {most} are allowed: load it into its network, or, if you trust it, raise {limit} "
        f"(wavesweep.Limits, or --{limit.replace('_', '-')})"
    )
