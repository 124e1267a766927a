"""The loss of retraining against its formula, and the teacher's outputs against the teacher."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from wavesweep.data.datasets import load_dataset
from wavesweep.data.splits import Dataset, Split
from wavesweep.settings.schema import DatasetSettings, Recipe, Settings
from wavesweep.training.batches import Batch, epoch_batches
from wavesweep.training.loss import Teacher, distilled_loss

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    return load_dataset(Settings(dataset=DatasetSettings(name="digits"), progress=False))


class Counting(nn.Module):
    """A network that counts the images that it has seen; dropout shows whether it is in evaluation mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.seen = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)), 0

    def forward(self, images):
        self.seen += len(images)
        return self.layers(images)


def test_the_loss_is_hintons():
    outputs, taught = [1.0, -2.0, 0.5], [0.3, 0.4, -1.0]

    def softened(logits, temperature):
        exponents = [math.exp(value / temperature) for value in logits]
        return [value / sum(exponents) for value in exponents]

    entropy = -math.log(softened(outputs, 1.0)[2])
    pairs = zip(softened(taught, 3.0), softened(outputs, 3.0), strict=True)
    divergence = sum(wanted * math.log(wanted / found) for wanted, found in pairs)
    tensors = torch.tensor([outputs, outputs]), torch.tensor([2, 2])
    for share in (0.25, 1.0):
        expected = (1 - share) * entropy + share * 9 * divergence
        found = distilled_loss(*tensors, torch.tensor([taught, taught]), share)
        assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(distilled_loss(*tensors, None, 0.0)) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("augment", [False, True])
def test_the_teacher_sees_each_image_once_unless_images_differ_from_epoch_to_epoch(digits, augment):
    recipe, model = Recipe(batch_size=100, augment=augment), Counting()
    teacher = Teacher(model, digits, recipe, CPU)
    fresh = Counting().eval()
    for epoch in range(2):
        for batch in epoch_batches(digits.train.images, digits.train.labels, recipe, 0, epoch):
            inputs = digits.normalise(batch.images)
            torch.testing.assert_close(teacher.outputs(batch, inputs), fresh(inputs).detach())
    assert model.seen == len(digits.train.labels) * (2 if augment else 1)


def test_the_next_teacher_of_the_same_baseline_need_not_look_again(digits):
    recipe, count = Recipe(batch_size=100), len(digits.train.labels)
    batch = next(epoch_batches(digits.train.images, digits.train.labels, recipe, 0, 0))
    inputs = digits.normalise(batch.images)

    def seen_by(key, changed=recipe):
        model = Counting()
        outputs = Teacher(model, digits, changed, CPU, key).outputs(batch, inputs)
        torch.testing.assert_close(outputs, Counting().eval()(inputs).detach(), rtol=0.02, atol=0.02)
        return model.seen

    assert seen_by("a baseline") == count
    assert seen_by("a baseline") == 0
    assert seen_by(None) == count
    assert seen_by("a baseline") == 0  # one without a name leaves it
    for key, changed in (
        ("another", recipe),
        ("a baseline", replace(recipe, batch_size=99)),
        ("a baseline", replace(recipe, precision="bfloat16")),
    ):
        seen_by("a baseline")
        assert seen_by("a baseline") == 0
        assert seen_by(key, changed) == count, (key, changed)


def test_images_on_disk_are_looked_at_batch_by_batch(digits):
    class OnDisk:
        device = CPU

        def __getitem__(self, index):
            return digits.train.images[index]

    stored = replace(digits, train=replace(digits.train, images=OnDisk()))
    recipe, model = Recipe(batch_size=100), Counting()
    teacher = Teacher(model, stored, recipe, CPU)
    batch = next(epoch_batches(stored.train.images, stored.train.labels, recipe, 0, 0))
    assert len(teacher.outputs(batch, digits.normalise(batch.images))) == model.seen == 100


class InPlace(nn.Module):
    def forward(self, inputs):
        inputs -= 1
        return inputs.flatten(1)


@pytest.mark.parametrize("augment", [False, True])
def test_a_teacher_that_changes_its_inputs_leaves_those_of_the_network_alone(augment):
    images = torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    split = Split(images.clone(), torch.zeros(8, dtype=torch.int64))
    dataset = Dataset(split, split, split, 4, torch.zeros(()), torch.ones(()))
    teacher = Teacher(InPlace(), dataset, Recipe(augment=augment), CPU)
    inputs = images.clone()
    outputs = teacher.outputs(Batch(inputs, split.labels, torch.arange(8), 0.0), inputs)
    assert torch.equal(outputs, images.flatten(1) - 1)
    assert torch.equal(inputs, images)
    assert torch.equal(split.images, images)
