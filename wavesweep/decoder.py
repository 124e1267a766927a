"""A second decoder of the `.wsz` format, version 3: one file that can be copied into another project.

Written from `docs/reference/format.md`, which explains its numbers. It needs NumPy, and PyWavelets for wavelets
that `FILTERS` lacks. Tensors are those of `wavesweep.load`, bit by bit (`dct` to about 1e-6).

    python decoder.py FILE               # a table of names, types and shapes
    python decoder.py FILE OUT.npz       # the tensors, for numpy.load
"""

import itertools
import json
import math
import sys
import zlib
from collections.abc import Callable, Sequence
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
TYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
MODES = "zero constant symmetric periodic smooth periodization reflect antisymmetric antireflect"
# PyWavelets' low-pass filters of synthesis, and those of analysis where they are not the former reversed.
FILTERS = {
    "haar": [[0.7071067811865476, 0.7071067811865476]],
    "db2": [[0.48296291314453416, 0.8365163037378079, 0.2241438680420134, -0.12940952255126037]],
    "bior2.2": [
        [0.0, 0.3535533905932738, 0.7071067811865476, 0.3535533905932738, 0.0, 0.0],
        [0.0, -0.1767766952966369, 0.3535533905932738, 1.0606601717798212, 0.3535533905932738, -0.1767766952966369],
    ],
}
HEADER_BYTES, SUBBANDS, AXES, LARGEST = 2**20, 64, 8, 2**30 - 1
Numbers = NDArray[Any]
Band = tuple[int, str, tuple[int, ...]]  # level, orientation, shape


class DecodeError(Exception):
    """A file that this decoder refuses; one line says why."""


def _check(holds: object, why: str) -> None:
    if not holds:
        raise DecodeError(f"not a valid .wsz file: {why}")


