"""Context-adaptive range coding of integer tensors.

Each symbol is coded as: is it zero (probability from its row, its column, its neighbours and its parent), its sign,
its magnitude (adaptive tables by the magnitudes of its row and column). The entropy coder itself is `constriction`'s
range coder (Martin 1979; Bamler 2022); what is here is the model, and it learns over the whole file.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import constriction
import numpy as np
import numpy.typing as npt

from wavesweep.codec.context import ONE, Ints, Odds, Plane, Significance, Tables, batches, doubling, spread
from wavesweep.compression.symbols import LARGEST, Symbols
from wavesweep.errors import FileFormatError

# Magnitudes less one below this are tokens of their own; above, a token is an exponent and the bit below the first.
_DIRECT = 8
_TOKENS = _DIRECT + 2 * 28
_MAGNITUDE_CONTEXTS = 12
_FIRST_MAGNITUDES = 32
# Units of expected magnitude: sixteenths.
_UNIT = 16
_flag = constriction.stream.model.Bernoulli(perfect=False)


class _Channel(Protocol):
    """Encoder or decoder: takes the true values if it has them, and gives them back."""

    def flags(self, probabilities: Ints, truth: Ints | None) -> Ints: ...

    def tokens(self, counts: Ints, number: int, truth: Ints | None) -> Ints: ...

    def bits(self, width: int, number: int, truth: Ints | None) -> Ints: ...


def encode(tensors: Sequence[tuple[Sequence[Plane], Sequence[Symbols]]]) -> bytes:
    """Code the bands of tensors; each symbol's magnitude is at most `LARGEST`."""
    encoder = _Encoder()
    magnitudes, tables = _first_magnitude_counts(), Tables()
    for planes, symbols in tensors:
        _code_tensor(encoder, planes, symbols, tables, magnitudes)
    words: npt.NDArray[np.uint32] = encoder.coder.get_compressed()
    return words.astype("<u4").tobytes()


def decode(stream: bytes, tensors: Sequence[Sequence[Plane]]) -> list[list[Symbols]]:
    """Inverse of `encode`, given the planes.

    Raises:
        FileFormatError: the stream is seen not to be one that `encode` makes; that it is whole, checksums tell.
    """
    if len(stream) % 4:
        raise FileFormatError("the coefficient stream is not a whole number of 32-bit words")
    decoder = _Decoder(np.frombuffer(stream, "<u4").astype(np.uint32))
    magnitudes, tables = _first_magnitude_counts(), Tables()
    try:
        decoded = [_code_tensor(decoder, planes, None, tables, magnitudes) for planes in tensors]
    except (AssertionError, ValueError, OverflowError) as error:
        raise FileFormatError(f"the coefficient stream does not decode ({error})") from None
    if not decoder.coder.maybe_exhausted():
        raise FileFormatError("the coefficient stream is longer than its tensors")
    return decoded


def significance_probabilities(planes: Sequence[Plane], symbols: Sequence[Symbols]) -> list[Ints]:
    """Per band, with which probability (of 65,536) the model expects each symbol not to be zero, band's shape."""
    found = [np.zeros((plane.rows, plane.columns), np.int64) for plane in planes]
    _code_tensor(_Encoder(), planes, symbols, Tables(), _first_magnitude_counts(), found)
    return [values.reshape(plane.shape) for values, plane in zip(found, planes, strict=True)]


def _code_tensor(
    channel: _Channel,
    planes: Sequence[Plane],
    truth: Sequence[Symbols] | None,
    tables: Tables,
    magnitude_counts: Ints,
    observed: list[Ints] | None = None,
) -> list[Symbols]:
    coded: list[Symbols] = []
    odds: list[Odds] = []
    for index, plane in enumerate(planes):
        known = None if truth is None else truth[index].astype(np.int64).reshape(plane.rows, plane.columns)
        parent = plane.parent
        parent_magnitudes = None if parent is None else np.abs(coded[parent].astype(np.int64))
        model = Significance(plane, tables, None if parent is None else odds[parent], parent_magnitudes)
        significant = np.zeros((plane.rows, plane.columns), np.int64)
        for rows, columns in batches(plane.rows, plane.columns):
            where = np.ix_(rows, columns)
            probabilities, context = model.probabilities(rows, columns)
            flags = channel.flags(probabilities, None if known is None else (known[where] != 0).astype(np.int64))
            model.update(rows, columns, context, flags)
            significant[where] = flags
            if observed is not None:
                observed[index][where] = probabilities
        odds.append(model.learned())
        values = _code_values(channel, significant, known, magnitude_counts)
        coded.append(values.astype(np.int32).reshape(plane.shape))
    return coded


