"""Training: the same bits from the same seed, also after an interruption; learning rates, augmentation, odd cases."""

import io
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wavesweep.data.splits import Parts, Split, make_dataset
from wavesweep.errors import TrialError
from wavesweep.runtime.progress import Meter
from wavesweep.settings.schema import Recipe
from wavesweep.training import train as training
from wavesweep.training.batches import augmented
from wavesweep.training.checkpoint import read_checkpoint
from wavesweep.training.loop import TrainingLoop
from wavesweep.training.optimizers import learning_rate_factor, make_optimizer
from wavesweep.training.train import discard_checkpoint, train

CPU = torch.device("cpu")


def assert_same_tensors(model, other):
    mine, others = model.state_dict(), other.state_dict()
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in mine)


RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=0.01)


def small_dataset():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 4
    images = torch.randint(0, 128, (120, 1, 6, 6), generator=generator) + 32 * labels[:, None, None, None]
    test = Split(images[:20].to(torch.uint8), labels[:20])
    return make_dataset(Parts(Split(images.to(torch.uint8), labels), test, 4), 0.2, seed=0)


def small_model(seed=0):
    """A network with everything that has a state: normalisation, and dropout's random numbers."""
    torch.manual_seed(seed)
    layers = (
        nn.Conv2d(1, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(128, 4),
    )
    return nn.Sequential(*layers)


def trained(directory, recipe=RECIPE, model=None, seed=0):
    model = small_model() if model is None else model
    curve = train(model, small_dataset(), recipe, seed, CPU, directory, False)
    return model, [{name: value for name, value in row.items() if name != "seconds"} for row in curve]


@pytest.mark.parametrize("moment", ["between epochs", "within an epoch"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", ["cosine", "multistep"])
def test_an_interrupted_training_gives_the_same_bits(tmp_path, monkeypatch, moment, optimizer, schedule):
    recipe = replace(RECIPE, optimizer=optimizer, schedule=schedule, augment=True, weight_decay=1e-4)
    expected, expected_curve = trained(tmp_path / "whole", recipe)
    owner, name = (training, "evaluate") if moment == "between epochs" else (Meter, "advance")
    original, calls = getattr(owner, name), []

    def interrupted(*arguments):
        calls.append(1)
        # Six batches and the epoch's own line make seven calls of advance per epoch.
        if len(calls) == (3 if moment == "between epochs" else 2 * 7 + 3):
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", recipe)
    # An epoch is saved before it is measured.
    saved = read_checkpoint(tmp_path / "cut" / "checkpoint.pt")
    assert len(saved["curve"]) + 1 == (3 if moment == "between epochs" else 2)
    # Whatever the new process starts with, the checkpoint decides.
    resumed, curve = trained(tmp_path / "cut", recipe, small_model(seed=9))
    assert curve == expected_curve
    assert_same_tensors(resumed, expected)


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    model, curve = trained(tmp_path)
    monkeypatch.setattr(TrainingLoop, "train_epoch", lambda *_: pytest.fail("trained again"))
    again, same_curve = trained(tmp_path, model=small_model(seed=9))
    assert same_curve == curve
    assert_same_tensors(again, model)
    discard_checkpoint(tmp_path)
    discard_checkpoint(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_training_learns_and_follows_from_the_seed(tmp_path):
    model, curve = trained(tmp_path / "a")
    same, other = trained(tmp_path / "b")[0], trained(tmp_path / "c", seed=1)[0]
    assert_same_tensors(model, same)
    assert not torch.equal(model[0].weight, other[0].weight)
    assert [row["epoch"] for row in curve] == [1, 2, 3, 4]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["validation_accuracy"] > 0.5


def test_the_learning_rate_follows_the_share_of_the_whole_training(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(training, "learning_rate_factor", lambda _, share: done.append(share) or 1.0)
    trained(tmp_path)
    assert done == pytest.approx([step / 24 for step in range(24)])


def test_a_training_that_diverges_says_so(tmp_path):
    with pytest.raises(
        TrialError, match=r"training diverged: the loss is .* in epoch 1; lower model\.recipe\.learning"
    ):
        trained(tmp_path, replace(RECIPE, optimizer="sgd", learning_rate=1e30))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("schedule", "shares", "factors"),
    [
        ("constant", [0, 0.3, 0.99], [1, 1, 1]),
        ("cosine", [0, 1 / 3, 0.5, 2 / 3, 1], [1, 0.75, 0.5, 0.25, 0]),
        ("multistep", [0, 0.49, 0.5, 0.74, 0.75, 1], [1, 1, 0.1, 0.1, 0.01, 0.01]),
    ],
)
def test_schedules(schedule, shares, factors):
    recipe = Recipe(schedule=schedule)
    assert [learning_rate_factor(recipe.schedule, share) for share in shares] == pytest.approx(factors)


def test_the_optimizer_gets_the_scheduled_learning_rate(tmp_path, monkeypatch):
    learning_rates, original = [], torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self: (learning_rates.append(self.param_groups[0]["lr"]), original(self))
    )
    trained(tmp_path, replace(RECIPE, optimizer="sgd", learning_rate=0.4, epochs=2))
    assert learning_rates == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 12)) for step in range(12)])


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_the_recipe_reaches_the_optimizer(optimizer, kind):
    made = make_optimizer(small_model().parameters(), Recipe(optimizer=optimizer, momentum=0.7, weight_decay=0.01))
    assert type(made) is kind
    assert made.defaults["weight_decay"] == 0.01
    assert made.defaults.get("momentum", 0.7) == 0.7