class _Bytes:  # bytes that are taken from the front; `what` names them in errors
    def __init__(self, content: bytes, what: str) -> None:
        self.content, self.at, self.what = content, 0, what

    def take(self, count: int) -> bytes:
        _check(count <= len(self.content) - self.at, f"{self.what} ends early")
        self.at += count
        return self.content[self.at - count : self.at]

    def integer(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def size(self) -> int:
        value, shift, byte = 0, 0, 128
        while byte & 128:
            _check(shift < 63, "a size takes more than 9 bytes")
            byte = self.integer(1)
            value |= (byte & 127) << shift
            shift += 7
        return value

    def bits(self, count: int, width: int) -> Numbers:  # `count` integers of `width` bits, the most significant first
        bits = np.unpackbits(np.frombuffer(self.take((count * width + 7) // 8), np.uint8), count=count * width)
        values = np.zeros(count, np.int64)
        for column in range(width):
            values = 2 * values + bits[column::width]
        return values

    def numbers(self, kind: str, count: int) -> Numbers:
        dtype = np.dtype(kind).newbyteorder("<")
        return np.frombuffer(self.take(count * dtype.itemsize), dtype).astype(kind)

    def end(self) -> None:
        _check(self.at == len(self.content), f"{self.what} has {len(self.content) - self.at} bytes too many")

    def packed_symbols(self, count: int) -> Numbers:
        mode, lowest, width, nonzero = self.integer(1), self.integer(4, True), self.integer(1), self.integer(8)
        _check(mode < 2 and width <= 32 and nonzero <= count, "packed symbols have an unknown form")
        if mode == 0:
            return self.bits(count, width) + lowest
        symbols, mask = np.zeros(count, np.int64), self.bits(count, 1) == 1
        _check(np.count_nonzero(mask) == nonzero, "a mask does not fit the number of its symbols")
        symbols[mask] = self.bits(nonzero, width) + lowest
        return symbols

    def _huffman_numbers(self, count: int) -> Numbers:  # so many, of which each has a canonical code
        lowest, entries = self.integer(4, True), self.integer(4)
        table, codes = self.take(self.integer(4)), self.take(self.integer(4))
        _check(entries <= 2**21 and count <= 8 * len(codes), "a Huffman table is too large, or has too few codes")
        inflate = zlib.decompressobj()
        lengths = np.frombuffer(inflate.decompress(table, entries + 1), np.uint8)
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        shares = 2 ** np.maximum(16 - lengths[order].astype(np.int64), 0)  # of the 16 bits that may come next
        sound = inflate.eof and len(lengths) == entries and lengths.max(initial=0) <= 16 and shares.sum() <= 65536
        _check(sound, "a Huffman table is broken")
        entry_of, length_of = np.repeat(order + lowest, shares).tolist(), np.repeat(lengths[order], shares).tolist()
        padded, found, at = codes + bytes(3), [], 0
        for _ in range(count):
            window = int.from_bytes(padded[at >> 3 : (at >> 3) + 3], "big") >> (8 - at % 8) & 0xFFFF
            _check(window < len(entry_of), "a Huffman code is not in its table")
            found.append(entry_of[window])
            at += length_of[window]
        _check((at + 7) // 8 == len(codes), "Huffman codes are too short or too long")
        return np.array(found, np.int64)

    def huffman_symbols(self, count: int) -> Numbers:
        index_bits, pairs = self.integer(1), self.integer(4)
        _check(index_bits <= 16 and pairs <= count, "a tensor has more pairs than symbols")
        zeros, values = self._huffman_numbers(pairs), self._huffman_numbers(pairs)
        places = np.cumsum(zeros + 1) - 1
        _check(zeros.min(initial=0) >= 0 and places.max(initial=-1) < count, "symbols lie outside their tensor")
        symbols = np.zeros(count, np.int64)
        symbols[places] = values
        return symbols


class _Tensor(NamedTuple):
    name: str
    kind: str  # same, raw or coded
    spec: Any  # the other name; types as stored and as given back; values and basis
    shape: tuple[int, ...] = ()
    view: tuple[int, ...] = ()
    bands: tuple[Band, ...] = ()
    size: int = 0  # of numbers, or of coefficients

    def _wavelet(self, coefficients: Numbers, basis: dict[str, Any]) -> Numbers:
        pieces = np.split(coefficients, np.cumsum([math.prod(shape) for _, _, shape in self.bands])[:-1])
        details = [piece.reshape(shape) for piece, (_, _, shape) in zip(pieces, self.bands, strict=True)]
        shapes = {level: shape for level, _, shape in self.bands} | {0: self.view}
        signal, filters = details.pop(0), _filters(basis["wavelet"])
        for level in range(self.bands[0][0], 0, -1):
            axes = [axis for axis, most in zip(basis["axes"], basis["levels"], strict=True) if most >= level]
            parts = [signal, *details[: 2 ** len(axes) - 1]]
            details = details[len(parts) - 1 :]
            for axis in reversed(axes):  # its letter changes fastest
                pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
                parts = [_merged(pair, axis, filters, basis["mode"], shapes[level - 1][axis]) for pair in pairs]
            signal = parts[0]
        return signal

    def _dct(self, coefficients: Numbers, basis: dict[str, Any]) -> Numbers:
        """The inverse of the orthonormal DCT-II, by a Fourier transform of twice the length; or of the identity."""
        coefficients = coefficients.reshape(self.view)
        for axis in basis.get("axes", []) if coefficients.size else ():
            rows, k = np.moveaxis(coefficients, axis, -1), np.arange(self.view[axis])
            turned = rows * np.sqrt(np.where(k == 0, 1, 2) / len(k)) * np.exp(0.5j * np.pi / len(k) * k)
            coefficients = np.moveaxis(2 * len(k) * np.fft.ifft(turned, 2 * len(k)).real[..., : len(k)], -1, axis)
        return coefficients

    def coded(self, symbols: Numbers, stream: _Bytes) -> Numbers:
        values, basis = self.spec
        _check(abs(symbols).max(initial=0) <= LARGEST, f"tensor {self.name} has a symbol that is too large")
        if "steps" in values:
            steps = np.broadcast_to(np.array(values["steps"], float), len(self.bands))
            coefficients = symbols * np.repeat(steps, [math.prod(shape) for _, _, shape in self.bands])
        elif "codebook" in values:
            n, p = values["codebook"]
            table = np.concatenate([stream.numbers("float16", n)[::-1], [0.0], stream.numbers("float16", p)])
            inside = symbols.min(initial=0) >= -n and symbols.max(initial=0) <= p
            _check(inside, f"tensor {self.name} has a symbol outside its codebook")
            coefficients = table[symbols + n]
        else:
            coefficients = np.zeros(symbols.size)
            coefficients[symbols != 0] = stream.numbers(values["each"], int(np.count_nonzero(symbols)))
        signal = (self._wavelet if basis["kind"] == "wavelet" else self._dct)(coefficients, basis)
        return signal.reshape(self.shape).astype(np.float32)

    def raw(self, stream: _Bytes) -> Numbers:
        stored, dtype = self.spec
        numbers = stream.numbers("uint8" if stored == "bool" else stored, self.size).reshape(self.shape)
        if dtype != "bfloat16":
            return numbers.astype(dtype)
        single = numbers.astype(np.float32)
        bits = single.view(np.uint32)  # of which the upper half remains, rounded to even
        rounded = (bits + 0x7FFF + (bits >> 16 & 1) & np.uint32(0xFFFF0000)).view(np.float32)
        return np.where(np.isnan(single), single, rounded)


def _sizes(value: Any, name: str) -> tuple[int, ...]:
    sound = isinstance(value, list) and len(value) <= AXES and all(type(x) is int and 0 <= x < 2**62 for x in value)
    _check(sound, f"tensor {name} has a list that is not one of at most {AXES} sizes")
    return tuple(value)


def _tensor(name: str, second: Any, *rest: Any) -> _Tensor:  # a tensor from its short form in the header
    _check(len(name) <= 500 and name.isprintable(), "a tensor has no proper name")
    if isinstance(second, str):
        return _Tensor(name, "same", second)
    shape = _sizes(second, name)
    if not rest or isinstance(rest[0], str):
        stored, dtype = rest * 2 if len(rest) == 1 else rest or ("float16", "float32")
        _check(stored in TYPES and dtype in (*TYPES, "bfloat16"), f"tensor {name} has an unknown type")
        return _Tensor(name, "raw", (stored, dtype), shape, size=math.prod(shape))
    values, basis, view = [*rest, *[{"kind": "identity"}, second][len(rest) - 1 :]]
    view = _sizes(view, name)
    _check(math.prod(view) == math.prod(shape), f"tensor {name} has a view of another size than its shape")
    basis = basis if "kind" in basis else {"kind": "wavelet", "mode": "periodization", **basis}
    bands = _bands(view, name, basis)
    values = values if isinstance(values, dict) else {"steps": values if isinstance(values, list) else [values]}
    match values:
        case {"steps": [*steps]}:
            sound = len(steps) in (1, len(bands)) and all(type(x) in (int, float) and 0 < x < math.inf for x in steps)
        case {"codebook": [*book]}:
            sound = len(book) == 2 and all(type(n) is int and 0 <= n <= 2**20 for n in book)
        case _:
            sound = values["each"] in ("float16", "float32")
    _check(sound and len(values) == 1, f"tensor {name} does not say what its symbols stand for")
    return _Tensor(name, "coded", (values, basis), shape, view, bands, sum(math.prod(band[2]) for band in bands))


def _bands(view: tuple[int, ...], name: str, basis: dict[str, Any]) -> tuple[Band, ...]:  # in the file's order
    keys = {"identity": ["kind"], "dct": ["kind", "axes"], "wavelet": ["kind", "axes", "levels", "wavelet", "mode"]}
    if basis["kind"] not in keys:
        raise DecodeError(f"tensor {name}: the basis {basis['kind']!r:.40} is not supported; use wavesweep.load")
    _check(set(basis) <= set(keys[basis["kind"]]), f"tensor {name} has a basis with unknown parameters")
    axes = _sizes(basis.get("axes", []), name)
    _check(len(set(axes)) == len(axes) and max(axes, default=-1) < len(view), f"tensor {name} lacks axes of its basis")
    if basis["kind"] != "wavelet":
        return ((0, "", view),)
    mode, levels, taps = basis["mode"], _sizes(basis["levels"], name), len(_filters(basis["wavelet"])[0])
    sound = mode in MODES.split() and len(levels) == len(axes) and any(levels)
    _check(sound, f"tensor {name} has an unknown wavelet mode, or no levels")
    for axis, level in zip(axes, levels, strict=True):
        _check(level < 62 and (level == 0 or (taps - 1) << level <= view[axis]), f"tensor {name} has too many levels")
    shape, bands = list(view), []  # the finest band of a level, and of all, first
    for level in range(1, max(levels) + 1):
        options = ["ad" if most >= level else "-" for most in levels]
        for axis, option in zip(axes, options, strict=True):
            if option == "ad":
                shape[axis] = (shape[axis] + (1 if mode == "periodization" else taps - 1)) // 2
        letters = ["".join(each) for each in itertools.product(*options)]
        bands += [(level, orientation, tuple(shape)) for orientation in reversed(letters) if "d" in orientation]
    _check(len(bands) < SUBBANDS, f"tensor {name} has more than {SUBBANDS} subbands")
    return ((max(levels), "", tuple(shape)), *reversed(bands))


HALF, MASK = 2**21, 2**56 - 1
_K = [min(max(round(65536 / (1 + math.exp(-x / 256))), 1), 65535) for x in range(-3072, 3073, 64)]
SQUASH = [(_K[x // 64] * (64 - x % 64) + _K[x // 64 + 1] * (x % 64) + 32) // 64 for x in range(6144)]  # at x + 3072
STRETCH = np.clip(np.searchsorted(np.array(SQUASH), np.arange(65536)) - 3072, -3071, 3071).tolist()
RATES = [655360 // (10 * n + 16) for n in range(1001)]
# By near and corners, that is 4 * near + corners: the sum of the digits of near, and 4 * cluster.
PARTS = [sum(near // 3**i % 3 for i in range(4)) for near in range(81) for _ in range(4)]
CLUSTERS = [4 * min(parts + (i % 4 + 1) // 2, 6) for i, parts in enumerate(PARTS)]


class _Contexts(NamedTuple):
    chances: list[int]  # of the next bit being 1, in 2**22ths
    counts: list[int]  # of what each has seen
    most: int = 250  # to which counts grow

    def learn(self, i: int, bit: int) -> None:
        self.chances[i] += ((bit << 22) - self.chances[i]) * RATES[self.counts[i]] >> 16
        self.counts[i] = min(self.counts[i] + 1, self.most)


def _contexts(size: int, first: Callable[[int], int] = lambda i: 2**15, count: int = 0, most: int = 250) -> _Contexts:
    return _Contexts([first(i) << 6 for i in range(size)], [count] * size, most)


class _Coder:  # the binary arithmetic decoder of one stream, and what is learned over the stream
    def __init__(self, data: bytes) -> None:
        self.data, self.padded = data, data + bytes(7)  # beyond them, more was shifted out than there is
        self.low, self.high, self.at, self.value = 0, MASK, 7, int.from_bytes(self.padded[:7], "big")
        self.near, self.place = [_contexts(324), _contexts(324)], _contexts(32 * 8)  # the first of two without a grid
        self.odds = [_contexts(48 * 4, lambda i: SQUASH[128 * (i // 4) + 64], 4) for _ in range(2)]
        self.cluster = _contexts(24 * 28, lambda i: SQUASH[256 * (i // 28) + 128], 4)
        self.refined = _contexts(28 * 13, lambda i: SQUASH[min(512 * (i % 13), 6143)], 6)
        self.sign_near, self.sign_kernel, self.sign_above = [_contexts(9), _contexts(25)], _contexts(8), _contexts(24)
        y = [max((5 + 2 * (x % 2)) * 2 ** (2 + x // 2) // 4 - 4, 1) for x in range(16)]
        sizes = [65536 * each // (each + 16) for each in y]
        for _ in range(12 * 16):
            sizes.append(sizes[-16] ** 2 >> 16)
        self.size_expected = _contexts(13 * 16, lambda i: min(max(sizes[i], 131), 65405), 3)
        self.size_near, self.size_place, self.size_bits = _contexts(13 * 80), _contexts(17 * 39), _contexts(13 * 8)
        hundredths = [(0, 20, 20, 15, 10, 20, 20, 0)] * 9 + [(35,) * 5] * 2 + [(50, 30, 20, 0)] * 4
        weights = [[65536 * number // 100 for number in numbers] for numbers in hundredths]
        self.flag_weights, self.sign_weights, self.size_weights = weights[:9], weights[9:11], weights[11:]
        self.activities: list[int] = []  # of the rows of a tensor before

    def bit(self, p: int) -> int:  # the next bit, whose chance of being 1 is `p` 65,536ths
        low, high, value = self.low, self.high, self.value
        span = high - low
        middle = low + (span >> 16) * p + ((span & 65535) * p >> 16)
        bit = 1 if value <= middle else 0
        low, high = (low, middle) if bit else (middle + 1, high)
        while low ^ high < 281474976710656:  # 2**48: the highest of their seven bytes are equal
            low, high = low << 8 & MASK, high << 8 & MASK | 255
            value = value << 8 & MASK | self.padded[self.at]
            self.at += 1
        self.low, self.high, self.value = low, high, value
        return bit

    def mixed(self, weights: list[int], contexts: Sequence[tuple[_Contexts, int]], rate: int, *others: int) -> int:
        """The next bit by the mix of contexts and of other log-odds."""
        inputs = [STRETCH[context.chances[i] >> 6] for context, i in contexts] + [*others]
        p = SQUASH[min(max(sum(map(mul, weights, inputs)) >> 16, -3071), 3071) + 3072]
        bit = self.bit(p)
        error = ((bit << 16) - p) * rate
        weights[:] = [w + (x * error + 131072 >> 18) for w, x in zip(weights, inputs, strict=True)]
        for context, i in contexts:
            context.learn(i, bit)
        return bit

    def tensor(self, bands: Sequence[Band]) -> Numbers:
        rows, columns = (*bands[0][2], 1)[0], math.prod(bands[0][2][1:])
        units, active, decoded = list[int](), self.activities, dict[tuple[int, str], _BandDecoder]()
        if len(bands) == 1 and active and columns >= 2 and columns % len(active) == 0:
            units = [active[c // (columns // len(active))] for c in range(columns)]
        for level, orientation, shape in bands:
            parent = decoded.get((level + 1, orientation), next(iter(decoded.values()), None))
            decoded[level, orientation] = _BandDecoder(self, shape or (1,), units, parent)
            decoded[level, orientation].decode()
        symbols = np.concatenate([one.symbols.reshape(-1) for one in decoded.values()]).astype(np.int64)
        if len(bands) == 1 and rows >= 2 and columns >= 2:
            nonzero = np.count_nonzero(symbols.reshape(rows, columns), axis=1).tolist()
            self.activities = [min(7, 1 + 3 * some * rows // sum(nonzero)) if some else 0 for some in nonzero]
        return symbols

    def end(self) -> None:  # refuses a stream that does not end as an encoder ends it
        shift = next(shift for shift in range(56, -1, -8) if -(-self.low >> shift) << shift <= self.high)
        tail = (-(-self.low >> shift)).to_bytes(7 - shift // 8, "big")
        _check(self.data[self.at - 7 :] == tail, "a range stream does not end with its tensors")


class _BandDecoder:  # one band while it is decoded, and what the bands below take from it
    def __init__(self, coder: _Coder, shape: tuple[int, ...], units: list[int], parent: "_BandDecoder | None") -> None:
        self.coder, self.shape, area = coder, shape, math.prod(shape[2:])
        self.area, self.width = (area, shape[-1]) if len(shape) > 2 and 0 < area <= 64 else (1, 1)
        self.grid = int(self.area > 1)
        self.rows, self.columns = shape[0], math.prod(shape[1:])
        self.is_taken = self.rows == 1 and self.columns > self.area  # as several rows
        if self.is_taken:
            self.rows, self.columns, units = self.columns // self.area, self.area, []
        self.symbols = np.zeros((self.rows, self.columns), np.int32)
        units = units or [0] * self.columns
        self.places = [8 * min(c % self.area, 31) + units[c] for c in range(self.columns)]
        self.row_chances, self.column_chances = [-1] * self.rows, [-1] * self.columns  # -1: as the band's, when reached
        self.chance, self.count, self.size, self.size_count, self.row_size, self.row_count = HALF, 0, 16, 0, 16, 1
        self.column_sizes, self.column_counts = [0] * self.columns, [0] * self.columns
        self.column_signs = _contexts(self.columns, count=3, most=253)
        self.above: Numbers | None = None
        if parent is None:
            return
        sizes = zip(shape, parent.shape, strict=True)
        maps = [np.minimum(np.arange(size) // (1 if size == over else 2), over - 1) for size, over in sizes]
        self.above = parent.symbols.reshape(parent.shape)[np.ix_(*maps)].reshape(self.rows, self.columns)
        self.chance, self.count = parent.chance, 4
        if not self.is_taken and not parent.is_taken:
            self.row_chances = [parent.row_chances[i] for i in maps[0].tolist()]
            if len(shape) > 1:
                columns = np.arange(parent.columns).reshape(parent.shape[1:])[np.ix_(*maps[1:])].reshape(-1)
                self.column_chances = [parent.column_chances[i] for i in columns.tolist()]

    def decode(self) -> None:
        """Fills `symbols`. Flags of zeros are decoded here, in local variables: nearly all symbols are zero."""
        coder, columns, column_chances, places = self.coder, self.columns, self.column_chances, self.places
        squash, stretch, rates, clusters = SQUASH, STRETCH, RATES, CLUSTERS
        (near, near_n, _), (place, place_n, _) = coder.near[self.grid], coder.place
        (odds, odds_n, _), (cluster, cluster_n, _) = coder.odds[self.grid], coder.cluster
        refined, refined_n, _ = coder.refined
        band, band_n = self.chance, self.count
        room = columns + self.area + 2  # symbols of a row, and 4 * near + corners of each; beyond them zeros, or unread
        parents, line, codes_below = [0] * columns, [0] * room, [0] * room
        for row in range(self.rows):
            before, line, codes, codes_below = line, [0] * room, codes_below, [0] * room
            if self.above is not None:
                parents = (1 + np.minimum(np.abs(self.above[row]), 2)).tolist()
            row_chance = self.row_chances[row] if self.row_chances[row] >= 0 else band
            self.row_size, self.row_count, self.row_sign = self.size, 1, _contexts(1, count=3, most=253)
            column_rate = rates[1 + min(row, 250)]
            for u, (start, stop) in enumerate(((0, 4), (4, 24), (24, columns))):
                w0, w1, w2, w3, w4, w5, w6, w7 = weights = coder.flag_weights[3 * u + (row >= 3) + (row >= 16)]
                for c in range(start, min(stop, columns)):
                    chance = column_chances[c] if column_chances[c] >= 0 else band
                    x1, x2 = stretch[row_chance >> 6], stretch[chance >> 6]
                    x3 = x1 + x2 - stretch[band >> 6]
                    x3 = 3071 if x3 > 3071 else -3071 if x3 < -3071 else x3
                    k, i4, i5 = x3 + 3072 >> 7, codes[c], places[c]
                    i6, i8 = 4 * k + parents[c], clusters[i4] + parents[c]
                    i7 = 28 * (k >> 1) + i8
                    x4, x5 = stretch[near[i4] >> 6], stretch[place[i5] >> 6]
                    x6, x7 = stretch[odds[i6] >> 6], stretch[cluster[i7] >> 6]
                    m = 256 * w0 + x1 * w1 + x2 * w2 + x3 * w3 + x4 * w4 + x5 * w5 + x6 * w6 + x7 * w7 >> 16
                    m = 6143 if m > 3071 else 1 if m < -3071 else m + 3072
                    mixed, i8, f = squash[m], 13 * i8 + (m >> 9), m & 511
                    p = 3 * mixed + (refined[i8] * (512 - f) + refined[i8 + 1] * f >> 15) >> 2
                    p = 1 if p < 1 else 65535 if p > 65535 else p
                    bit = coder.bit(p)
                    target, error = bit << 22, ((bit << 16) - mixed) * 4
                    w0, w1 = w0 + (256 * error + 131072 >> 18), w1 + (x1 * error + 131072 >> 18)
                    w2, w3 = w2 + (x2 * error + 131072 >> 18), w3 + (x3 * error + 131072 >> 18)
                    w4, w5 = w4 + (x4 * error + 131072 >> 18), w5 + (x5 * error + 131072 >> 18)
                    w6, w7 = w6 + (x6 * error + 131072 >> 18), w7 + (x7 * error + 131072 >> 18)
                    i8 += f >= 256
                    contexts = (near, near_n, i4), (place, place_n, i5), (odds, odds_n, i6), (cluster, cluster_n, i7)
                    for chances, counts, i in (*contexts, (refined, refined_n, i8)):
                        chances[i] += (target - chances[i]) * rates[counts[i]] >> 16
                        counts[i] += counts[i] < 250
                    band += (target - band) * rates[band_n] >> 16
                    band_n += band_n < 1000
                    row_chance += (target - row_chance) * rates[4 + c if c < 250 else 254] >> 16
                    column_chances[c] = chance + ((target - chance) * column_rate >> 16)
                    if bit:
                        above = -1 if self.above is None else abs(int(self.above[row, c]))
                        line[c] = self._nonzero((line, before, codes, codes_below), c, above)
                weights[:] = w0, w1, w2, w3, w4, w5, w6, w7
            self.row_chances[row], self.symbols[row] = row_chance, line[:columns]
        self.chance, self.count = band, band_n

    def _nonzero(self, rows: Sequence[list[int]], c: int, above: int) -> int:
        """A symbol that is not zero: its sign, then its magnitude; `above` is that of its parent, or -1."""
        coder, grid, area, width, (line, before, codes, below) = self.coder, self.grid, self.area, self.width, rows
        place, across, previous, parts = c % area, c % width, before[c], PARTS[codes[c]]
        if grid:
            has_north, has_left, has_other = place >= width, across > 0, place >= width and across < width - 1
            left, channel, north = line[c - 1] * has_left, line[c - area], line[c - width] * has_north
            corner, other = line[c - width - 1] * (has_north and has_left), line[c - width + 1] * has_other
            near = 5 * (_sign(left) + _sign(north) + 2) + _sign(corner) + _sign(other) + 2
            h = min(max(sum(map(_sign, line[c - place : c])), -3), 3) + 3
            nearby = (abs(left) + abs(north) + abs(channel)) * 3 // max(has_left + has_north + (c >= area), 1)
        else:
            left, north = line[c - 1], line[c - 2]
            near, h = 3 * (_sign(left) + 1) + _sign(previous) + 1, 7
            nearby = abs(left) + abs(north) + abs(previous)
        of_sign = [(coder.sign_near[grid], near), (coder.sign_kernel, h), (self.row_sign, 0), (self.column_signs, c)]
        of_sign += [(coder.sign_above, 3 * h + _sign(previous) + 1)]
        is_negative = coder.mixed(coder.sign_weights[grid], of_sign, 10)
        column_size = self.column_sizes[c] if self.column_counts[c] else self.size
        mean = (self.row_size + column_size >> 1) + 4
        log = mean.bit_length() - 1
        expected = min(2 * (log - 2) + (mean >> log - 1) % 2, 15)
        n, o = min(nearby.bit_length(), 9), min((min(above, 255) + 1).bit_length(), 7)
        d, w = min(place, 15) if grid else 16, (parts > 0) + (parts >= 4)
        e, more = 0, 1
        while more:
            i = min(e, 12)
            of_size = [(coder.size_expected, 16 * i + expected), (coder.size_near, 80 * i + 8 * n + o)]
            of_size += [(coder.size_place, 39 * d + 3 * i + w)]
            more = coder.mixed(coder.size_weights[min(e, 3)], of_size, 16, 256)
            e += more
            _check(e <= 29, "a symbol is too large")
        size = 1
        for number in range(e):
            i = 8 * min(e, 12) + size
            bit = coder.bit(32768 if number > 2 else min(max(coder.size_bits.chances[i] >> 6, 1), 65535))
            if number <= 2:
                coder.size_bits.learn(i, bit)
            size = 2 * size + bit
        z, count = 16 * min(size - 1, 65536), self.column_counts[c]
        self.row_size += (z - self.row_size) * RATES[1 + self.row_count] >> 16
        self.column_sizes[c] = column_size + ((z - column_size) * RATES[1 + count] >> 16)
        self.size += (z - self.size) * RATES[self.size_count] >> 16
        self.row_count, self.column_counts[c] = min(self.row_count + 1, 60), min(count + 1, 60)
        self.size_count = min(self.size_count + 1, 250)
        # Those that will see it: 4 * near + corners, of the rest of its row and of the next row.
        seen, right, south = 4 * min(size, 2), across + 1 < width, place + width < area
        below[c] += 27 * seen
        if grid:
            codes[c + 1] += seen * right
            codes[c + width] += 3 * seen * south
            codes[c + width + 1] += 2 * (south and right)
            codes[c + width - 1] += south and across > 0
            codes[c + area] += 9 * seen
        else:
            codes[c + 1] += seen
            codes[c + 2] += 3 * seen
            below[c + 1] += 2
            below[c - 1] += 1
        return -size if is_negative else size


def _sign(symbol: int) -> int:
    return (symbol > 0) - (symbol < 0)


def _range_symbols(stream: _Bytes, tensors: Sequence[_Tensor]) -> list[Numbers]:
    groups, left = list[list[_Tensor]](), 0
    for tensor in tensors:
        groups += [] if left > 0 else [[]]
        groups[-1].append(tensor)
        left = (left if left > 0 else 2**20) - tensor.size
    sizes, found = [stream.size() for _ in groups[1:]], list[Numbers]()
    for number, group in enumerate(groups):
        coder = _Coder(stream.take(sizes[number] if number < len(sizes) else len(stream.content) - stream.at))
        found += [coder.tensor(tensor.bands) for tensor in group]
        coder.end()
    return found


def _filters(name: str) -> tuple[list[float], list[float]]:  # low-pass and high-pass, of synthesis
    if known := FILTERS.get(name.replace("rbio", "bior")):
        synthesis, analysis = known if len(known) == 2 else (known[0], known[0][::-1])
        if name.startswith("rbio"):
            synthesis, analysis = analysis[::-1], synthesis[::-1]
        return synthesis, [-tap if i % 2 else tap for i, tap in enumerate(analysis)]
    try:
        import pywt
    except ImportError:
        raise DecodeError(f"this decoder has no filters of the wavelet {name!r}: pip install PyWavelets") from None
    _check(name in pywt.wavelist(kind="discrete"), f"the wavelet {name!r} is unknown")
    return pywt.Wavelet(name).rec_lo, pywt.Wavelet(name).rec_hi


def _merged(pair: Sequence[Numbers], axis: int, filters: Sequence[list[float]], mode: str, length: int) -> Numbers:
    """One level of synthesis along an axis, cut to `length`."""
    bands, taps = [np.moveaxis(band, axis, -1) for band in pair], len(filters[0])
    shift = taps // 2 - 1 if mode == "periodization" else taps - 2
    out = np.zeros((*bands[0].shape[:-1], length))
    for phase in (0, 1):
        target = out[..., phase::2]
        for band, weights in zip(bands, filters, strict=True):
            for tap in range((phase + shift) % 2, taps, 2):
                if weights[tap]:
                    rows = (np.arange(target.shape[-1]) + (phase + shift - tap) // 2) % band.shape[-1]
                    target += band[..., rows] * weights[tap]
    return np.moveaxis(out, -1, axis)


def decode(content: bytes, numbers: int | None = None) -> dict[str, Numbers]:
    """The tensors of a `.wsz` file by name, in its order; bfloat16 ones as float32.

    `numbers` is how many the file may declare; if None, 2**26, and 2**22 + 2**12 for each of its bytes.

    Raises:
        DecodeError: the file is damaged, declares too much, or needs what this decoder lacks.
    """
    try:
        with np.errstate(all="ignore"):  # a hostile step may make infinities
            return _decoded(content, min(2**26, 2**22 + 2**12 * len(content)) if numbers is None else numbers)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, zlib.error) as error:
        raise DecodeError(f"not a valid .wsz file: it is damaged ({type(error).__name__})") from error


def _decoded(content: bytes, limit: int) -> dict[str, Numbers]:
    file = _Bytes(content, "the file")
    _check(file.take(6) == b"\x89WSZ\x03\0", "it does not begin as one of version 3")
    _check(file.integer(4) == zlib.crc32(content[10:]), "its checksum is wrong: it is damaged or cut off")
    packed, coefficients, raw = [file.take(size) for size in [file.size() for _ in range(3)]]
    file.end()
    inflate = zlib.decompressobj(-15, zdict=DICTIONARY)
    text = inflate.decompress(packed, HEADER_BYTES + 1)
    _check(inflate.eof and not inflate.unused_data and len(text) <= HEADER_BYTES, "its header has a wrong size")
    coder, entries, *more = json.loads(text)
    _check(coder in ("range", "huffman", "none") and set(*more) <= {"full_shapes", "made_by"}, "its header is unknown")
    tensors: dict[str, _Tensor] = {}
    for entry in entries:
        tensor = _tensor(*entry)
        known = tensor.name not in tensors and (tensor.kind != "same" or tensor.spec in tensors)
        _check(known, f"tensor {tensor.name} comes twice, or is the same as none before it")
        # An axis of length 0 must not hide others that are huge.
        limit -= max(tensor.size, *(math.prod(max(n, 1) for n in sizes) for sizes in (tensor.shape, tensor.view)))
        _check(limit >= 0, "it declares too many numbers; if you trust it, allow more")
        tensors[tensor.name] = tensor
    coded = [tensor for tensor in tensors.values() if tensor.kind == "coded"]
    stream, numbers = _Bytes(coefficients, "stream 0"), _Bytes(raw, "stream 1")
    if coder == "range":
        symbols = _range_symbols(stream, coded)
    else:
        symbols = [(stream.packed_symbols if coder == "none" else stream.huffman_symbols)(one.size) for one in coded]
    stream.end()
    of_coded, found = iter(symbols), dict[str, Numbers]()
    for tensor in tensors.values():
        if tensor.kind == "same":
            found[tensor.name] = found[tensor.spec]
        else:
            found[tensor.name] = tensor.raw(numbers) if tensor.kind == "raw" else tensor.coded(next(of_coded), numbers)
    numbers.end()
    return found


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python decoder.py FILE [OUT.npz]")
    try:
        tensors = decode(Path(sys.argv[1]).read_bytes())
        if len(sys.argv) == 3:
            np.savez(sys.argv[2], **tensors)  # type: ignore[arg-type]
    except (DecodeError, OSError, TypeError) as error:  # the last one if a tensor is named as an argument of savez
        sys.exit(f"{sys.argv[1]}: {error}")
    for name, tensor in tensors.items() if len(sys.argv) == 2 else ():
        print(f"{name}  {tensor.dtype}  {'x'.join(map(str, tensor.shape)) or 1}")
