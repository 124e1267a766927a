"""A second decoder of the `.wsz` format, version 3, in pure Python and NumPy: one file that can be copied into another project.

It was written from `docs/reference/format.md`, where every number in it is explained; the names are those of that page.

    python decoder.py FILE               # a table of names, types and shapes
    python decoder.py FILE OUT.npz       # the tensors, for numpy.load

It imports nothing but NumPy, and PyWavelets if a file names a wavelet that `FILTERS` lacks. The compiled reference,
`wavesweep.load`, is some hundred times as fast; both give the same bits (`dct` to about 1e-6).
"""

import itertools
import json
import math
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 2**20
SUBBANDS = 64  # of one tensor
DICTIONARY = (
    b'"made_by":"full_shapes":"uint8""int8""int16""int32""bool""float64""bfloat16""float32"'
    b'"each":"float16"}"codebook":["kind":"rotation""shuffled""dct""seed":"name":"symmetric""mode":"axes":[0,1],"levels":['
    b'"wavelet":"bior""rbio""coif""sym""db""haar"'
    b'bias_k"bias_v"q_proj_weight"k_proj_weight"v_proj_weight"in_proj_weight"in_proj_bias"out_proj.'
    b'weight_ih_l0_reverse"weight_hh_l0_reverse"bias_ih_l0_reverse"bias_hh_l0_reverse"'
    b'weight_ih_l0"weight_hh_l0"bias_ih_l0"bias_hh_l0"weight_ih"weight_hh"bias_ih"bias_hh"'
    b'num_batches_tracked",[],"int64"],["running_mean",["running_var",["'
    b'["huffman",["none",["range",[[".weight",[.bias",[],0.00]]]'
)
TYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
}
MODES = "zero constant symmetric periodic smooth periodization reflect antisymmetric antireflect".split()
# The low-pass filters of synthesis and of analysis, as PyWavelets has them; `rbio` swaps and reverses those of `bior`.
FILTERS = {
    "haar": ([0.7071067811865476] * 2, [0.7071067811865476] * 2),
    "db2": (
        [0.48296291314453416, 0.8365163037378079, 0.2241438680420134, -0.12940952255126037],
        [-0.12940952255126037, 0.2241438680420134, 0.8365163037378079, 0.48296291314453416],
    ),
    "sym4": (
        [0.0322231006040427, -0.012603967262037833, -0.09921954357684722, 0.29785779560527736]
        + [0.8037387518059161, 0.49761866763201545, -0.02963552764599851, -0.07576571478927333],
        [-0.07576571478927333, -0.02963552764599851, 0.49761866763201545, 0.8037387518059161]
        + [0.29785779560527736, -0.09921954357684722, -0.012603967262037833, 0.0322231006040427],
    ),
    "bior2.2": (
        [0.0, 0.3535533905932738, 0.7071067811865476, 0.3535533905932738, 0.0, 0.0],
        [0.0, -0.1767766952966369, 0.3535533905932738, 1.0606601717798212, 0.3535533905932738, -0.1767766952966369],
    ),
    "bior3.3": (
        [0.0, 0.0, 0.1767766952966369, 0.5303300858899106, 0.5303300858899106, 0.1767766952966369, 0.0, 0.0],
        [0.06629126073623882, -0.1988737822087165, -0.15467960838455727, 0.9943689110435825]
        + [0.9943689110435825, -0.15467960838455727, -0.1988737822087165, 0.06629126073623882],
    ),
    "bior4.4": (
        [0.0, -0.06453888262869706, -0.04068941760916406, 0.41809227322161724, 0.7884856164055829]
        + [0.41809227322161724, -0.04068941760916406, -0.06453888262869706, 0.0, 0.0],
        [0.0, 0.03782845550726404, -0.023849465019556843, -0.11062440441843718, 0.37740285561283066]
        + [0.8526986790088938, 0.37740285561283066, -0.11062440441843718, -0.023849465019556843, 0.03782845550726404],
    ),
}

Numbers = NDArray[Any]


class DecodeError(ValueError):
    """A file that this decoder refuses; one line says why."""


def _refuse(why: str) -> NoReturn:
    raise DecodeError(f"not a valid .wsz file: {why}")


def _check(holds: bool, why: str) -> None:
    if not holds:
        _refuse(why)


# ---- container and header -------------------------------------------------------------------------------------------


