"""The header as a file stores it: the same content as a list without what is default, and a zlib dictionary for it.

    [coder, made_by, tensors]

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
_WAVELET = {"kind": "wavelet", "mode": "periodization"}

# What headers are likely to hold, the likeliest last: part of the format, never changed within version 2.
DICTIONARY = (
    b'"mask":"scale":"running_mean":"embedding"decoder"encoder"attn.in_proj_weight"in_proj_bias"out_proj.norm2.linear'
    b'"learning_rate":"weight_decay":"optimizer":"sgd"adam"schedule":"constant"rewind":"gradual"iterative"finetune'
    b'"rounds":"ramp":"regrow":true,"precision":"bfloat16","batch_size":"augment":false,"group_weight":'
    b'"retrain":{"name":"rate","epochs":30,"quantize_epochs":2,"rate_weight":0.05,"priors":'
    b'"sensitivity":"allocation":"entropy"uniform"shrinkage":"soft","scope":"global","atom_norm":true,'
    b'"rule":"universal"absolute"value":"energy":0.95,"kept":['
    b'"coefficients":"float32","other_bits":"max_drop":"dead_zone":1.3,"per":"band","bits":'
    b'["none",["huffman",["range",{"wavesweep":"0.1.0","method":"random"unit"dct"rotation"shuffled"magnitude","'
    b'threshold":{},"quantize":{},"seed":0}],'
    b'["range",{"wavesweep":"0.1.0","method":"wavelet","threshold":{"percentile":0.0},"quantize":{"name":"kmeans"},'
    b'"quantize":{"step":0.08,"rate_weight":0.1,"importance":"second_order","images":4096,"other":"quantized"},"seed":0},[['
    b'{"codebook":[{"each":"float16"}"float64","bool"]'
    b'{"kind":"dct","axes":[0,1]},{"kind":"rotation","seed":1,"name":"{"kind":"shuffled","mode":"symmetric"'
    b'{"axes":[2,3],"wavelet":"bior4.4","levels":[3,3]},[300,1,28,28]],["'
    b'{"axes":[0,1],"wavelet":"bior2.2","levels":[2,2]}],["{"axes":[1],"wavelet":"haar","levels":[1,3]}],["'
    b'downsample.0.1.layer4.1.layer3.0.layer2.layer1.0.conv1.weight",[512,256,3,3],'
    b'shortcut.stage3_block3.stage2_block2.stage1_block1.bn2.conv2.weight",[64,32,3,3],0.00'
    b'.bn1.weight",[64]],["bn1.bias",[64]],["bn1.running_mean",[64]],["bn1.running_var",[64]],["'
    b'bn1.num_batches_tracked",[],"int64"],["conv1.weight",[20,1,5,5],0.01],["conv1.bias",[20]],["'
    b'conv2.weight",[50,20,5,5],0.0'
    b'],["conv2.bias",[50]],["fc5.weight",["fc4.weight",["'
    b'fc1.weight",[500,800],0.'
    b'fc1.bias",[500]],["fc2.weight",[10,500],0.0'
    b'fc1.weight",[300,784],0.'
    b'],["fc1.bias",[300],0.000],["fc2.weight",[100,300],0.0'
    b'],["fc2.bias",[100],0.00],["fc3.weight",[10,100],0.0'
    b'],["fc3.bias",[10],0.00]]]'
)


def shorten(header: dict[str, Any]) -> list[Any]:
    """The header as a file stores it."""
    short = [header["coder"], header["made_by"], [_short_entry(entry) for entry in header["tensors"]]]
    return [*short, header["full_shapes"]] if "full_shapes" in header else short


def expand(short: object) -> dict[str, Any]:
    """Inverse of `shorten`; what is not a matter of the form is left to `checked_entries`.

    Raises:
        FileFormatError: it is not of that form.
    """
    if not isinstance(short, list) or len(short) not in (3, 4) or not isinstance(short[2], list):
        raise FileFormatError("its header is not of the declared form")
    coder, made_by, entries, *full_shapes = short
    header = {"made_by": made_by, "coder": coder, "tensors": [_entry(entry) for entry in entries]}
    return header | {"full_shapes": full_shapes[0]} if full_shapes else header


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
