"""Context-adaptive range coding of integer tensors.

Each symbol is coded as: is it zero (probability from its row, its column, its neighbours and its parent), its sign,
its magnitude (adaptive tables by the magnitudes of its row and column). The entropy coder itself is `constriction`'s
range coder (Martin 1979; Bamler 2022); what is here is the model, and it learns over the whole file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from wavesweep.codec.channel import Channel, Decoder, Encoder
from wavesweep.codec.context import Batch, Decoded, Ints, Odds, Plane, Significance, Tables, batches
from wavesweep.codec.magnitudes import FIRST_MEAN, code_values, first_counts
from wavesweep.codec.priors import MEAN_BITS, ODDS_BITS, CodedPrior, coded_prior, own_priors
from wavesweep.codec.range_end import bits_written, finished, is_short, words_of
from wavesweep.errors import FileFormatError
from wavesweep.quantization.symbols import Prior, Symbols

Priors = tuple[CodedPrior, ...]


@dataclass
class _Learned:
    """What is learned over the whole file."""

    tables: Tables = field(default_factory=Tables)
    magnitudes: Ints = field(default_factory=first_counts)

    def copy(self) -> "_Learned":
        return _Learned(Tables(self.tables.ones.copy(), self.tables.seen.copy()), self.magnitudes.copy())


def encode(
    tensors: Sequence[tuple[Sequence[Plane], Sequence[Symbols]]],
    priors: Sequence[Sequence[Prior] | None] | None = None,
) -> bytes:
    """Code the bands of tensors; each symbol's magnitude is at most `LARGEST`.

    `priors` has one per band for each tensor that has some. Each tensor is stored with them, with those that fit it, or
    with none, whichever is smallest.
    """
    encoder, learned = Encoder(), _Learned()
    for (planes, symbols), given in zip(tensors, priors or [None] * len(tensors), strict=True):
        stored = None if given is None else tuple(coded_prior(prior) for prior in given)
        choices: list[Priors | None] = [None, stored, own_priors(symbols)]
        tried: list[tuple[float, int, tuple[Encoder, _Learned]]] = []
        for choice in dict.fromkeys(choices):
            copies = Encoder(encoder.coder.clone()), learned.copy()
            _code_tensor(copies[0], planes, symbols, copies[1], choice)
            tried.append((bits_written(copies[0].coder), len(tried), copies))
        encoder, learned = min(tried)[2]
    return finished(encoder.coder)


def decode(stream: bytes, tensors: Sequence[Sequence[Plane]]) -> list[Decoded]:
    """Inverse of `encode`, given the planes: symbols, and the priors that the stream has for each tensor.

    Raises:
        FileFormatError: the stream is seen not to be one that `encode` makes; that it is whole, checksums tell.
    """
    decoder, learned = Decoder(words_of(stream), Encoder() if is_short(stream) else None), _Learned()
    try:
        decoded = [_code_tensor(decoder, planes, None, learned, None) for planes in tensors]
    except (AssertionError, ValueError, OverflowError) as error:
        raise FileFormatError(f"the coefficient stream does not decode ({error})") from None
    if not (finished(decoder.again.coder) == stream if decoder.again else decoder.coder.maybe_exhausted()):
        raise FileFormatError("the coefficient stream is longer than its tensors")
    return [
        (symbols, None if priors is None else tuple(prior.decoded() for prior in priors)) for symbols, priors in decoded
    ]


def significance_probabilities(planes: Sequence[Plane], symbols: Sequence[Symbols]) -> list[Ints]:
    """Per band, with which probability (of 65,536) the model expects each symbol not to be zero, band's shape."""
    found = [np.zeros((plane.rows, plane.columns), np.int64) for plane in planes]
    _code_tensor(Encoder(), planes, symbols, _Learned(), None, found)
    return [values.reshape(plane.shape) for values, plane in zip(found, planes, strict=True)]


def _code_tensor(
    channel: Channel,
    planes: Sequence[Plane],
    truth: Sequence[Symbols] | None,
    learned: _Learned,
    priors: Priors | None,
    observed: list[Ints] | None = None,
) -> tuple[list[Symbols], Priors | None]:
    """Code a tensor, its priors first; `truth` and `priors` are None when decoding."""
    priors = _code_priors(channel, len(planes), truth is not None, priors)
    coded: list[Symbols] = []
    odds: list[Odds | None] = []
    parents = {plane.parent for plane in planes}
    for index, plane in enumerate(planes):
        prior = None if priors is None else priors[index]
        known = None if truth is None else truth[index].astype(np.int64).reshape(plane.rows, plane.columns)
        parent = plane.parent
        odds_above = None if parent is None else odds[parent]
        magnitudes_above = None if parent is None else np.abs(coded[parent].astype(np.int64))
        prior_odds = None if prior is None else prior.log_odds()
        expected = Significance(plane, learned.tables, odds_above, magnitudes_above, prior_odds)
        significant = np.zeros((plane.rows, plane.columns), np.int8)
        known_flags = None if known is None else (known != 0).astype(np.int64)
        seen_by = None if observed is None else observed[index]
        code_flags = partial(_code_flags, channel, known_flags, significant, seen_by)
        for batch in batches(plane.rows, plane.columns):
            expected.code(batch, code_flags)
        odds.append(expected.learned() if index in parents else None)
        first_mean = FIRST_MEAN if prior is None else prior.first_mean()
        values = code_values(channel, significant, known, learned.magnitudes, first_mean)
        coded.append(values.reshape(plane.shape))
    return coded, priors


def _code_flags(
    channel: Channel,
    truth: Ints | None,
    significant: npt.NDArray[np.int8],
    observed: Ints | None,
    piece: Batch,
    probabilities: Ints,
) -> Ints:
    """Code which symbols of a piece are not zero, into `significant`; `observed` takes the probabilities."""
    where = piece.where
    flags = channel.flags(probabilities, None if truth is None else truth[where])
    significant[where] = flags
    if observed is not None:
        observed[where] = probabilities
    return flags


def _code_priors(channel: Channel, number: int, is_known: bool, priors: Priors | None) -> Priors | None:
    """Whether a tensor has priors (1 bit), and if so, those of its bands."""
    if not int(channel.bits(1, 1, np.array([int(priors is not None)]) if is_known else None)[0]):
        return None
    fields = []
    for width, name in ((ODDS_BITS, "odds"), (MEAN_BITS, "mean")):
        truth = np.array([getattr(prior, name) for prior in priors], np.int64) if is_known and priors else None
        fields.append(channel.bits(width, number, truth).tolist())
    return tuple(CodedPrior(odds, mean) for odds, mean in zip(*fields, strict=True))
