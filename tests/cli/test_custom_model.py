"""A user's own network with a trained checkpoint."""

import pickle

import pytest
import safetensors.torch
import torch
from command_line import records
from torch import nn

pytestmark = pytest.mark.integration

MODEL = """
from torch import nn

def make(hidden=24):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))

def broken():
    raise RuntimeError("no such layer")

def number():
    return 7
"""
CUSTOM = ("model=custom", "level=1", "compare=[magnitude]")
TARGET = "model.target=own_model.make"


class Rude:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self):
        return open, ("unpickled.txt", "w")


def network(hidden=24):
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


CASES = {
    "safetensors": [*CUSTOM, TARGET, "model.checkpoint=weights.safetensors"],
    "state dict": [*CUSTOM, TARGET, "model.checkpoint=weights.pt"],
    "wrapped state dict": [*CUSTOM, TARGET, "model.checkpoint=wrapped.pt"],
    "arguments": [*CUSTOM, TARGET, "model.arguments={hidden: 16}", "model.recipe.epochs=1"],
    "missing checkpoint": [*CUSTOM, TARGET, "model.checkpoint=nosuch.pt"],
    "pickle": [*CUSTOM, TARGET, "model.checkpoint=rude.pt"],
    "broken checkpoint": [*CUSTOM, TARGET, "model.checkpoint=broken.safetensors"],
    "other shape": [*CUSTOM, TARGET, "model.checkpoint=weights.pt", "model.arguments={hidden: 16}"],
    "no checkpoint, no training": [*CUSTOM, TARGET],
    "failing factory": [*CUSTOM, "model.target=own_model.broken", "model.recipe.epochs=1"],
    "no module": [*CUSTOM, "model.target=own_model.number", "model.recipe.epochs=1"],
    "wrong argument": [*CUSTOM, TARGET, "model.arguments={depth: 3}", "model.recipe.epochs=1"],
    "missing checkpoint in a sweep": ["-m", *CUSTOM, TARGET, "model.checkpoint=weights.pt,nosuch.pt"],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory, forked):
    root = tmp_path_factory.mktemp("custom")
    state = network().state_dict()
    outcomes = {}
    for name, arguments in CASES.items():
        directory = root / name
        directory.mkdir()
        (directory / "own_model.py").write_text(MODEL)
        safetensors.torch.save_file(state, directory / "weights.safetensors")
        torch.save(state, directory / "weights.pt")
        torch.save({"state_dict": state, "epoch": 3}, directory / "wrapped.pt")
        (directory / "rude.pt").write_bytes(pickle.dumps({"weight": Rude()}))
        (directory / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0 nonsense")
        outcomes[name] = directory, forked.run(directory, *arguments)
    return outcomes


def only_record(directory):
    (record,) = records(directory).values()
    return record


@pytest.mark.parametrize("name", ["safetensors", "state dict", "wrapped state dict"])
def test_checkpoint_is_compressed_as_it_is(ran, name):
    directory, outcome = ran[name]
    assert outcome.status == 0, outcome.stderr
    record = only_record(directory)
    assert record["baseline"]["parameters"] == 64 * 24 + 24 + 24 * 10 + 10
    stored = safetensors.torch.load_file(next(directory.glob("outputs/baselines/*/weights.safetensors")))
    for key, value in network().state_dict().items():
        assert torch.equal(stored[key], value)
    assert [arm["method"] for arm in record["arms"]] == ["wavelet", "magnitude"]


def test_the_file_format_of_a_checkpoint_does_not_change_the_arms(ran):
    arms = [only_record(ran[name][0])["arms"] for name in ("safetensors", "state dict")]
    assert [arm["test"] for arm in arms[0]] == [arm["test"] for arm in arms[1]]


def test_arguments_reach_the_factory(ran):
    directory, outcome = ran["arguments"]
    assert outcome.status == 0, outcome.stderr
    assert only_record(directory)["baseline"]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing checkpoint", ["model.checkpoint=nosuch.pt", "existing file"]),
        ("missing checkpoint in a sweep", ["model.checkpoint=nosuch.pt", "existing file"]),
        ("pickle", ["model.checkpoint=rude.pt", "cannot be read", "state dict"]),
        ("broken checkpoint", ["model.checkpoint=broken.safetensors", "cannot be read"]),
        ("other shape", ["model.checkpoint=weights.pt", "does not fit the model", "1.weight"]),
        ("no checkpoint, no training", ["model.recipe.epochs=0", "model.checkpoint"]),
        ("failing factory", ["model.target=own_model.broken", "no such layer"]),
        ("no module", ["model.target=own_model.number", "torch.nn.Module", "int"]),
        ("wrong argument", ["model.target=own_model.make", "depth", "model.arguments"]),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(ran, name, expected):
    directory, outcome = ran[name]
    assert outcome.status == 2, outcome
    assert outcome.stderr.startswith("error: ")
    assert len(outcome.stderr.splitlines()) == 1
    for text in expected:
        assert text in outcome.stderr
    assert not (directory / "outputs" / "baselines").exists()


def test_objects_in_a_checkpoint_are_never_made(ran):
    assert not (ran["pickle"][0] / "unpickled.txt").exists()