def _code_values(channel: _Channel, significant: Ints, known: Ints | None, counts: Ints) -> Ints:
    """Signs and magnitudes of the significant symbols of a band, shape (rows, columns)."""
    positions = np.flatnonzero(significant)
    values = np.zeros(significant.size, np.int64)
    if not len(positions):
        return values
    positions = positions[spread(len(positions))]
    truth = None if known is None else known.reshape(-1)[positions]
    negative = channel.bits(1, len(positions), None if truth is None else (truth < 0).astype(np.int64))
    rest = np.zeros(len(positions), np.int64)
    row, column = positions // significant.shape[1], positions % significant.shape[1]
    sums = [np.zeros(size, np.int64) for size in significant.shape]
    seen = [np.zeros(size, np.int64) for size in significant.shape]
    total, number = 1, 1
    edges = doubling(len(positions), _FIRST_MAGNITUDES)
    for start, end in pairwise(edges):
        at_row, at_column = row[start:end], column[start:end]
        mean = _UNIT * total // number
        expected = (_UNIT * (sums[0][at_row] + sums[1][at_column]) + 4 * mean) // (
            seen[0][at_row] + seen[1][at_column] + 4
        )
        context = np.minimum(_log2(expected * 2 + 1), _MAGNITUDE_CONTEXTS - 1)
        part = None if truth is None else np.abs(truth[start:end]) - 1
        rest[start:end] = _code_magnitudes(channel, context, part, counts)
        values_here = np.minimum(rest[start:end], 1 << 20)
        for axis, at in enumerate((at_row, at_column)):
            np.add.at(sums[axis], at, values_here)
            np.add.at(seen[axis], at, 1)
        total, number = total + int(values_here.sum()), number + end - start
    values[positions] = np.where(negative > 0, -1 - rest, 1 + rest)
    return values


def _code_magnitudes(channel: _Channel, context: Ints, truth: Ints | None, counts: Ints) -> Ints:
    """Magnitudes less one of a batch, given each one's context; `counts` learns."""
    rest = np.zeros(len(context), np.int64)
    for number in range(_MAGNITUDE_CONTEXTS):
        members = np.flatnonzero(context == number)
        if not len(members):
            continue
        true = None if truth is None else truth[members]
        tokens = channel.tokens(counts[number], len(members), None if true is None else _token(true))
        counts[number] += 32 * np.bincount(tokens, minlength=_TOKENS)
        found = tokens.copy()
        for token in np.unique(tokens[tokens >= _DIRECT]):
            exponent = 3 + (int(token) - _DIRECT) // 2
            base = (1 << exponent) | (((int(token) - _DIRECT) & 1) << (exponent - 1))
            same = np.flatnonzero(tokens == token)
            low = None if true is None else true[same] - base
            found[same] = base + channel.bits(exponent - 1, len(same), low)
        if int(found.max()) >= LARGEST:
            raise ValueError("a symbol is too large")
        rest[members] = found
    return rest


def _token(rest: Ints) -> Ints:
    exponent = _log2(np.maximum(rest, 1))
    second = (rest >> np.maximum(exponent - 1, 0)) & 1
    return np.where(rest < _DIRECT, rest, _DIRECT + 2 * (exponent - 3) + second)


def _log2(values: Ints) -> Ints:
    """Floor of the binary logarithm of positive integers below 2**52, exact."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def _first_magnitude_counts() -> Ints:
    """Prior counts per context: geometric, with the mean that the context stands for; integers all the way."""
    counts = np.ones((_MAGNITUDE_CONTEXTS, _TOKENS), np.int64)
    for context in range(_MAGNITUDE_CONTEXTS):
        expected = 1 << context
        share = (1 << 20) * 2 * _UNIT // (expected + 2 * _UNIT)
        for token in range(_TOKENS):
            counts[context, token] += share >> 12
            share = share * expected // (expected + 2 * _UNIT)
    return counts


class _Encoder:
    def __init__(self) -> None:
        self.coder = constriction.stream.queue.RangeEncoder()

    def flags(self, probabilities: Ints, truth: Ints | None) -> Ints:
        assert truth is not None
        self.coder.encode(truth.reshape(-1).astype(np.int32), _flag, probabilities.reshape(-1) / ONE)
        return truth

    def tokens(self, counts: Ints, number: int, truth: Ints | None) -> Ints:
        assert truth is not None
        self.coder.encode(truth.astype(np.int32), _categorical(counts))
        return truth

    def bits(self, width: int, number: int, truth: Ints | None) -> Ints:
        assert truth is not None
        for shift, part in _chunks(width):
            digits = (truth >> shift) & ((1 << part) - 1)
            self.coder.encode(digits.astype(np.int32), constriction.stream.model.Uniform(1 << part))
        return truth


class _Decoder:
    def __init__(self, words: npt.NDArray[np.uint32]) -> None:
        self.coder = constriction.stream.queue.RangeDecoder(words)

    def flags(self, probabilities: Ints, truth: Ints | None) -> Ints:
        decoded = self.coder.decode(_flag, probabilities.reshape(-1) / ONE)
        return np.asarray(decoded, np.int64).reshape(probabilities.shape)

    def tokens(self, counts: Ints, number: int, truth: Ints | None) -> Ints:
        return np.asarray(self.coder.decode(_categorical(counts), number), np.int64)

    def bits(self, width: int, number: int, truth: Ints | None) -> Ints:
        total = np.zeros(number, np.int64)
        for shift, part in _chunks(width):
            digits = self.coder.decode(constriction.stream.model.Uniform(1 << part), number)
            total |= np.asarray(digits, np.int64) << shift
        return total


def _categorical(counts: Ints) -> object:
    return constriction.stream.model.Categorical((counts / counts.sum()).astype(np.float64), perfect=False)


def _chunks(width: int) -> list[tuple[int, int]]:
    """Shift and width of pieces of at most 12 bits, which the coder's 24-bit probabilities hold exactly."""
    return [(shift, min(12, width - shift)) for shift in range(0, width, 12)]
