"""The data sets by name: official file formats, remedies where a file is missing, one load per process."""

import gzip
import hashlib
import pickle
import struct
from copy import deepcopy
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from wavesweep.data import datasets
from wavesweep.data.datasets import load_dataset
from wavesweep.data.splits import Parts, Split
from wavesweep.errors import SettingsError
from wavesweep.settings.rules import check
from wavesweep.settings.schema import DatasetSettings, PathsSettings, Settings

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no network in tests")

    for name in ("_urlretrieve", "_get_redirect_url"):
        monkeypatch.setattr(torchvision.datasets.utils, name, refuse)


def load(name, data="data", fraction=0.25, **more):
    chosen = DatasetSettings(name=name, validation_fraction=fraction)
    return load_dataset(Settings(dataset=chosen, paths=PathsSettings(data=str(data)), progress=False, **more))


def numbered_bytes(count, size):
    """Random bytes whose first one in each row is the row's number."""
    content = np.random.default_rng(size).integers(0, 256, (count, size), dtype=np.uint8)
    content[:, 0] = np.arange(count)
    return content


def assert_holds(split, content, labels):
    """The split's images and labels are rows of `content` and `labels`, found by their numbers."""
    rows = split.images[:, 0, 0, 0].long()
    assert torch.equal(split.images, torch.from_numpy(content)[rows].reshape(split.images.shape))
    assert torch.equal(split.labels, torch.as_tensor(labels)[rows])


def idx(content):
    """The official format of MNIST: magic number, sizes in big-endian order, bytes."""
    return struct.pack(f">{1 + content.ndim}I", 0x0800 + content.ndim, *content.shape) + content.tobytes()


def mnist_files():
    files, contents = {}, {}
    for part, count in (("train", 40), ("t10k", 20)):
        content, labels = numbered_bytes(count, 28 * 28), np.arange(count, dtype=np.uint8) % 10
        files[f"{part}-images-idx3-ubyte"] = idx(content.reshape(-1, 28, 28))
        files[f"{part}-labels-idx1-ubyte"] = idx(labels)
        contents[part] = content, labels.astype(np.int64)
    return files, contents


def write_all(directory, files):
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_from_its_official_files(tmp_path, monkeypatch, name, packed):
    loader = getattr(torchvision.datasets, datasets._TORCHVISION[name][0])
    files, contents = mnist_files()
    if packed:
        files = {f"{file}.gz": gzip.compress(content) for file, content in files.items()}
        sums = [(file, hashlib.md5(content).hexdigest()) for file, content in files.items()]
        monkeypatch.setattr(loader, "resources", sums)
    write_all(tmp_path / loader.__name__ / "raw", files)
    dataset = load(name, tmp_path)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (30, 10, 20)
    assert (dataset.input_shape, dataset.classes, dataset.digest) == ((1, 28, 28), 10, None)
    assert dataset.train.images.dtype == torch.uint8
    assert_holds(dataset.train, *contents["train"])
    assert_holds(dataset.validation, *contents["train"])
    assert_holds(dataset.test, *contents["t10k"])


def write_cifar(directory, batches, meta, label_key):
    files = {name: pickle.dumps({"data": rows, label_key: labels}) for name, (rows, labels) in batches.items()}
    key = "fine_label_names" if label_key == "fine_labels" else "label_names"
    write_all(directory, files | {meta: pickle.dumps({key: ["a class"] * 100})})


@pytest.fixture
def _any_checksum(monkeypatch):
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, *_: Path(path).is_file())


@pytest.mark.usefixtures("_any_checksum")
def test_cifar10_is_read_from_its_official_batches(tmp_path):
    content, labels = numbered_bytes(50, 3072), [number % 10 for number in range(50)]
    test_content, test_labels = numbered_bytes(10, 3072), list(range(10))
    # Row 3, column 5 of image 7: in the file, all red values come first, then all green, then all blue.
    content[7, [0 * 1024 + 3 * 32 + 5, 1 * 1024 + 3 * 32 + 5, 2 * 1024 + 3 * 32 + 5]] = 11, 22, 33
    batches = {f"data_batch_{n + 1}": (content[10 * n :][:10], labels[10 * n :][:10]) for n in range(5)}
    batches["test_batch"] = test_content, test_labels
    write_cifar(tmp_path / "cifar-10-batches-py", batches, "batches.meta", "labels")
    dataset = load("cifar10", tmp_path)
    assert (dataset.input_shape, dataset.classes) == ((3, 32, 32), 10)
    assert dataset.train.images.is_contiguous()
    for split in (dataset.train, dataset.validation):
        assert_holds(split, content, labels)
        for image in split.images[split.images[:, 0, 0, 0] == 7]:
            assert image[:, 3, 5].tolist() == [11, 22, 33]
    assert_holds(dataset.test, test_content, test_labels)


@pytest.mark.usefixtures("_any_checksum")
def test_cifar100_has_the_fine_labels(tmp_path):
    labels = [number % 100 for number in range(200)]
    batches = {"train": (numbered_bytes(200, 3072), labels), "test": (numbered_bytes(100, 3072), labels[:100])}
    write_cifar(tmp_path / "cifar-100-python", batches, "meta", "fine_labels")
    dataset = load("cifar100", tmp_path, 0.5)
    assert dataset.classes == 100
    assert_holds(dataset.train, *batches["train"])
    assert sorted(dataset.validation.labels.tolist()) == list(range(100))


@pytest.mark.parametrize(("name", "directory"), [("mnist", "MNIST"), ("cifar10", "CIFAR10")])
def test_a_missing_data_set_without_a_network_names_the_remedy(tmp_path, name, directory):
    with pytest.raises(SettingsError) as raised:
        load(name, tmp_path)
    text = str(raised.value)
    assert text.startswith(f"dataset={name}: is not in paths.data={tmp_path} and could not be downloaded (")
    assert "no network in tests" in text
    assert text.endswith(f"put torchvision's {directory} files there, or set paths.data to a directory that has them")
    assert "\n" not in text


