"""Data of any structure: in memory or read batch by batch, the same batches; what cannot be read is refused."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, TensorDataset

from wavesweep.data.datasets import forget, load_dataset
from wavesweep.data.examples import Examples
from wavesweep.data.splits import Split
from wavesweep.errors import SettingsError
from wavesweep.measure.quality import batches
from wavesweep.settings.schema import DatasetSettings, Recipe, Settings, TaskSettings
from wavesweep.training.batches import TrainingBatches

CPU = torch.device("cpu")
INPUTS, TARGETS = torch.arange(60.0).reshape(30, 2), torch.arange(30.0)


class MapStyle(TorchDataset):
    """Examples as mappings; `reads` counts those that were read."""

    reads = 0

    def __init__(self, numbers):
        self._numbers = list(numbers)

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, number):
        MapStyle.reads += 1
        number = self._numbers[number]
        return {"x": INPUTS[number].double().numpy(), "target": float(TARGETS[number])}


class Stream(IterableDataset):
    """Examples one after another, of which there is no number."""

    def __init__(self, start, stop):
        self._range = range(start, stop)

    def __iter__(self):
        return ((INPUTS[number], TARGETS[number]) for number in self._range)


def mapped():
    return MapStyle(range(20)), MapStyle(range(20, 30))


def streamed():
    return Stream(0, 20), Stream(20, 25), Stream(25, 30)


def streamed_without_validation():
    return Stream(0, 20), Stream(20, 30)


def pairs():
    return TensorDataset(INPUTS[:20], TARGETS[:20]), (INPUTS[20:].numpy(), TARGETS[20:].numpy())


def images():
    whole = np.arange(10 * 48, dtype=np.uint8).reshape(10, 3, 4, 4)
    return (whole, np.arange(10.0)), (whole, np.arange(10.0))


def mapped_classes():
    data = {"x": INPUTS, "label": (TARGETS % 3).long()}
    return tuple({name: value[part] for name, value in data.items()} for part in (slice(20), slice(20, 30)))


class ClassStream(Stream):
    def __iter__(self):
        return ((INPUTS[number], number % 3) for number in self._range)


def streamed_classes():
    return ClassStream(0, 20), ClassStream(20, 25), ClassStream(25, 30)


def nothing():
    return MapStyle(()), MapStyle(range(3))


def uneven():
    return (INPUTS[:20], TARGETS[:19], TARGETS[:20]), (INPUTS, TARGETS, TARGETS)


def broken():
    return (INPUTS / 0, TARGETS), (INPUTS, TARGETS)


def texts():
    return [{"text": "a"}], [{"text": "b"}]


def number():
    return 3


def loaded(factory, in_memory=None, workers=0, task="regression"):
    forget()
    target = f"{__name__}.{factory}"
    dataset = DatasetSettings("custom", target=target, in_memory=in_memory, workers=workers)
    return load_dataset(Settings(dataset=dataset, task=TaskSettings(task), progress=False))


def epoch(dataset, seed=0, number=0):
    found = list(TrainingBatches(dataset, CPU).of_epoch(Recipe(batch_size=8), seed, number))
    return [batch.content(dataset) for batch in found], [batch.share for batch in found]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.integration)])
def test_batches_are_the_same_in_memory_and_read_one_by_one(workers):
    kept, read = loaded("mapped"), loaded("mapped", in_memory=False, workers=workers)
    assert isinstance(kept.train, Examples)
    assert (kept.train.in_memory, read.train.in_memory) == (True, False)
    (found, shares), (expected, same) = epoch(read), epoch(kept)
    assert shares == same == pytest.approx([0, 8 / 18, 16 / 18])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one["x"], other["x"])
        assert torch.equal(one["target"], other["target"])
    assert found[0]["x"].dtype == torch.float32
    again, other = epoch(read)[0], epoch(read, number=1)[0]
    assert torch.equal(again[0]["x"], found[0]["x"])
    assert not torch.equal(other[0]["x"], found[0]["x"])


def test_splits_are_read_whole_and_apart():
    dataset = loaded("mapped", in_memory=False)
    parts = (dataset.train, dataset.validation, dataset.test)
    found = [torch.cat([batch["target"] for batch in batches(dataset, part, CPU)]) for part in parts]
    assert [len(part) for part in found] == [18, 2, 10] == [len(part) for part in parts]
    assert sorted(torch.cat(found).tolist()) == TARGETS.tolist()


def test_a_data_set_that_stays_where_it_is_is_read_only_for_what_is_asked():
    MapStyle.reads = 0
    dataset = loaded("mapped", in_memory=False)
    before = MapStyle.reads
    assert dataset.inputs_of(2).tensors[0].shape == (2, 2)
    assert MapStyle.reads == before + 2


def test_an_iterable_data_set_keeps_its_order():
    dataset = loaded("streamed")
    assert (len(dataset.train), len(dataset.validation), dataset.validation_from) == (20, 5, "own")
    found = epoch(dataset)[0]
    assert torch.cat([targets for _, targets in found]).tolist() == TARGETS[:20].tolist()
    assert [len(targets) for _, targets in found] == [8, 8, 4]
    assert dataset.train.head(3).content()[1].tolist() == [0.0, 1.0, 2.0]


def test_pairs_of_tensors_are_a_split_as_ever_and_images_are_normalised():
    dataset = loaded("pairs")
    assert isinstance(dataset.train, Split)
    assert (dataset.classes, dataset.input_shape) == (1, (2,))
    inputs, targets = next(batches(loaded("images"), loaded("images").test, CPU))
    assert inputs.shape == (10, 3, 4, 4)
    assert float(inputs.mean()) == pytest.approx(0, abs=0.5)
    assert targets.dtype == torch.float32


def test_the_content_and_not_the_place_is_what_counts():
    assert loaded("mapped").digest == loaded("mapped").digest
    assert loaded("mapped").digest != loaded("pairs").digest


@pytest.mark.parametrize("factory", ["mapped_classes", "streamed_classes"])
def test_classes_may_come_in_any_structure(factory):
    dataset = loaded(factory, task="classification")
    assert isinstance(dataset.train, Examples)
    inputs, labels = dataset.task.split(next(batches(dataset, dataset.test, CPU)))
    assert inputs.tensors[0].shape[1:] == (2,)
    assert labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nothing", "must return examples in each split; train has none"),
        ("uneven", "must return tensors of one length in a split; those of train have 19 and 20 rows"),
        ("broken", "must return finite numbers; train holds NaN or infinity"),
        ("texts", "train cannot be read as such"),
        ("number", "it returned int"),
        ("streamed_without_validation", r"must return \(train, validation, test\) where train is iterable"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_a_line(factory, message):
    with pytest.raises(SettingsError, match=message) as raised:
        loaded(factory)
    assert str(raised.value).startswith(f"dataset.target={__name__}.{factory}: ")
    assert "\n" not in str(raised.value)
