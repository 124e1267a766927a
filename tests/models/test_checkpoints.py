"""Checkpoints as people have them: what holds the state dict, what stands before its names, and what is ambiguous."""

import json
import os
import pickle
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wavesweep.errors import SettingsError
from wavesweep.experiment.inputs import checkpoint_digest
from wavesweep.models.checkpoints import load_checkpoint


def network(seed=0):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(4, 2)))


STATE = network(seed=1).state_dict()


def prefixed(prefix, state=STATE):
    return {f"{prefix}{name}": value for name, value in state.items()}


def optimizer():
    model = network()
    found = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    found.step()
    return found.state_dict()


def load(content, path, model=None):
    """What is in the network afterwards, and the note."""
    torch.save(content, path)
    model = network() if model is None else model
    note = load_checkpoint(model, str(path))
    return model.state_dict(), note


def assert_equal(found, expected=STATE):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


WRAPPED = {
    "plain": (lambda: STATE, None),
    "model_state_dict": (
        lambda: {"epoch": 3, "model_state_dict": STATE, "optimizer_state_dict": optimizer(), "loss": 0.5},
        "took its entry model_state_dict",
    ),
    "state_dict": (lambda: {"state_dict": STATE, "best_acc1": torch.tensor(0.9)}, "took its entry state_dict"),
    "model and optimizer": (
        lambda: {"model": STATE, "optimizer": optimizer(), "args": Namespace(lr=0.1, data=["a"])},
        "took its entry model",
    ),
    "data parallel": (lambda: prefixed("module."), "stripped the prefix module. from 9 names"),
    "compiled": (lambda: prefixed("_orig_mod."), "stripped the prefix _orig_mod. from 9 names"),
    "both": (lambda: prefixed("module._orig_mod."), "stripped the prefix module._orig_mod. from 9 names"),
    "data parallel, in part": (
        lambda: {name.replace("body.", "body.module."): value for name, value in STATE.items()},
        "stripped module. within names",
    ),
    "compiled in part, below a prefix": (
        lambda: prefixed("net.", {name.replace("body.", "body._orig_mod."): value for name, value in STATE.items()}),
        "stripped the prefix net. from 9 names; stripped _orig_mod. within names",
    ),
    "averaged": (
        lambda: {"n_averaged": torch.tensor(7), **prefixed("module.")},
        "stripped the prefix module. from 9 names; left out n_averaged",
    ),
    "Lightning": (
        lambda: {
            "epoch": 9,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {**prefixed("model."), "criterion.weight": torch.ones(2)},
            "callbacks": {
                "ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.1), "dirpath": "x"}
            },
            "optimizer_states": [optimizer()],
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
            "hyper_parameters": {"lr": 0.1},
        },
        "took its entry state_dict; stripped the prefix model. from 9 names; left out criterion.weight",
    ),
    "parameters": (
        lambda: {"model": {name: nn.Parameter(value, requires_grad=False) for name, value in STATE.items()}},
        "took its entry model",
    ),
    "deep": (lambda: {"checkpoint": {"ema": {"net": STATE}}}, "took its entry checkpoint.ema.net"),
    "other values beside": (lambda: {**STATE, "epoch": 4, "name": "x"}, None),
}


@pytest.mark.parametrize(("content", "note"), WRAPPED.values(), ids=WRAPPED)
def test_an_unambiguous_state_dict_is_taken_and_the_note_says_what_was_stripped(tmp_path, content, note):
    found, said = load(content(), tmp_path / "last.ckpt")
    assert_equal(found)
    assert said == (None if note is None else f"model.checkpoint: {note}")


def test_a_prefix_is_stripped_in_safetensors_too(tmp_path):
    save_file(prefixed("model."), tmp_path / "m.safetensors")
    model = network()
    note = load_checkpoint(model, str(tmp_path / "m.safetensors"))
    assert_equal(model.state_dict())
    assert note == "model.checkpoint: stripped the prefix model. from 9 names"


def test_counters_that_old_pytorch_did_not_write_are_those_of_a_new_network(tmp_path):
    without = {name: value for name, value in STATE.items() if not name.endswith("num_batches_tracked")}
    assert len(without) == len(STATE) - 1
    found, note = load({"state_dict": prefixed("module.", without)}, tmp_path / "old.th")
    assert_equal(found, {**STATE, "body.1.num_batches_tracked": torch.tensor(0)})
    assert note is not None


def test_a_network_whose_own_names_have_the_prefix_needs_no_note(tmp_path):
    wrapped = nn.ModuleDict({"module": network()})
    found, note = load(prefixed("module."), tmp_path / "m.pt", wrapped)
    assert_equal(found, prefixed("module."))
    assert note is None
    compiled = nn.ModuleDict({"_orig_mod": network()})
    found, note = load(STATE, tmp_path / "m.pt", compiled)
    assert_equal(found, prefixed("_orig_mod."))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second = self.first


def test_one_of_tied_tensors_is_enough_below_a_prefix(tmp_path):
    expected, model = Tied().state_dict(), Tied()
    state = {name: value for name, value in prefixed("module.", expected).items() if "first" not in name}
    found, _ = load({"model": state}, tmp_path / "m.pt", model)
    assert_equal(found, expected)
    assert model.second.weight is model.first.weight


AMBIGUOUS = {
    "an average beside": (
        lambda: {"model": STATE, "model_ema": prefixed("module.")},
        "model, model_ema (prefix module.)",
    ),
    "two of them": (
        lambda: {"state_dict": {**prefixed("student."), **prefixed("teacher.")}},
        "state_dict (prefix student.), state_dict (prefix teacher.)",
    ),
}