class _Bytes:
    """What is left of some bytes, taken from the front; `what` names them in errors."""

    def __init__(self, content: bytes, what: str) -> None:
        self.content, self.at, self.what = content, 0, what

    def take(self, count: int) -> bytes:
        _check(count <= len(self.content) - self.at, f"{self.what} ends early")
        self.at += count
        return self.content[self.at - count : self.at]

    def integer(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def size(self) -> int:
        """A size in groups of 7 bits, the lowest first."""
        value = 0
        for group in range(9):
            byte = self.integer(1)
            value |= (byte & 127) << (7 * group)
            if byte < 128:
                _check(byte > 0 or group == 0, "a size takes more bytes than needed")
                return value
        _refuse("a size takes more than 9 bytes")

    def end(self) -> None:
        _check(self.at == len(self.content), f"{len(self.content) - self.at} bytes too many in {self.what}")


@dataclass(frozen=True)
class _Band:
    level: int
    orientation: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the header: `kind` is `same`, `raw` or `coded`, and the fields of the other kinds are empty."""

    kind: str
    name: str
    shape: tuple[int, ...] = ()
    of: str = ""
    stored: str = ""
    dtype: str = ""
    view: tuple[int, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)
    basis: dict[str, Any] = field(default_factory=dict)
    bands: tuple[_Band, ...] = ()

    @property
    def count(self) -> int:
        """How many numbers this tensor takes, as coefficients or as weights."""
        return max(math.prod(self.shape), sum(band.count for band in self.bands))


def _integers(value: Any, what: str, most: int) -> tuple[int, ...]:
    valid = isinstance(value, list) and len(value) <= 32 and all(type(x) is int and 0 <= x <= most for x in value)
    _check(valid, f"{what} is not a list of at most 32 integers from 0 to {most}")
    return tuple(value)


def _tensor(entry: Any, limit: int) -> _Tensor:
    """A tensor from its short form in the header."""
    _check(isinstance(entry, list) and 2 <= len(entry) <= 5 and isinstance(entry[0], str), "a tensor is no list")
    name, second, *rest = entry
    if isinstance(second, str):
        _check(not rest, f"{name!r} is a second name with too many items")
        return _Tensor("same", name, of=second)
    shape = _integers(second, f"the shape of {name!r}", limit)
    if not rest or isinstance(rest[0], str):
        stored, dtype = (*rest, *rest)[:2] if rest else ("float16", "float32")
        _check(len(rest) <= 2 and stored in TYPES and dtype in (*TYPES, "bfloat16"), f"unknown type of {name!r}")
        return _Tensor("raw", name, shape, stored=stored, dtype=dtype)
    values = rest[0]
    if not isinstance(values, dict):
        values = {"steps": values if isinstance(values, list) else [values]}
    basis = rest[1] if len(rest) > 1 else {"kind": "identity"}
    view = _integers(rest[2], f"the view of {name!r}", limit) if len(rest) > 2 else shape
    _check(math.prod(view) == math.prod(shape), f"the view of {name!r} has another size than its shape")
    _check(isinstance(basis, dict), f"the basis of {name!r} is no object")
    basis = {"kind": "wavelet", "mode": "periodization", **basis} if "kind" not in basis else basis
    bands = _bands(name, basis, view)
    _check_values(name, values, len(bands))
    return _Tensor("coded", name, shape, view=view, values=values, basis=basis, bands=bands)


def _check_values(name: str, values: dict[str, Any], bands: int) -> None:
    match values:
        case {"steps": [*steps]} if len(values) == 1:
            valid = len(steps) in (1, bands) and all(type(x) in (int, float) and abs(x) < 1e300 for x in steps)
        case {"codebook": [int(n), int(p)]} if len(values) == 1:
            valid = 0 <= n < 2**31 and 0 <= p < 2**31
        case {"each": "float16" | "float32"} if len(values) == 1:
            valid = True
        case _:
            valid = False
    _check(valid, f"the values of {name!r} are invalid")


def _bands(name: str, basis: dict[str, Any], view: tuple[int, ...]) -> tuple[_Band, ...]:
    """The subbands of a basis, in the order of their coefficients."""
    kind = basis["kind"]
    if kind in ("rotation", "shuffled"):
        raise DecodeError(f"the basis {kind!r} of {name!r} is a control, which this decoder does not support")
    _check(kind in ("identity", "dct", "wavelet"), f"the basis of {name!r} is unknown")
    known = {"kind", "axes"} if kind == "dct" else {"kind", "axes", "levels", "wavelet", "mode"}
    _check(set(basis) <= (known if kind != "identity" else {"kind"}), f"the basis of {name!r} has unknown keys")
    if kind == "identity":
        return (_Band(0, "", view),)
    axes = _integers(basis.get("axes", []), f"axes of {name!r}", 31)
    _check(len(set(axes)) == len(axes) and all(axis < len(view) for axis in axes), f"{name!r} lacks such axes")
    if kind == "dct":
        return (_Band(0, "", view),)
    levels = _integers(basis.get("levels", []), f"levels of {name!r}", SUBBANDS)
    _check(len(levels) == len(axes), f"{name!r} needs a level for each axis")
    mode, length = basis.get("mode"), len(_filters(basis.get("wavelet"))[0])
    _check(mode in MODES, f"the wavelet mode of {name!r} is unknown")
    shape, finest_first = list(view), []
    for level in range(1, max(levels, default=0) + 1):
        split = [levels[i] >= level for i in range(len(axes))]
        for axis in itertools.compress(axes, split):
            _check(shape[axis] > 1, f"axis {axis} of {name!r} allows fewer levels")
            shape[axis] = (shape[axis] + (1 if mode == "periodization" else length - 1)) // 2
        _check(2 ** sum(split) <= SUBBANDS, f"{name!r} has more than {SUBBANDS} subbands")
        options = ["ad" if is_split else "-" for is_split in split]
        orientations = ["".join(letters) for letters in itertools.product(*options) if "d" in letters]
        finest_first.append([_Band(level, orientation, tuple(shape)) for orientation in orientations])
    details = [band for bands in reversed(finest_first) for band in bands]
    _check(len(details) < SUBBANDS, f"{name!r} has more than {SUBBANDS} subbands")
    return (_Band(len(finest_first), "", tuple(shape)), *details)


def _not_finite(text: str) -> NoReturn:
    _refuse(f"{text} in the header")


def _header(packed: bytes, limit: int) -> tuple[str, list[_Tensor]]:
    """The coder and the tensors that a compressed header declares, at most `limit` numbers in all."""
    inflate = zlib.decompressobj(-15, zdict=DICTIONARY)
    try:
        text = inflate.decompress(packed, HEADER_BYTES + 1)
        _check(inflate.eof and not inflate.unused_data and len(text) <= HEADER_BYTES, "the header's size is wrong")
        header = json.loads(text.decode(), parse_constant=_not_finite)
    except DecodeError:
        raise
    except (zlib.error, ValueError, RecursionError):
        _refuse("the header is damaged")
    _check(isinstance(header, list) and len(header) in (2, 3) and isinstance(header[1], list), "the header is no list")
    _check(len(header) == 2 or isinstance(header[2], dict), "the header's third item is no object")
    _check(header[0] in ("range", "huffman", "none"), "the coder is unknown")
    tensors: dict[str, _Tensor] = {}
    total = 0
    for entry in header[1]:
        tensor = _tensor(entry, limit)
        _check(tensor.name not in tensors, f"two tensors are named {tensor.name!r}")
        _check(tensor.kind != "same" or tensor.of in tensors, f"{tensor.name!r} is the same as an unknown tensor")
        tensors[tensor.name] = tensor
        total += tensor.count
        _check(total <= limit, f"more than {limit} numbers are declared")
    return header[0], list(tensors.values())


# ---- coders `none` and `huffman` ------------------------------------------------------------------------------------


def _unpacked(stream: _Bytes, count: int, width: int) -> NDArray[np.int64]:
    """`count` integers of `width` bits, most significant bit first, padded to a whole byte."""
    packed = np.frombuffer(stream.take((count * width + 7) // 8), np.uint8)
    bits = np.unpackbits(packed)[: count * width].reshape(count, width)
    values = np.zeros(count, np.int64)
    for column in range(width):
        values = 2 * values + bits[:, column]
    return values


def _packed_symbols(stream: _Bytes, count: int) -> NDArray[np.int64]:
    mode, lowest, width = stream.integer(1), stream.integer(4, signed=True), stream.integer(1)
    nonzero = stream.integer(8)
    _check(mode < 2 and width <= 32 and nonzero <= count, "a tensor of the coder none begins wrongly")
    if mode == 0:
        symbols = _unpacked(stream, count, width) + lowest
    else:
        mask = _unpacked(stream, count, 1) == 1
        _check(int(mask.sum()) == nonzero, "a mask has another number of ones than declared")
        symbols = np.zeros(count, np.int64)
        symbols[mask] = _unpacked(stream, nonzero, width) + lowest
    _check(int(np.count_nonzero(symbols)) == nonzero, "another number of symbols is not zero than declared")
    return symbols


def _huffman_entries(stream: _Bytes, count: int, limit: int) -> list[int]:
    """`count` entries that canonical codes of at most 16 bits stand for."""
    lowest, entries = stream.integer(4, signed=True), stream.integer(4)
    table = stream.take(stream.integer(4))
    codes = stream.take(stream.integer(4))
    _check(entries <= limit and count <= 8 * len(codes), "a Huffman table is too large")
    inflate = zlib.decompressobj()
    try:
        unpacked = inflate.decompress(table, entries + 1)
    except zlib.error:
        _refuse("a Huffman table is damaged")
    _check(inflate.eof and not inflate.unused_data and len(unpacked) == entries, "a Huffman table has a wrong size")
    lengths = np.frombuffer(unpacked, np.uint8)
    _check(entries == 0 or int(lengths.max()) <= 16, "a Huffman code is longer than 16 bits")
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    spans = 1 << (16 - lengths[order].astype(np.int64))  # how many numbers of 16 bits begin with each code
    _check(int(spans.sum()) <= 65536, "Huffman codes overlap")
    entry_of = np.repeat(order + lowest, spans).tolist()
    length_of = np.repeat(lengths[order], spans).tolist()
    found, window, held, at = [], 0, 0, 0
    padded = codes + bytes(2)
    for _ in range(count):
        while held < 16:
            _check(at < len(padded), "Huffman codes end early")
            window, held, at = ((window << 8) | padded[at]) & 0xFFFFFF, held + 8, at + 1
        code = (window >> (held - 16)) & 0xFFFF
        _check(code < len(entry_of), "a Huffman code is unknown")
        found.append(entry_of[code])
        held -= length_of[code]
    used = 8 * at - held
    _check((used + 7) // 8 == len(codes), "Huffman codes have another size than declared")
    return found


def _huffman_symbols(stream: _Bytes, count: int, limit: int) -> NDArray[np.int64]:
    index_bits, pairs = stream.integer(1), stream.integer(4)
    zeros = _huffman_entries(stream, pairs, limit)
    values = _huffman_entries(stream, pairs, limit)
    _check(all(0 <= number < 2**index_bits for number in zeros), "a number of zeros is out of bounds")
    places = np.cumsum(np.array(zeros, np.int64) + 1) - 1
    _check(pairs == 0 or int(places[-1]) < count, "more symbols are coded than declared")
    symbols = np.zeros(count, np.int64)
    symbols[places] = values
    return symbols


# ---- coder `range` --------------------------------------------------------------------------------------------------

_K = (
    [1, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 47, 60, 77, 98, 126, 162, 208, 267, 342, 439, 562]
    + [720, 922, 1179, 1506, 1921, 2446, 3108, 3938, 4971, 6249, 7812, 9702, 11955, 14595, 17625, 21025, 24743, 28693]
    + [32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834, 57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030]
    + [64357, 64614, 64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410, 65438, 65459, 65476, 65489, 65500, 65508]
    + [65514, 65519, 65523, 65526, 65528, 65530, 65531, 65532, 65533, 65534, 65534] + [65535] * 6
)
_RATE = [655360 // (10 * n + 16) for n in range(1001)]
_HALF = 2**21


def _clip(value: int, low: int, high: int) -> int:
    return low if value < low else high if value > high else value


def _squash_table() -> list[int]:
    """squash(x) at index x + 3072."""
    return [(_K[x // 64] * (64 - x % 64) + _K[x // 64 + 1] * (x % 64) + 32) // 64 for x in range(6144)]


def _stretch_table(squash: list[int]) -> list[int]:
    found = np.searchsorted(np.array(squash), np.arange(65536)) - 3072
    return [int(x) for x in np.clip(found, -3071, 3071)]


_SQUASH = _squash_table()
_STRETCH = _stretch_table(_SQUASH)


class _Contexts:
    """Chances of the next bit being 1, in 2**22ths, and counts of what each has seen."""

    def __init__(self, chances: list[int], count: int = 0, lead: int = 0) -> None:
        self.chances, self.counts, self.lead = chances, [count] * len(chances), lead

    def learn(self, i: int, bit: int) -> None:
        n = self.counts[i]
        self.chances[i] += (((bit << 22) - self.chances[i]) * _RATE[n + self.lead]) >> 16
        self.counts[i] = min(n + 1, 250)


def _flat(size: int) -> _Contexts:
    return _Contexts([_HALF] * size)


def _weights(hundredths: Sequence[int], sets: int) -> list[list[int]]:
    return [[65536 * number // 100 for number in hundredths] for _ in range(sets)]


class _Coder:
    """The binary arithmetic decoder of one stream, and all that it learns over the stream."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.padded = data + bytes(7)  # reading beyond them means that more was shifted out than there is
        self.low, self.high, self.at = 0, 2**56 - 1, 7
        self.value = int.from_bytes(self.padded[:7], "big")
        self.flag_near = [_flat(324), _flat(324)]
        self.flag_place = _flat(32 * 8)
        by_k = [_SQUASH[128 * k + 64] << 6 for k in range(48)]
        by_j = [_SQUASH[256 * j + 128] << 6 for j in range(24)]
        by_s = [_SQUASH[min(512 * s, 6143)] << 6 for s in range(13)]
        self.flag_odds = [_Contexts([chance for chance in by_k for _ in range(4)], 4) for _ in range(2)]
        self.flag_cluster = _Contexts([chance for chance in by_j for _ in range(28)], 4)
        self.flag_refined = _Contexts(by_s * 28, 6)
        self.flag_weights = _weights((0, 20, 20, 15, 10, 20, 20, 0), 9)
        self.sign_near = [_flat(9), _flat(25)]
        self.sign_kernel, self.sign_above = _flat(8), _flat(8 * 3)
        self.sign_weights = _weights((35,) * 5, 2)
        firsts = []
        for i, x in itertools.product(range(13), range(16)):
            y = max((5 + 2 * (x % 2)) * 2 ** (2 + x // 2) // 4 - 4, 1)
            a = 65536 * y // (y + 16)
            for _ in range(i):
                a = (a * a) >> 16
            firsts.append(_clip(a, 131, 65405) << 6)
        self.size_expected = _Contexts(firsts, 3)
        self.size_near, self.size_place = _flat(13 * 10 * 8), _flat(17 * 13 * 3)
        self.size_weights = _weights((50, 30, 20, 0), 4)
        self.size_bits = _flat(13 * 8)
        self.activities: list[int] = []  # of the rows of the last tensor that had some

    def bit(self, p: int) -> int:
        """The next bit, whose chance of being 1 is `p` 65,536ths."""
        span = self.high - self.low
        middle = self.low + (span >> 16) * p + (((span & 65535) * p) >> 16)
        if self.value <= middle:
            bit, self.high = 1, middle
        else:
            bit, self.low = 0, middle + 1
        while (self.low ^ self.high) < 2**48:
            self.low = (self.low << 8) & (2**56 - 1)
            self.high = (self.high << 8) & (2**56 - 1) | 255
            self.value = (self.value << 8) & (2**56 - 1) | self.padded[self.at]
            self.at += 1
        return bit

    def mixed(self, weights: list[int], others: list[int], contexts: list[tuple[_Contexts, int]], rate: int) -> int:
        """The next bit by the mix of contexts and then of `others`, whose log-odds are given."""
        inputs = [_STRETCH[context.chances[i] >> 6] for context, i in contexts] + others
        m = _clip(sum(w * x for w, x in zip(weights, inputs, strict=True)) >> 16, -3071, 3071)
        p = _SQUASH[m + 3072]
        bit = self.bit(p)
        error = ((bit << 16) - p) * rate
        for i, x in enumerate(inputs):
            weights[i] += (x * error + 131072) >> 18
        for context, i in contexts:
            context.learn(i, bit)
        return bit

    def end(self) -> None:
        """Refuses a stream whose last bytes are not the fewest that an encoder could have written."""
        for count in range(8):
            shift = 56 - 8 * count
            number = -(-self.low >> shift)
            if number << shift <= self.high:
                break
        _check(self.data[self.at - 7 :] == number.to_bytes(count, "big"), "a range stream ends wrongly")


_CLUSTER = [
    4 * min(sum(near // 3**i % 3 for i in range(4)) + (corners + 1) // 2, 6) for near in range(81) for corners in range(4)
]


class _BandDecoder:
    """One band while it is decoded, and what the bands below it take from it."""

    def __init__(self, coder: _Coder, band: _Band, units: list[int], parent: "_BandDecoder | None") -> None:
        shape = band.shape
        self.coder, self.shape, self.parent = coder, shape, parent
        area = math.prod(shape[2:])
        self.area, self.width = (area, shape[-1]) if len(shape) > 2 and 0 < area <= 64 else (1, 1)
        self.grid = int(self.area > 1)
        self.rows, self.columns = (shape or (1,))[0], math.prod(shape[1:])
        self.is_taken = self.rows == 1 and self.columns > self.area
        if self.is_taken:
            self.rows, self.columns = self.columns // self.area, self.area
        self.symbols = np.zeros((self.rows, self.columns), np.int32)
        unit_of = units or [0] * self.columns
        self.places = [min(c % self.area, 31) * 8 + unit_of[c] for c in range(self.columns)]
        self.chance, self.count = _HALF, 0
        self.row_chances, self.column_chances = [-1] * self.rows, [-1] * self.columns  # -1: as the band's, when reached
        self.size, self.size_count = 16, 0
        self.column_sizes, self.column_size_counts = [-1] * self.columns, [0] * self.columns
        self.row_sign = _Contexts([_HALF], lead=3)
        self.column_signs = _Contexts([_HALF] * self.columns, lead=3)
        self.above: Numbers | None = None
        if parent is not None:
            self._inherit(parent)

    def _inherit(self, parent: "_BandDecoder") -> None:
        maps = [
            np.minimum(np.arange(length) // (1 if length == other else 2), other - 1)
            for length, other in zip(self.shape, parent.shape, strict=True)
        ]
        self.above = parent.symbols.reshape(parent.shape)[np.ix_(*maps)].reshape(self.rows, self.columns)
        self.chance, self.count = parent.chance, 4
        if not self.is_taken and not parent.is_taken:
            columns = np.arange(parent.columns).reshape(parent.shape[1:])[np.ix_(*maps[1:])]
            self.row_chances = [parent.row_chances[i] for i in maps[0].tolist()]
            self.column_chances = [parent.column_chances[i] for i in columns.reshape(-1).tolist()]

    def decode(self) -> None:
        """Fills `symbols`. The flags of zeros are decoded here, in plain locals, as nearly all symbols are zero."""
        coder, columns, column_chances, places = self.coder, self.columns, self.column_chances, self.places
        squash, stretch, rates, cluster_of = _SQUASH, _STRETCH, _RATE, _CLUSTER
        near, near_n = coder.flag_near[self.grid].chances, coder.flag_near[self.grid].counts
        spot, spot_n = coder.flag_place.chances, coder.flag_place.counts
        odds, odds_n = coder.flag_odds[self.grid].chances, coder.flag_odds[self.grid].counts
        cluster, cluster_n = coder.flag_cluster.chances, coder.flag_cluster.counts
        refined, refined_n = coder.flag_refined.chances, coder.flag_refined.counts
        padded, top = coder.padded, 2**48
        low, high, value = coder.low, coder.high, coder.value
        band, band_n = self.chance, self.count
        parents = [0] * columns
        line, codes_below = [0] * columns, [0] * (columns + 2)
        for row in range(self.rows):
            before, line = line, [0] * columns
            codes, codes_below = codes_below, [0] * (columns + 2)
            if self.above is not None:
                parents = (1 + np.minimum(np.abs(self.above[row]), 2)).tolist()
            row_chance = self.row_chances[row] if self.row_chances[row] >= 0 else band
            row_size, row_size_n = self.size, 1
            self.row_sign.chances[0], self.row_sign.counts[0] = _HALF, 0
            column_rate = rates[min(1 + row, 250)]
            for u, (start, stop) in enumerate(((0, 4), (4, 24), (24, columns))):
                weights = coder.flag_weights[3 * u + (0 if row < 3 else 1 if row < 16 else 2)]
                w0, w1, w2, w3, w4, w5, w6, w7 = weights
                for c in range(start, min(stop, columns)):
                    chance = column_chances[c]
                    if chance < 0:
                        chance = band
                    parent = parents[c]
                    x1, x2 = stretch[row_chance >> 6], stretch[chance >> 6]
                    x3 = x1 + x2 - stretch[band >> 6]
                    x3 = 3071 if x3 > 3071 else -3071 if x3 < -3071 else x3
                    k = (x3 + 3072) >> 7
                    i4, i5, i6 = codes[c], places[c], 4 * k + parent
                    i8 = cluster_of[i4] + parent
                    i7 = 28 * (k >> 1) + i8
                    c4, c5, c6, c7 = near[i4], spot[i5], odds[i6], cluster[i7]
                    x4, x5, x6, x7 = stretch[c4 >> 6], stretch[c5 >> 6], stretch[c6 >> 6], stretch[c7 >> 6]
                    m = 256 * w0 + x1 * w1 + x2 * w2 + x3 * w3 + x4 * w4 + x5 * w5 + x6 * w6 + x7 * w7 >> 16
                    m = 6143 if m > 3071 else 1 if m < -3071 else m + 3072
                    mixed = squash[m]
                    i8, f = 13 * i8 + (m >> 9), m & 511
                    p = 3 * mixed + (refined[i8] * (512 - f) + refined[i8 + 1] * f >> 15) >> 2
                    p = 1 if p < 1 else 65535 if p > 65535 else p
                    span = high - low
                    middle = low + (span >> 16) * p + ((span & 65535) * p >> 16)
                    if value <= middle:
                        high, target, error = middle, 4194304, (65536 - mixed) * 4
                    else:
                        low, target, error = middle + 1, 0, -mixed * 4
                    while (low ^ high) < top:
                        low = (low << 8) & 0xFFFFFFFFFFFFFF
                        high = (high << 8) & 0xFFFFFFFFFFFFFF | 255
                        value = (value << 8) & 0xFFFFFFFFFFFFFF | padded[coder.at]
                        coder.at += 1
                    w0 += 256 * error + 131072 >> 18
                    w1 += x1 * error + 131072 >> 18
                    w2 += x2 * error + 131072 >> 18
                    w3 += x3 * error + 131072 >> 18
                    w4 += x4 * error + 131072 >> 18
                    w5 += x5 * error + 131072 >> 18
                    w6 += x6 * error + 131072 >> 18
                    w7 += x7 * error + 131072 >> 18
                    if f >= 256:
                        i8 += 1
                    for chances, counts, i in (
                        (refined, refined_n, i8),
                        (near, near_n, i4),
                        (spot, spot_n, i5),
                        (odds, odds_n, i6),
                        (cluster, cluster_n, i7),
                    ):
                        n = counts[i]
                        chances[i] += (target - chances[i]) * rates[n] >> 16
                        if n < 250:
                            counts[i] = n + 1
                    band += (target - band) * rates[band_n] >> 16
                    if band_n < 1000:
                        band_n += 1
                    row_chance += (target - row_chance) * rates[4 + c if c < 246 else 250] >> 16
                    column_chances[c] = chance + ((target - chance) * column_rate >> 16)
                    if not target:
                        continue
                    coder.low, coder.high, coder.value = low, high, value
                    is_negative = self._sign(line, before, c)
                    column_size = self.column_sizes[c] if self.column_sizes[c] >= 0 else self.size
                    size_rate_index = self.column_size_counts[c]
                    above = -1 if self.above is None else abs(int(self.above[row, c]))
                    size = self._magnitude(line, before, c, i4, row_size + column_size, above)
                    line[c] = -size if is_negative else size
                    low, high, value = coder.low, coder.high, coder.value
                    z = 16 * min(size - 1, 65536)
                    row_size += (z - row_size) * rates[1 + row_size_n] >> 16
                    row_size_n = min(row_size_n + 1, 60)
                    self.column_sizes[c] = column_size + ((z - column_size) * rates[1 + size_rate_index] >> 16)
                    self.column_size_counts[c] = min(size_rate_index + 1, 60)
                    self.size += (z - self.size) * rates[self.size_count] >> 16
                    self.size_count = min(self.size_count + 1, 250)
                    self._mark(codes, codes_below, c, min(size, 2))
                weights[:] = w0, w1, w2, w3, w4, w5, w6, w7
            self.row_chances[row] = row_chance
            self.symbols[row] = line
        coder.low, coder.high, coder.value = low, high, value
        self.chance, self.count = band, band_n

    def _mark(self, codes: list[int], codes_below: list[int], c: int, size: int) -> None:
        """Adds a symbol to 4 near + corners of the symbols that see it: the later ones of its row, and the next row's."""
        codes_below[c] += 4 * 27 * size
        if not self.grid:
            codes[c + 1] += 4 * size
            codes[c + 2] += 4 * 3 * size
            codes_below[c + 1] += 2
            codes_below[c - 1] += 1  # the first column's goes to the end, which nothing reads
            return
        place, width = c % self.area, self.width
        across, is_above = place % width, place + width < self.area
        if across + 1 < width:
            codes[c + 1] += 4 * size
        if is_above:
            codes[c + width] += 4 * 3 * size
        if is_above and across + 1 < width:
            codes[c + width + 1] += 2
        if is_above and across > 0:
            codes[c + width - 1] += 1
        if c + self.area < self.columns:
            codes[c + self.area] += 4 * 9 * size

    def _sign(self, line: list[int], before: list[int], c: int) -> int:
        coder, area, width = self.coder, self.area, self.width
        above = _sign_of(before[c])
        if self.grid:
            place = c % area
            across, is_below = place % width, place >= width
            left = _sign_of(line[c - 1]) if across > 0 else 0
            north = _sign_of(line[c - width]) if is_below else 0
            corner = _sign_of(line[c - width - 1]) if is_below and across > 0 else 0
            other = _sign_of(line[c - width + 1]) if is_below and across < width - 1 else 0
            near = 5 * (left + north + 2) + corner + other + 2
            h = _clip(sum(_sign_of(symbol) for symbol in line[c - place : c]), -3, 3) + 3
        else:
            near = 3 * ((_sign_of(line[c - 1]) if c > 0 else 0) + 1) + above + 1
            h = 7
        contexts = [(coder.sign_near[self.grid], near), (coder.sign_kernel, h), (coder.sign_above, 3 * h + above + 1)]
        contexts += [(self.row_sign, 0), (self.column_signs, c)]
        return coder.mixed(coder.sign_weights[self.grid], [], contexts, 10)

    def _magnitude(self, line: list[int], before: list[int], c: int, code: int, sizes: int, above: int) -> int:
        coder, area, width = self.coder, self.area, self.width
        mean = (sizes >> 1) + 4
        log = mean.bit_length() - 1
        expected = min(2 * (log - 2) + (mean >> (log - 1)) % 2, 15)
        place = c % area
        if self.grid:
            there = ((place % width > 0, 1), (place >= width, width), (c >= area, area))
            seen = [abs(line[c - back]) for is_there, back in there if is_there]
            nearby = sum(seen) * 3 // max(len(seen), 1)
        else:
            nearby = sum(map(abs, line[max(c - 2, 0) : c])) + abs(before[c])
        n = min(nearby.bit_length(), 9)
        o = 0 if above < 0 else min((min(above, 255) + 1).bit_length(), 7)
        parts = sum(code // 4 // 3**i % 3 for i in range(4))
        w = 0 if parts == 0 else 1 if parts < 4 else 2
        d = min(place, 15) if self.grid else 16
        e = 0
        while True:
            i = min(e, 12)
            contexts = [
                (coder.size_expected, 16 * i + expected),
                (coder.size_near, 80 * i + 8 * n + o),
                (coder.size_place, 39 * d + 3 * i + w),
            ]
            if not coder.mixed(coder.size_weights[min(e, 3)], [256], contexts, 16):
                break
            e += 1
            _check(e <= 29, "a symbol is too large")
        size = 1
        for number in range(e):
            if number < 3:
                i = 8 * min(e, 12) + size
                bit = coder.bit(_clip(coder.size_bits.chances[i] >> 6, 1, 65535))
                coder.size_bits.learn(i, bit)
            else:
                bit = coder.bit(32768)
            size = 2 * size + bit
        return size


def _sign_of(symbol: int) -> int:
    return (symbol > 0) - (symbol < 0)


def _range_tensor(coder: _Coder, bands: tuple[_Band, ...]) -> NDArray[np.int64]:
    first = bands[0].shape
    rows, columns = (first or (1,))[0], math.prod(first[1:])
    units: list[int] = []
    active = coder.activities
    if len(bands) == 1 and active and columns >= 2 and columns % len(active) == 0:
        units = [active[c // (columns // len(active))] for c in range(columns)]
    decoded: list[_BandDecoder] = []
    for band in bands:
        parents = [i for i in range(1, len(decoded)) if bands[i].orientation == band.orientation]
        parents = [i for i in parents if bands[i].level == band.level + 1] or [0]
        one = _BandDecoder(coder, band, units, decoded[parents[0]] if decoded else None)
        one.decode()
        decoded.append(one)
    if len(bands) == 1 and rows >= 2 and columns >= 2:
        nonzero = np.count_nonzero(decoded[0].symbols, axis=1).tolist()
        total = sum(nonzero)
        coder.activities = [min(7, 1 + 3 * some * rows // total) if some else 0 for some in nonzero]
    return np.concatenate([one.symbols.reshape(-1) for one in decoded]).astype(np.int64)


def _range_symbols(content: bytes, tensors: list[_Tensor]) -> list[NDArray[np.int64]]:
    """The symbols of all coded tensors."""
    groups: list[list[_Tensor]] = []
    total = 2**20
    for tensor in tensors:
        if total >= 2**20:
            groups.append([])
            total = 0
        groups[-1].append(tensor)
        total += sum(band.count for band in tensor.bands)
    stream = _Bytes(content, "stream 0")
    sizes = [stream.size() for _ in groups[1:]]
    found = []
    for group, size in zip(groups, [*sizes, None], strict=False):
        coder = _Coder(stream.take(len(content) - stream.at if size is None else size))
        try:
            found += [_range_tensor(coder, tensor.bands) for tensor in group]
        except IndexError:
            _refuse("a range stream ends early")
        coder.end()
    stream.end()
    return found


# ---- coefficients to weights ----------------------------------------------------------------------------------------


def _filters(name: Any) -> tuple[list[float], list[float]]:
    """The low-pass and the high-pass filter of synthesis."""
    _check(isinstance(name, str), "a wavelet has no name")
    try:
        import pywt

        _check(name in pywt.wavelist(kind="discrete"), f"the wavelet {name!r} is unknown")
        wavelet = pywt.Wavelet(name)
        return list(wavelet.rec_lo), list(wavelet.rec_hi)
    except ImportError:
        pass
    if name.startswith("rbio") and "bior" + name[4:] in FILTERS:
        low, analysis = (taps[::-1] for taps in reversed(FILTERS["bior" + name[4:]]))
    elif name in FILTERS:
        low, analysis = FILTERS[name]
    else:
        raise DecodeError(f"the filters of the wavelet {name!r} are not in this file: pip install PyWavelets")
    return low, [tap if i % 2 == 0 else -tap for i, tap in enumerate(analysis)]


def _merged(low: Numbers, high: Numbers, filters: tuple[list[float], list[float]], mode: str, length: int) -> Numbers:
    """One level of synthesis along the last axis, cut to `length`."""
    taps, count = len(filters[0]), low.shape[-1]
    ahead = taps // 2 - 1 if mode == "periodization" else taps - 2
    out = np.zeros((*low.shape[:-1], length))
    for phase in range(min(2, length)):
        target = out[..., phase::2]
        for tap in range((phase + ahead) % 2, taps, 2):
            source = (np.arange(target.shape[-1]) + (phase + ahead - tap) // 2) % count
            target += filters[0][tap] * low[..., source]
            target += filters[1][tap] * high[..., source]
    return out


def _wavelet(coefficients: Numbers, tensor: _Tensor) -> Numbers:
    basis, mode = tensor.basis, tensor.basis["mode"]
    filters = _filters(basis["wavelet"])
    pieces = np.split(coefficients, np.cumsum([band.count for band in tensor.bands])[:-1])
    arrays = [piece.reshape(band.shape) for piece, band in zip(pieces, tensor.bands, strict=True)]
    shapes = {band.level: band.shape for band in tensor.bands} | {0: tensor.view}
    signal = arrays.pop(0)
    for level in range(tensor.bands[0].level, 0, -1):
        split = [axis for axis, levels in zip(basis["axes"], basis["levels"], strict=True) if levels >= level]
        parts = [signal, *arrays[: 2 ** len(split) - 1]]
        del arrays[: len(parts) - 1]
        for axis in reversed(split):  # the last letter of an orientation changes fastest
            ends = [np.moveaxis(part, axis, -1) for part in parts]
            length = shapes[level - 1][axis]
            merged = [_merged(low, high, filters, mode, length) for low, high in zip(ends[::2], ends[1::2], strict=True)]
            parts = [np.moveaxis(part, -1, axis) for part in merged]
        (signal,) = parts
    return signal


def _dct(coefficients: Numbers, axes: Sequence[int]) -> Numbers:
    """The inverse of the orthonormal DCT-II, by a Fourier transform of twice the length."""
    for axis in axes:
        rows = np.moveaxis(coefficients, axis, -1)
        length = rows.shape[-1]
        scale = np.sqrt(np.where(np.arange(length) == 0, 1, 2) / length)
        turned = rows * scale * np.exp(0.5j * np.pi / length * np.arange(length))
        waves = 2 * length * np.fft.ifft(turned, 2 * length, axis=-1).real[..., :length]
        coefficients = np.moveaxis(waves, -1, axis)
    return coefficients


def _coded(tensor: _Tensor, symbols: NDArray[np.int64], stream: _Bytes) -> Numbers:
    """The weights of a coded tensor, float32."""
    match tensor.values:
        case {"steps": steps}:
            of_band = steps if len(steps) > 1 else steps * len(tensor.bands)
            coefficients = symbols * np.repeat(np.array(of_band, float), [band.count for band in tensor.bands])
        case {"codebook": [n, p]}:
            numbers = np.frombuffer(stream.take(2 * (n + p)), "<f2").astype(float)
            _check(not symbols.size or (-n <= symbols.min() and symbols.max() <= p), f"{tensor.name!r} leaves its codebook")
            table = np.concatenate([numbers[:n][::-1], [0.0], numbers[n:]])
            coefficients = table[symbols + n]
        case {"each": kind}:
            coefficients = np.zeros(symbols.size)
            stored = stream.take(np.count_nonzero(symbols) * TYPES[kind].itemsize)
            coefficients[symbols != 0] = np.frombuffer(stored, TYPES[kind])
    if tensor.basis["kind"] == "wavelet":
        signal = _wavelet(coefficients, tensor)
    else:
        signal = _dct(coefficients.reshape(tensor.view), tensor.basis.get("axes", []))
    return signal.reshape(tensor.shape).astype(np.float32)


def _raw(tensor: _Tensor, stream: _Bytes) -> Numbers:
    kind = TYPES[tensor.stored]
    stored = stream.take(math.prod(tensor.shape) * kind.itemsize)
    _check(kind != np.dtype(bool) or max(stored, default=0) < 2, f"a bool of {tensor.name!r} is neither 0 nor 1")
    numbers = np.frombuffer(stored, kind).reshape(tensor.shape)
    if tensor.dtype != "bfloat16":
        return numbers.astype(np.dtype(tensor.dtype))
    single = numbers.astype(np.float32)
    bits = single.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32)
    return np.where(np.isnan(single), single, rounded.view(np.float32))


def decode(content: bytes, numbers: int | None = None) -> dict[str, Numbers]:
    """The tensors of a `.wsz` file by name, in its order; bfloat16 ones as float32.

    Args:
        content: the bytes of the file.
        numbers: how many numbers the file may declare; if None, 2**26, and 2**22 + 2**12 for each byte of the file.

    Raises:
        DecodeError: the file is damaged, declares too much, or needs something that this decoder lacks.
    """
    limit = min(2**26, 2**22 + 2**12 * len(content)) if numbers is None else numbers
    file = _Bytes(content, "the file")
    _check(file.take(4) == b"\x89WSZ", "it does not begin as one")
    version = file.integer(2)
    _check(version == 3, f"version {version}; this decoder reads version 3")
    _check(file.integer(4) == zlib.crc32(content[10:]), "the checksum is wrong")
    sizes = [file.size() for _ in range(3)]
    _check(sizes[0] <= HEADER_BYTES, "the header is too large")
    header, coefficients, raw = (file.take(size) for size in sizes)
    file.end()
    coder, tensors = _header(header, limit)
    coded = [tensor for tensor in tensors if tensor.kind == "coded"]
    if coder == "range":
        symbols = _range_symbols(coefficients, coded)
    else:
        stream = _Bytes(coefficients, "stream 0")
        read = _packed_symbols if coder == "none" else lambda *of: _huffman_symbols(*of, limit)
        symbols = [read(stream, sum(band.count for band in tensor.bands)) for tensor in coded]
        stream.end()
    of_tensor = dict(zip((tensor.name for tensor in coded), symbols, strict=True))
    stream, found = _Bytes(raw, "stream 1"), {}
    with np.errstate(all="ignore"):
        for tensor in tensors:
            if tensor.kind == "same":
                found[tensor.name] = found[tensor.of]
            else:
                found[tensor.name] = (
                    _raw(tensor, stream) if tensor.kind == "raw" else _coded(tensor, of_tensor[tensor.name], stream)
                )
    stream.end()
    return found


def main(arguments: list[str]) -> int:
    """The command line; the exit status."""
    if len(arguments) not in (1, 2):
        print("usage: python decoder.py FILE [OUT.npz]", file=sys.stderr)
        return 2
    try:
        tensors = decode(Path(arguments[0]).read_bytes())
        if len(arguments) == 2:
            with zipfile.ZipFile(arguments[1], "w") as archive:  # numpy.savez cannot write a tensor that is named `file`
                for name, tensor in tensors.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        np.lib.format.write_array(file, tensor, allow_pickle=False)
            return 0
    except (DecodeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, tensor in tensors.items():
        print(f"{name if name.isprintable() else ascii(name)}  {tensor.dtype}  {list(tensor.shape)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
