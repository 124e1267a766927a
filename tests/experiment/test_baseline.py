"""The baseline: trained once, kept as safetensors, reused by whoever asks for the same one."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from image_folders import colour, write
from safetensors.torch import load_file
from torch import nn

from wavesweep.data import datasets
from wavesweep.errors import SettingsError, TrialError
from wavesweep.experiment import baseline
from wavesweep.experiment.baseline import load_workload, obtain_baseline
from wavesweep.experiment.trial import run_trial
from wavesweep.settings.keys import baseline_key
from wavesweep.settings.schema import (
    DatasetSettings,
    LayersSettings,
    MethodSettings,
    ModelSettings,
    PathsSettings,
    Recipe,
    Settings,
    ThresholdSettings,
)

CPU = torch.device("cpu")
MODEL = ModelSettings(arguments={"hidden": [8]}, recipe=Recipe(epochs=2, batch_size=512))
# A process that obtains the baseline of argv[1] as soon as it is told to, and says whether it trained.
OBTAIN = """
import sys
from wavesweep.experiment import baseline
from wavesweep.settings.schema import *
settings = Settings(
    model=ModelSettings(arguments={"hidden": [8]}, recipe=Recipe(epochs=2, batch_size=16)),
    paths=PathsSettings(outputs=sys.argv[1]), progress=False,
)
original, trained = baseline.train, []
baseline.train = lambda *arguments: trained.append(1) or original(*arguments)
workload = baseline.load_workload(settings)
print("ready", flush=True)
sys.stdin.readline()
made = baseline.obtain_baseline(settings, workload, baseline.torch.device("cpu"))
print(len(trained), made.record["seconds"])
"""


@pytest.fixture
def tiny(tmp_path):
    return Settings(model=MODEL, paths=PathsSettings(outputs=str(tmp_path)), progress=False, device="cpu")


@pytest.fixture
def trainings(monkeypatch):
    """The seeds of the trainings that have been run."""
    seeds, original = [], baseline.train

    def counted(model, dataset, recipe, seed, *rest):
        seeds.append(seed)
        return original(model, dataset, recipe, seed, *rest)

    monkeypatch.setattr(baseline, "train", counted)
    return seeds


def obtain(settings):
    return obtain_baseline(settings, load_workload(settings), CPU)


def forget():
    """Forget what a process remembers, as a new one would."""
    baseline._models.clear()
    baseline._weights.cache_clear()
    datasets.forget()


def directories(outputs):
    return sorted(path.name for path in (outputs / "baselines").iterdir())


def assert_same(first, second):
    assert first.state.keys() == second.state.keys()
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)


def test_it_is_trained_once_and_reused_by_a_new_process(tiny, trainings):
    first = obtain(tiny)
    forget()
    second = obtain(tiny)
    assert trainings == [0]
    assert second.record == first.record
    assert_same(first, second)


def test_the_directory_holds_the_record_and_the_weights_only(tiny, tmp_path):
    made = obtain(tiny)
    directory = tmp_path / "baselines" / baseline_key(tiny)
    assert {path.name for path in directory.iterdir()} - {".lock"} == {"baseline.json", "weights.safetensors"}
    stored = load_file(directory / "weights.safetensors")
    assert stored.keys() == made.state.keys()
    assert all(torch.equal(stored[name], made.state[name]) for name in stored)
    assert json.loads((directory / "baseline.json").read_text()) == made.record


def test_the_record_describes_the_network(tiny):
    record = obtain(tiny).record
    assert record["key"] == baseline_key(tiny)
    assert record["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert record["dense_bytes"] == 4 * record["parameters"]
    assert record["macs"] == 64 * 8 + 8 * 10
    assert [row["epoch"] for row in record["training"]] == [1, 2]
    assert record["training"][-1]["validation_accuracy"] == record["validation"]["accuracy"]
    assert record["settings"]["seed"] == 0
    assert {"accuracy", "loss", "precision", "recall", "f1"} == set(record["test"])


@pytest.mark.parametrize(
    "changes",
    [
        {"wavelet": "haar", "level": 1, "layout": "flat", "boundary": "symmetric"},
        {"method": MethodSettings("dct"), "compare": []},
        {"threshold": ThresholdSettings(percentile=99.0, scope="global"), "layers": LayersSettings(exclude=["fc1*"])},
        {"device": "auto", "retry_failed": True, "on_busy": "skip"},
    ],
)
def test_settings_that_do_not_train_reuse_it(tiny, trainings, changes):
    first = obtain(tiny)
    assert obtain(replace(tiny, **changes)).record == first.record
    assert obtain(replace(tiny, paths=replace(tiny.paths, data="elsewhere"))).record == first.record
    assert trainings == [0]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"model": replace(MODEL, recipe=replace(MODEL.recipe, learning_rate=0.01))},
        {"model": replace(MODEL, recipe=replace(MODEL.recipe, epochs=1))},
        {"model": replace(MODEL, arguments={"hidden": [9]})},
        {"dataset": DatasetSettings(validation_fraction=0.2)},
    ],
    ids=["seed", "rate", "epochs", "model", "dataset"],
)
def test_settings_that_train_make_another_one(tiny, trainings, tmp_path, changes):
    first, second = obtain(tiny), obtain(replace(tiny, **changes))
    assert len(trainings) == len(directories(tmp_path)) == 2
    assert not torch.equal(first.state["fc1.bias"][:8], second.state["fc1.bias"][:8])


def test_other_outputs_give_the_same_weights_again(tiny, trainings, tmp_path):
    first = obtain(tiny)
    second = obtain(replace(tiny, paths=PathsSettings(outputs=str(tmp_path / "elsewhere"))))
    assert trainings == [0, 0]
    assert second.record["key"] == first.record["key"]
    assert_same(first, second)


def test_an_interrupted_training_continues_and_gives_the_same_weights(tiny, tmp_path, monkeypatch):
    expected = obtain(tiny)
    elsewhere = replace(tiny, paths=PathsSettings(outputs=str(tmp_path / "elsewhere")))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(baseline, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            obtain(elsewhere)
    assert not list(tmp_path.glob("elsewhere/**/*.json"))
    forget()
    assert_same(obtain(elsewhere), expected)


@pytest.mark.slow
def test_two_processes_train_it_once(tiny, trainings, tmp_path):
    settings = replace(tiny, model=replace(MODEL, recipe=Recipe(epochs=2, batch_size=16)))
    workload = load_workload(settings)
    command = [sys.executable, "-c", OBTAIN, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        mine = obtain_baseline(settings, workload, CPU)
        theirs = other.communicate()[0].split()
    assert other.returncode == 0
    assert len(trainings) + int(theirs[0]) == 1
    assert float(theirs[1]) == mine.record["seconds"]


def diverging(tiny):
    return replace(tiny, model=replace(MODEL, recipe=Recipe("sgd", learning_rate=1e30, epochs=1, batch_size=64)))


def test_a_training_that_diverged_is_recorded_and_not_tried_again(tiny, trainings, tmp_path):
    settings = diverging(tiny)
    with pytest.raises(TrialError, match=r"^training diverged"):
        obtain(settings)
    with pytest.raises(TrialError, match=r"training diverged.*failed earlier; retry_failed=true runs it again"):
        obtain(settings)
    assert len(trainings) == 1
    with pytest.raises(TrialError, match=r"training diverged.*model\.recipe\.learning_rate$"):
        obtain(replace(settings, retry_failed=True))
    assert len(trainings) == 2
    assert not list(tmp_path.rglob("*.safetensors"))


class Tied(nn.Module):
    """Two layers that share one weight."""

    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, images):
        hidden = self.second(torch.relu(self.first(self.flatten(images))))
        return self.last(torch.relu(hidden))


def tied_settings(tiny):
    chosen = ModelSettings("custom", target=f"{__name__}.Tied", recipe=MODEL.recipe)
    return replace(tiny, model=chosen)


def test_tied_weights_are_stored_and_loaded(tiny, trainings):
    settings = tied_settings(tiny)
    first = obtain(settings)
    forget()
    second = obtain(settings)
    assert len(trainings) == 1
    assert_same(first, second)
    assert torch.equal(second.state["first.weight"], second.state["second.weight"])
    assert second.record["parameters"] == 2 * 64 * 64 - 64 * 64 + 2 * 64 + 650
    model = Tied()
    model.load_state_dict(second.state)
    assert model.second.weight is model.first.weight


def test_tied_weights_are_pruned_once(tiny):
    record = run_trial(tied_settings(tiny))
    assert [layer["name"] for layer in record["arms"][0]["layers"]] == ["first.weight", "last.weight"]
    assert any(entry["name"] == "second.weight" and "first.weight" in entry["reason"] for entry in record["not_pruned"])
    assert record["arms"][1]["layers"][0]["zero_weights"] == 64 * 64 - record["arms"][1]["layers"][0]["kept"]


@pytest.mark.parametrize("left", [None, 0, 100])
def test_weights_that_are_lost_or_damaged_are_trained_again(tiny, trainings, tmp_path, left):
    first = obtain(tiny)
    (file,) = tmp_path.rglob("weights.safetensors")
    content = file.read_bytes()
    file.unlink()  # the tensors of `first` are views of the file
    if left is not None:
        file.write_bytes(content[:left])
    forget()
    assert_same(obtain(tiny), first)
    assert len(trainings) == 2


def checkpoint_of(made, path, change=0.0):
    torch.save({name: value + change for name, value in made.state.items()}, path)
    return str(path)


def test_a_checkpoint_counts_by_its_content(tiny, trainings, tmp_path):
    made = obtain(tiny)
    here = checkpoint_of(made, tmp_path / "here.pt")
    there = shutil.copy(here, tmp_path / "there.pt")
    other = checkpoint_of(made, tmp_path / "other.pt", 0.1)
    as_it_is = replace(MODEL, recipe=replace(MODEL.recipe, epochs=0))
    results = [obtain(replace(tiny, model=replace(as_it_is, checkpoint=str(path)))) for path in (here, there, other)]
    assert len(trainings) == 3  # the first, `here`, and `other`
    assert results[0].record["key"] == results[1].record["key"] != results[2].record["key"]
    assert_same(results[0], made)
    assert results[0].record["test"] == made.record["test"]


def test_a_missing_checkpoint_is_refused_before_anything_is_trained(tiny, tmp_path):
    with pytest.raises(SettingsError, match=r"^model\.checkpoint=nowhere\.pt: cannot be read .*existing file"):
        obtain(replace(tiny, model=replace(MODEL, checkpoint="nowhere.pt")))
    assert list(tmp_path.iterdir()) == []


def test_the_networks_of_the_zoo_have_their_channels_last_on_the_cpu(tiny, monkeypatch):
    def has_channels_last(**changes):
        model = load_workload(replace(tiny, **{"model": ModelSettings(name="fashion_cnn")} | changes)).model
        return model.conv2.weight.is_contiguous(memory_format=torch.channels_last)

    assert has_channels_last()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert has_channels_last()  # device=cpu, whatever there is
    assert not has_channels_last(device="auto")  # nor is it the one that this process remembers
    assert has_channels_last()
    own = ModelSettings(name="custom", target="wavesweep.models.zoo.fashion_cnn")
    own.arguments = {"input_shape": [1, 8, 8], "classes": 10}
    assert not has_channels_last(model=own)
    forget()


def test_a_checkpoint_that_does_not_fit_is_refused_before_an_image_is_decoded(tmp_path):
    names = [f"{part}/{kind}/{n}.png" for part in ("train", "test") for kind in ("cat", "dog") for n in range(2)]
    folder = write(tmp_path / "pictures", {name: colour() for name in names})
    torch.save({"other.weight": torch.zeros(2, 2)}, tmp_path / "wrong.pt")
    settings = Settings(
        model=ModelSettings(checkpoint=str(tmp_path / "wrong.pt"), recipe=Recipe(epochs=0)),
        dataset=DatasetSettings(name="image_folder", path=str(folder)),
        paths=PathsSettings(outputs=str(tmp_path / "outputs")),
    )
    with pytest.raises(SettingsError, match=r"wrong\.pt: does not fit the model"):
        run_trial(settings)
    assert not (tmp_path / "outputs" / "images").exists()