@pytest.mark.parametrize(("content", "named"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_several_that_fit_are_named_and_refused(tmp_path, content, named):
    with pytest.raises(SettingsError, match="must hold one state dict that fits the model") as raised:
        load(content(), tmp_path / "m.pt")
    assert f"it holds {named}: save the one you mean alone" in str(raised.value)


OTHERS = {
    "another network": (
        lambda: {"epoch": 1, "model_state_dict": prefixed("module.", nn.Linear(3, 9).state_dict()), "optimizer": {}},
        ["missing: body.0.bias", "model_state_dict", "optimizer", "module. (2)"],
    ),
    "a layer less": (
        lambda: prefixed("module.", {name: value for name, value in STATE.items() if "head" not in name}),
        ["(missing: head.bias, head.weight)", "names begin with module. (7)"],
    ),
    "another shape": (
        lambda: {"net": prefixed("m.", {**STATE, "head.bias": torch.zeros(9)})},
        ["(of another shape: head.bias)", "its keys are net", "m. (9) in net"],
    ),
    "no tensors": (lambda: {"epoch": 3, "history": [1.0]}, ["must hold a state dict", "its keys are epoch, history"]),
    "a list": (lambda: [1, 2], ["must hold a state dict", "it holds list"]),
    "nothing": (dict, ["must hold a state dict", "it is empty"]),
    "strange names": (lambda: {"a\x1b[31m\nb.c": torch.ones(1)}, [r"'a\x1b[31m\nb.c'"]),
}


@pytest.mark.parametrize(("content", "texts"), OTHERS.values(), ids=OTHERS)
def test_what_does_not_fit_is_refused_with_the_keys_and_prefixes_found(tmp_path, content, texts):
    model, before = network(), network().state_dict()
    with pytest.raises(SettingsError, match=r"^model\.checkpoint=") as raised:
        load(content(), tmp_path / "m.pt", model)
    assert all(text in str(raised.value) for text in texts), str(raised.value)
    assert str(raised.value).isprintable()
    assert_equal(model.state_dict(), before)


def test_sparse_tensors_are_refused_by_name(tmp_path):
    with pytest.raises(SettingsError, match=r"tensor head\.weight is sparse, quantised or empty"):
        load({**STATE, "head.weight": STATE["head.weight"].to_sparse()}, tmp_path / "m.pt")


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("where", ["epoch", "args"])
def test_code_beside_the_tensors_is_not_run_and_is_named(tmp_path, where):
    trap = Trap(str(tmp_path / "ran"))
    content = {"model": STATE, where: trap if where == "epoch" else Namespace(value=trap)}
    with pytest.raises(SettingsError, match=r"objects other than tensors \((posix|nt)\.mkdir\).*torch\.save") as raised:
        load(content, tmp_path / "m.pt")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(trap))
    assert (tmp_path / "ran").exists()  # the trap works where it is not refused


def write_shards(folder, write=save_file, ending="safetensors", **changes):
    """STATE in two files, and their index."""
    names = sorted(STATE)
    parts = {f"model-0000{n}-of-00002.{ending}": names[n - 1 :: 2] for n in (1, 2)}
    for file, held in parts.items():
        write({name: STATE[name] for name in held}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in parts.items() for name in held} | changes}
    path = folder / f"model.{ending}.index.json"
    path.write_text(json.dumps(index))
    return path


@pytest.mark.parametrize(("write", "ending"), [(save_file, "safetensors"), (torch.save, "bin")])
def test_shards_are_read_by_their_index(tmp_path, write, ending):
    model = network()
    assert load_checkpoint(model, str(write_shards(tmp_path, write, ending))) is None
    assert_equal(model.state_dict())


def test_the_digest_of_an_index_is_that_of_all_its_files(tmp_path):
    index = write_shards(tmp_path)
    before = checkpoint_digest(str(index))
    assert checkpoint_digest(str(index)) == before
    first = sorted(tmp_path.glob("*.safetensors"))[0]
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    os.utime(first, ns=(1, 1))
    assert checkpoint_digest(str(index)) != before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("{"), "must be the index of a sharded checkpoint; it is not JSON"),
        (lambda path: path.write_text("[]"), "it has no weight_map"),
        (lambda path: path.write_text('{"weight_map": {"a": 3}}'), "it has no weight_map"),
        (lambda path: write_shards(path.parent, extra="../m.pt"), "names the file '../m.pt', which is not beside it"),
        (lambda path: write_shards(path.parent, extra="C:\\m.pt"), "which is not beside it"),
        (lambda path: write_shards(path.parent, extra="nosuch.pt"), "nosuch.pt: must be an existing file"),
        (lambda path: write_shards(path.parent, extra="model-00001-of-00002.safetensors"), r"lacks .* \(extra\)"),
        (lambda path: path.unlink(), "cannot be read .*give an existing file"),
    ],
)
def test_a_damaged_index_is_one_line(tmp_path, damage, message):
    path = write_shards(tmp_path)
    damage(path)
    with pytest.raises(SettingsError, match=message) as raised:
        load_checkpoint(network(), str(path))
    assert str(raised.value).isprintable()


def test_one_of_several_files_points_to_their_index(tmp_path):
    write_shards(tmp_path)
    shard: Path = sorted(tmp_path.glob("*.safetensors"))[0]
    with pytest.raises(SettingsError, match=r"it is one of several files: give their index, a \.json"):
        load_checkpoint(network(), str(shard))


def test_of_a_directory_the_files_are_named(tmp_path):
    write_shards(tmp_path)
    with pytest.raises(
        SettingsError, match=r"cannot be read .*give a file in it: model-00001.*, model.*\.index\.json$"
    ):
        checkpoint_digest(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="give a file: it holds no checkpoint"):
        checkpoint_digest(str(tmp_path / "empty"))
    with pytest.raises(SettingsError, match="give an existing file"):
        checkpoint_digest(str(tmp_path / "nosuch"))