@pytest.mark.parametrize("size", [0, 3, 10, 400])
def test_a_half_mnist_file_names_the_data_set(tmp_path, size):
    files, _ = mnist_files()
    files["train-images-idx3-ubyte"] = files["train-images-idx3-ubyte"][:size]
    write_all(tmp_path / "MNIST" / "raw", files)
    with pytest.raises(SettingsError, match=r"^dataset=mnist: .*paths\.data"):
        load("mnist", tmp_path)


def test_an_unknown_data_set_names_the_known_ones():
    with pytest.raises(SettingsError, match=r"^dataset=minst: must be one of digits, mnist, .*image_folder, custom$"):
        load("minst")


def test_a_data_set_is_loaded_once_per_process(monkeypatch):
    settings = Settings()
    first = load_dataset(settings)
    monkeypatch.setattr(datasets, "load_digits", lambda: pytest.fail("read again"))
    for same in (settings, deepcopy(settings), Settings(wavelet="haar", level=1, device="cpu", compare=[])):
        assert load_dataset(same) is first


def test_another_seed_or_fraction_is_another_data_set():
    assert load("digits", seed=0) is not load("digits", seed=1)
    assert load("digits", fraction=0.2) is not load("digits", fraction=0.3)


# Ten classes, 1437 training images.
@pytest.mark.parametrize("fraction", [1e-9, 0.001, 0.0055, 0.9975, 0.9999])
def test_a_fraction_that_leaves_a_class_without_images_names_the_key(fraction):
    with pytest.raises(SettingsError) as raised:
        load("digits", fraction=fraction)
    assert raised.value.key == "dataset.validation_fraction"
    assert str(raised.value).startswith(f"dataset.validation_fraction={fraction}: ")
    assert "1437 training images" in str(raised.value)


@pytest.mark.parametrize(
    ("counts", "remedy"),
    [
        ([1, 1, 1], "no share does: add images, so that every class has two (one of them has 1)"),
        ([1], "no share does: add images, so that every class has two (one of them has 1)"),
        ([9, 1], "no share does: add images, so that every class has two (one of them has 1)"),
        ([5, 5], "choose from 0.2 to 0.8, or add images"),
        ([2, 2], "choose from 0.5 to 0.5, or add images"),
    ],
)
def test_a_fraction_is_proposed_only_where_one_fits(counts, remedy):
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    part = Split(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels)
    with pytest.raises(SettingsError) as raised:
        datasets._check_split(part, "training", len(counts), 0.001)
    assert str(raised.value).endswith(f"; {remedy}")


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_a_split_is_complete_or_refused(counts, fraction):
    labels = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    images = torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)
    part = Split(images, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "digits", lambda source: Parts(part, part, len(counts)))
        dataset, refused = None, None
        datasets.forget()
        try:
            dataset = load("digits", fraction=fraction)
        except SettingsError as error:
            refused = error.key
        finally:
            datasets.forget()
    if dataset is None:
        assert refused == ("dataset.validation_fraction" if len(counts) > 1 else "dataset")
        return
    both = torch.cat([dataset.train.labels, dataset.validation.labels])
    assert torch.bincount(both).tolist() == counts
    assert len(dataset.train) >= len(counts) <= len(dataset.validation)


@pytest.mark.skipif(not (REAL_DATA / "MNIST" / "raw").is_dir(), reason="MNIST is not on this machine")
def test_the_real_mnist_has_its_known_statistics():
    dataset = load("mnist", REAL_DATA, 0.1)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (54_000, 6_000, 10_000)
    assert float(dataset.mean) / 255 == pytest.approx(0.1307, abs=0.001)
    assert float(dataset.std) / 255 == pytest.approx(0.3081, abs=0.001)
    datasets.forget()


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        ("half", None, (0.5, 0.5)),
        ("mnist", None, (0.1307, 0.3081)),
        ([0.25], [0.125], (0.25, 0.125)),
        ("none", [0.5], (0.0, 0.5)),
    ],
)
def test_images_are_normalised_by_what_is_given(mean, std, expected):
    found = load_dataset(Settings(dataset=DatasetSettings(mean=mean, std=std), progress=False))
    pixels = found.train.images[:5]
    torch.testing.assert_close(found.normalise(pixels), (pixels.float() / 255 - expected[0]) / expected[1])


def test_a_mean_of_inputs_that_are_no_bytes_is_refused(tmp_path, monkeypatch):
    (tmp_path / "floats_of_mine.py").write_text(
        "import torch\ndef load():\n    part = torch.rand(40, 3, 4, 4), torch.arange(40) % 2\n    return part, part\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    chosen = DatasetSettings(name="custom", target="floats_of_mine.load", mean="imagenet")
    with pytest.raises(SettingsError, match=r"^dataset\.mean=.*has no effect on inputs that are no images of bytes"):
        load_dataset(Settings(dataset=chosen, progress=False))


def test_a_mean_for_other_channels_than_there_are_is_refused():
    with pytest.raises(SettingsError, match=r"^dataset\.mean=\[0\.485, 0\.456, 0\.406\]: must have one number, or 1"):
        load_dataset(Settings(dataset=DatasetSettings(mean="imagenet"), progress=False))


@pytest.mark.parametrize(("given", "lacking"), [({"mean": [0.5]}, "std"), ({"std": [0.5]}, "mean")])
def test_mean_and_deviation_are_given_together(given, lacking):
    with pytest.raises(SettingsError, match=rf"^dataset\.{lacking}=None: "):
        check(Settings(dataset=DatasetSettings(**given)))
