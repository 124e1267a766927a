"""What `wavesweep.compress` gives: the file, and what can be told of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

from wavesweep.codec.container import read_container
from wavesweep.codec.limits import UNLIMITED
from wavesweep.codec.model_file import unpack
from wavesweep.codec.read import raw_bytes, tensor_table
from wavesweep.codec.tensors import StoredTensor, state_dict
from wavesweep.compression.output_error import OutputErrors
from wavesweep.models.load import filled
from wavesweep.runtime.records import write_atomically
from wavesweep.runtime.terminal import some

if TYPE_CHECKING:
    import pandas

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, repr=False)
class CompressedModel:
    """A compressed network: the bytes of its file, and what can be told of it.

    Attributes:
        content: of the file.
        dense_bytes: of all tensors of the network as they were, as float32; 0 where it is not known.
        output_errors: how far the outputs are from those before, where images were given.
    """

    content: bytes
    dense_bytes: int = 0
    output_errors: OutputErrors | None = None

    @property
    def stored_bytes(self) -> int:
        """Size of the file."""
        return len(self.content)

    @property
    def times_smaller(self) -> float:
        """How many times as large the tensors are uncompressed."""
        return self.dense_bytes / self.stored_bytes

    @cached_property
    def layers(self) -> tuple[dict[str, Any], ...]:
        """One row per tensor: name, shape, basis, how its numbers are stored, how many, and the share of zeros."""
        return tuple(tensor_table(self._tensors()))

    @property
    def sparsity(self) -> float:
        """Share of the coded coefficients that are zero, from 0 to 1; biases and the like do not count."""
        coded = [row for row in self.layers if row["basis"] != "-"]
        zeros: float = sum(row["numbers"] * row["zero"] for row in coded)
        numbers: int = sum(row["numbers"] for row in coded)
        return zeros / max(1, numbers)

    @cached_property
    def not_coded(self) -> dict[str, int]:
        """Bytes of each tensor that the file holds number by number, the largest first."""
        found = raw_bytes(read_container(self.content, UNLIMITED.header_bytes).header)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def state_dict(self) -> dict[str, Tensor]:
        """The decoded tensors."""
        return state_dict(self._tensors())

    def save(self, path: str | Path) -> int:
        """Write the file atomically; returns its size in bytes.

        Raises:
            StoreError: it cannot be written.
        """
        write_atomically(Path(path), self.content)
        return self.stored_bytes

    def load_into(self, model: Model) -> Model:
        """Fill a network of the same architecture with the decoded tensors, as `wavesweep.load` does; returns it.

        Raises:
            FileFormatError: they do not fit; the network is left as it was.
        """
        tensors, header = unpack(self.content, UNLIMITED)
        return filled(model, tensors, header, "the compressed network")

    def table(self) -> "pandas.DataFrame":
        """`layers` as a table of pandas."""
        import pandas

        return pandas.DataFrame(list(self.layers))

    def __repr__(self) -> str:
        rows = list(self._summary())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        cells = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._summary())
        return f"<table>{''.join(cells)}</table>"

    def _summary(self) -> Iterator[tuple[str, str]]:
        smaller = f", {self.times_smaller:.2f} times smaller" if self.dense_bytes else ""
        yield "file", f"{self.stored_bytes:,} bytes{smaller}"
        yield "sparsity", f"{100 * self.sparsity:.2f} % of the coded coefficients"
        if self.output_errors is not None:
            yield "output error", self.output_errors.text()
        share = sum(self.not_coded.values()) / self.stored_bytes
        named = f": {some(list(self.not_coded))}" if self.not_coded else ""
        yield "not coded", f"{100 * share:.1f} % of the file{named}"

    def _tensors(self) -> list[StoredTensor]:
        return unpack(self.content, UNLIMITED)[0]  # its own content, however large
