"""The header as a file stores it: the same content as a list without what is default, and a zlib dictionary for it.

    [coder, tensors]            or    [coder, tensors, more], an object with what is optional

A tensor is a list that begins with its name and continues, by its kind, with

    same    the other name
    raw     shape; the type it is stored in; the type it is given back as. Left out are both if they are float16 and
            float32, and the last if it is the one before.
    coded   shape; its values; its basis unless that is {"kind": "identity"}; its view if that is not the shape, and
            then always a basis. One step is a number, several are a list, all else is an object. A basis
            without a kind has those of `_WAVELET` where it says nothing else.
"""

from typing import Any

from wavesweep.errors import FileFormatError

_IDENTITY = {"kind": "identity"}
OPTIONAL = ("full_shapes", "made_by")
_WAVELET = {"kind": "wavelet", "mode": "periodization"}

# What headers hold: names of parameters and buffers of `torch.nn`'s modules, and words of this format. It knows no
# network. Part of the format, never changed within version 3.
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


def shorten(header: dict[str, Any]) -> list[Any]:
    """The header as a file stores it."""
    short = [header["coder"], [_short_entry(entry) for entry in header["tensors"]]]
    more = {name: header[name] for name in OPTIONAL if name in header}
    return [*short, more] if more else short


def expand(short: object) -> dict[str, Any]:
    """Inverse of `shorten`; what is not a matter of the form is left to `checked_entries`.

    Raises:
        FileFormatError: it is not of that form.
    """
    if not isinstance(short, list) or len(short) not in (2, 3) or not isinstance(short[1], list):
        raise FileFormatError("its header is not of the declared form")
    coder, entries, *rest = short
    more = rest[0] if rest else {}
    if not isinstance(more, dict) or bool(rest) != bool(more) or not more.keys() <= set(OPTIONAL):
        raise FileFormatError("its header is not of the declared form")
    return {"coder": coder, "tensors": [_entry(entry) for entry in entries], **more}


def _short_entry(entry: dict[str, Any]) -> list[Any]:
    if entry["kind"] == "same":
        return [entry["name"], entry["of"]]
    if entry["kind"] == "raw":
        types = [entry["stored"], entry["dtype"]]
        if types == ["float16", "float32"]:
            types = []
        return [entry["name"], entry["shape"], *(types[:1] if types[:1] == types[1:] else types)]
    basis, values = dict(entry["basis"]), entry["values"]
    if basis.items() >= _WAVELET.items():
        basis = {key: value for key, value in basis.items() if key not in _WAVELET}
    elif basis["kind"] == "wavelet":
        del basis["kind"]
    if list(values) == ["steps"]:
        values = values["steps"][0] if len(values["steps"]) == 1 else values["steps"]
    short = [entry["name"], entry["shape"], values]
    if "view" in entry:
        return [*short, basis, entry["view"]]
    return short if basis == _IDENTITY else [*short, basis]


def _entry(short: object) -> dict[str, Any]:
    if not isinstance(short, list) or not 2 <= len(short) <= 5:
        raise FileFormatError("its header has a tensor of unknown form")
    name, shape, *rest = short
    if isinstance(shape, str):
        if rest:
            raise FileFormatError("its header has a tensor of unknown form")
        return {"kind": "same", "name": name, "of": shape}
    if not rest or isinstance(rest[0], str):
        stored, dtype, *more = [*rest, *rest] if len(rest) == 1 else rest or ["float16", "float32"]
        if more:
            raise FileFormatError("its header has a tensor of unknown form")
        return {"kind": "raw", "name": name, "shape": shape, "stored": stored, "dtype": dtype}
    values, basis, *view = rest if len(rest) > 1 else [*rest, _IDENTITY]
    if not isinstance(basis, dict):
        raise FileFormatError("its header has a basis of unknown form")
    if not isinstance(values, dict):
        values = {"steps": values if isinstance(values, list) else [values]}
    if "kind" not in basis:
        basis = _WAVELET | basis
    entry = {"kind": "coded", "name": name, "shape": shape, "basis": basis, "values": values}
    return entry | {"view": view[0]} if view else entry