def test_frozen_parameters_stay_as_they_are(tmp_path):
    model = small_model()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    trained(tmp_path, model=model)
    assert torch.equal(model[0].weight, before)
    assert not torch.equal(model[5].weight, small_model()[5].weight)


def test_no_epochs_leave_the_weights_as_they_are(tmp_path):
    model, curve = trained(tmp_path, replace(RECIPE, epochs=0))
    assert curve == []
    assert_same_tensors(model, small_model())
    assert list(tmp_path.iterdir()) == []


def flat_model():
    """A network that cannot be trained on a single image: its normalisation would have one value."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))


@pytest.mark.parametrize(("batch_size", "steps"), [(19, 5), (95, 1), (96, 1), (32, 3)])
def test_a_last_batch_of_one_image_is_left_out(tmp_path, monkeypatch, batch_size, steps):
    done, original = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (done.append(1), original(self)))
    _, curve = trained(tmp_path, Recipe(epochs=1, batch_size=batch_size), flat_model())
    assert len(small_dataset().train) == 96
    assert len(done) == steps
    assert math.isfinite(curve[0]["loss"])


def test_batches_of_one_image_train_where_they_are_asked_for(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    before = model[1].weight.clone()
    _, curve = trained(tmp_path, Recipe(epochs=1, batch_size=1), model)
    assert not torch.equal(model[1].weight, before)
    assert curve[0]["loss"] > 0


def another_version():
    content = io.BytesIO()
    torch.save({"model": small_model().state_dict(), "curve": []}, content)
    return content.getvalue()


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[: len(content) // 2], bytes.upper, lambda _: another_version()],
    ids=["empty", "half", "other bytes", "of another version"],
)
def test_a_broken_checkpoint_starts_the_training_again(tmp_path, damage):
    expected, curve = trained(tmp_path / "whole")
    path = tmp_path / "whole" / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes()))
    again, same_curve = trained(tmp_path / "whole")
    assert same_curve == curve
    assert_same_tensors(again, expected)


@pytest.mark.parametrize("name", ["network", "optimizers", "curve", "unmeasured"])
def test_a_checkpoint_of_another_training_starts_the_training_again(tmp_path, name):
    expected, curve = trained(tmp_path / "whole")
    path = tmp_path / "whole" / "checkpoint.pt"
    saved = dict(read_checkpoint(path))
    first = next(iter(saved["network"]))
    other = {
        "network": {
            key: value.reshape(-1)[:1] if key != first else value + 1 for key, value in saved["network"].items()
        },
        "optimizers": [{"state": {0: 1}, "param_groups": []}],
        "curve": "none",
        "unmeasured": ("a", "b"),
    }
    torch.save(saved | {name: other[name]}, path)
    again, same_curve = trained(tmp_path / "whole")
    assert same_curve == curve
    assert_same_tensors(again, expected)


def test_augmentation_shifts_by_up_to_four_pixels_and_flips():
    image = torch.arange(1, 26).reshape(1, 1, 5, 5).expand(300, 1, 5, 5)
    batch = augmented(image, torch.Generator().manual_seed(0))
    windows = nn.functional.pad(image[0, 0], (4,) * 4).unfold(0, 5, 1).unfold(1, 5, 1).reshape(81, 5, 5)
    possible = {tuple(window.flatten().tolist()) for window in [*windows, *windows.flip(2)]}
    seen = {tuple(crop.flatten().tolist()) for crop in batch[:, 0]}
    assert seen <= possible
    assert len(seen) > 100


@settings(deadline=None)
@given(
    count=st.integers(1, 5),
    channels=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_each_augmented_image_is_one_crop_of_its_own_padded_image(count, channels, height, width, seed):
    images = torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    )
    batch = augmented(images, torch.Generator().manual_seed(seed))
    assert (batch.shape, batch.dtype) == (images.shape, torch.uint8)
    for image, crop in zip(images, batch, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (4, 4), (4, 4)))
        windows = [padded[:, top : top + height, left : left + width] for top in range(9) for left in range(9)]
        assert any(np.array_equal(crop, window) or np.array_equal(crop, window[:, :, ::-1]) for window in windows)


def test_augmentation_follows_from_the_seed_and_moves_all_channels_together(tmp_path):
    images = torch.arange(64).reshape(1, 1, 8, 8).expand(50, 3, 8, 8)
    first, same = (augmented(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, same)
    assert torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(first[:, 0], first[:, 2])
    recipe = replace(RECIPE, augment=True)
    assert_same_tensors(trained(tmp_path / "a", recipe)[0], trained(tmp_path / "b", recipe)[0])


class Chance(nn.Module):
    """Leaves a layer out now and then, by random numbers of three libraries."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(36, 36), nn.Linear(36, 4)

    def forward(self, images):
        hidden = images.flatten(1)
        if not self.training or random.random() + np.random.rand() + float(torch.rand(())) > 1.5:
            hidden = self.first(hidden).relu()
        return self.last(hidden)


def test_random_numbers_of_any_library_follow_from_the_seed_and_those_of_the_caller_continue(tmp_path):
    found = []
    for number in range(2):
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        directory = tmp_path / str(number)
        directory.mkdir()
        model = Chance()
        torch.manual_seed(number)
        train(model, small_dataset(), RECIPE, 0, CPU, directory, shown=False)
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
        found.append(model)
    assert_same_tensors(*found)
