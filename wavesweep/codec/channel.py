"""What the range coder's model talks to: an encoder or a decoder behind the same three calls."""

from typing import Any, Protocol

import constriction
import numpy as np
import numpy.typing as npt

from wavesweep.codec.context import ONE, Ints

_flag = constriction.stream.model.Bernoulli(perfect=False)


class Channel(Protocol):
    """Encoder or decoder: takes the true values if it has them, and gives them back."""

    def flags(self, probabilities: Ints, truth: Ints | None) -> Ints:
        """Zeros and ones, each with its own probability of a one, in 65,536ths."""
        ...

    def tokens(self, counts: Ints, number: int, truth: Ints | None) -> Ints:
        """`number` tokens, all as likely as `counts` says."""
        ...

    def bits(self, width: int, number: int, truth: Ints | None) -> Ints:
        """`number` integers of `width` bits."""
        ...


class Encoder:
    """Encodes, and gives back what it is told."""

    def __init__(self, coder: Any = None) -> None:
        self.coder = constriction.stream.queue.RangeEncoder() if coder is None else coder

    def flags(self, probabilities: Ints, truth: Ints | None) -> Ints:
        """See `Channel`."""
        assert truth is not None
        self.coder.encode(truth.reshape(-1).astype(np.int32), _flag, probabilities.reshape(-1) / ONE)
        return truth

    def tokens(self, counts: Ints, number: int, truth: Ints | None) -> Ints:
        """See `Channel`."""
        assert truth is not None
        self.coder.encode(truth.astype(np.int32), _categorical(counts))
        return truth

    def bits(self, width: int, number: int, truth: Ints | None) -> Ints:
        """See `Channel`."""
        assert truth is not None
        for shift, part in _chunks(width):
            digits = (truth >> shift) & ((1 << part) - 1)
            self.coder.encode(digits.astype(np.int32), constriction.stream.model.Uniform(1 << part))
        return truth


class Decoder:
    """Decodes; nothing is told to it. `again` encodes at once what has been decoded."""

    def __init__(self, words: npt.NDArray[np.uint32], again: Encoder | None = None) -> None:
        self.coder = constriction.stream.queue.RangeDecoder(words)
        self.again = again

    def flags(self, probabilities: Ints, truth: Ints | None) -> Ints:
        """See `Channel`."""
        shares = probabilities.reshape(-1) / ONE
        decoded = self.coder.decode(_flag, shares)
        if self.again:
            self.again.coder.encode(decoded, _flag, shares)
        return np.asarray(decoded, np.int64).reshape(probabilities.shape)

    def tokens(self, counts: Ints, number: int, truth: Ints | None) -> Ints:
        """See `Channel`."""
        decoded = np.asarray(self.coder.decode(_categorical(counts), number), np.int64)
        return self.again.tokens(counts, number, decoded) if self.again else decoded

    def bits(self, width: int, number: int, truth: Ints | None) -> Ints:
        """See `Channel`."""
        total = np.zeros(number, np.int64)
        for shift, part in _chunks(width):
            digits = self.coder.decode(constriction.stream.model.Uniform(1 << part), number)
            total |= np.asarray(digits, np.int64) << shift
        return self.again.bits(width, number, total) if self.again else total


def _categorical(counts: Ints) -> object:
    return constriction.stream.model.Categorical((counts / counts.sum()).astype(np.float64), perfect=False)


def _chunks(width: int) -> list[tuple[int, int]]:
    """Shift and width of pieces of at most 12 bits, which the coder's 24-bit probabilities hold exactly."""
    return [(shift, min(12, width - shift)) for shift in range(0, width, 12)]
