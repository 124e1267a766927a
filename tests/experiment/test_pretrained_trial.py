"""Whole trials with weights of torchvision on a folder of photos, downloaded from a file:// address."""

import hashlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models._api import BUILTIN_MODELS, Weights, WeightsEnum
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from wavesweep.data.datasets import load_dataset
from wavesweep.data.splits import StoredImages
from wavesweep.errors import SettingsError
from wavesweep.experiment.trial import run_trial
from wavesweep.settings.schema import (
    DatasetSettings,
    ModelSettings,
    PathsSettings,
    QuantizeSettings,
    Recipe,
    RetrainSettings,
    Settings,
)

SIZE, MEAN, STD = 16, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
CLASSES = {"blue": 2, "green": 1, "red": 0}


def tiny(num_classes=3):
    network = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(256, num_classes))
    network[0].weight.data *= 0.1
    network[0].weight.data[torch.arange(16), torch.arange(16) % 3] += 0.3
    network[0].bias.data.zero_()
    network[3].weight.data *= 0.1
    for kind, channel in enumerate(CLASSES.values()):
        network[3].weight.data[kind].reshape(16, 16)[torch.arange(16) % 3 == channel] += 0.3
    return network


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Makes `tiny` one of torchvision's classifiers; gives its trained state."""
    torch.manual_seed(1)
    state = tiny().state_dict()
    torch.save(state, tmp_path / "tiny.pth")
    digest = hashlib.sha256((tmp_path / "tiny.pth").read_bytes()).hexdigest()[:8]
    file = (tmp_path / "tiny.pth").rename(tmp_path / f"tiny-{digest}.pth")
    preset = partial(
        ImageClassification,
        crop_size=SIZE,
        resize_size=20,
        mean=MEAN,
        std=STD,
        interpolation=InterpolationMode.BICUBIC,
    )
    found = Weights(url=file.as_uri(), transforms=preset, meta={"categories": list(CLASSES)})
    enumeration = WeightsEnum("TinyWeights", {"V1": found, "DEFAULT": found})

    def build(weights: enumeration = None, progress=True, num_classes=3):
        model = tiny(num_classes)
        if weights is not None:
            model.load_state_dict(weights.get_state_dict(progress=progress, check_hash=True))
        return model

    build.__module__ = "torchvision.models.tiny"
    build.__annotations__["weights"] = enumeration
    monkeypatch.setitem(BUILTIN_MODELS, "tiny", build)
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield state, preset()
    torch.hub.set_dir(before)


def photos(folder, parts, count=8):
    """Landscapes and portraits that have mostly one colour in the middle, and another one at the edges."""
    generator = np.random.default_rng(len(parts))
    for part in parts:
        for name, channel in CLASSES.items():
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = ((24, 40), (36, 24))[number % 2]
                pixels = generator.integers(0, 90, (height, width, 3))
                pixels[:, :, (channel + 1) % 3] += 160
                pixels[height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10] = 40
                pixels[height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10, channel] = 230
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{number}.png")
    return folder


def settings(folder, epochs=0, weights="DEFAULT", retrain="none", **more):
    recipe = Recipe(optimizer="sgd", learning_rate=0.01, epochs=epochs, batch_size=8)
    return Settings(
        model=ModelSettings(name="tiny", source="torchvision", weights=weights, recipe=recipe),
        dataset=DatasetSettings(name="image_folder", path=str(folder), validation_fraction=0.25, **more),
        retrain=RetrainSettings(name=retrain, epochs=1, quantize_epochs=0),
        wavelet="haar",
        level=1,
        compare=[],
        paths=PathsSettings(outputs=str(folder.parent / "outputs")),
        progress=False,
    )


def files(folder, part):
    return [file for name in CLASSES for file in sorted((folder / part / name).iterdir())]


def test_photos_become_what_the_weights_were_trained_on(tmp_path, weights):
    folder = photos(tmp_path / "photos", ["val"])
    dataset = load_dataset(settings(folder))
    expected = {}
    for file in files(folder, "val"):
        with Image.open(file) as image:
            expected[file] = weights[1](image.convert("RGB"))
    wanted = torch.stack(list(expected.values()))
    found = torch.cat([dataset.normalise(part.images[:]) for part in (dataset.validation, dataset.test)])
    distances = torch.cdist(found.flatten(1), wanted.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(1).values.max() < 1e-3
    assert sorted(distances.argmin(1).tolist()) == list(range(len(wanted)))


def test_a_folder_with_held_out_photos_only_gives_validation_and_test(tmp_path, weights):
    folder = photos(tmp_path / "photos", ["val"])
    record = run_trial(settings(folder))
    assert record["baseline"]["test"]["accuracy"] == 1.0
    stored = next((tmp_path / "outputs").glob("baselines/*/weights.safetensors"))
    assert stored.stat().st_size > 0
    dataset = load_dataset(settings(folder))
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [0, 6, 18]
    assert torch.bincount(dataset.validation.labels).tolist() == [2, 2, 2]
    assert dataset.input_shape == (3, SIZE, SIZE)
    with pytest.raises(SettingsError, match=r"^retrain\.name=finetune: needs training images.*train/<class>"):
        run_trial(settings(folder, retrain="finetune"))
    with pytest.raises(SettingsError, match=r"^dataset\.path=.*train: "):
        run_trial(settings(folder, epochs=1))


def test_photos_for_training_are_decoded_when_they_are_needed_and_chosen_by_held_out_ones(tmp_path, weights):
    folder = photos(tmp_path / "photos", ["train", "val"])
    dataset = load_dataset(settings(folder))
    # The weights may have seen train/, so what chooses is held out of val/.
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [24, 6, 18]
    assert isinstance(dataset.train.images, StoredImages)
    run_trial(settings(folder))
    assert [file.name for file in (tmp_path / "outputs").glob("images/*/*.npy")] == ["val.npy"]
    record = run_trial(settings(folder, retrain="finetune"))
    assert record["arms"][0]["retraining"]["epochs"] == 1
    decoded = {file.name for file in (tmp_path / "outputs").glob("images/*/*.npy")}
    assert decoded == {"train.npy", "val.npy"}
    with Image.open(files(folder, "train")[0]) as image:
        pixels = weights[1](image.convert("RGB"))
    torch.testing.assert_close(dataset.normalise(dataset.train.images[:1])[0], pixels, atol=1e-4, rtol=0)


def test_only_photos_that_an_estimate_needs_are_decoded(tmp_path, weights):
    folder = photos(tmp_path / "photos", ["train", "val"])
    chosen = load_dataset(settings(folder)).calibration.head(6)
    assert list((tmp_path / "outputs").glob("images/*/train.npy")) == []
    assert chosen.labels.tolist() == [0, 0, 1, 1, 2, 2]
    found = chosen.images[:]
    (file,) = (tmp_path / "outputs").glob("images/*/train.npy")
    assert np.array_equal(np.load(file), found.numpy())
    run_trial(replace(settings(folder), quantize=QuantizeSettings(step=0.1, importance="second_order", images=6)))
    assert list((tmp_path / "outputs").glob("images/*/train.npy")) == [file]
    everything = load_dataset(settings(folder)).train.images[:]
    assert torch.equal(found, everything[[0, 4, 8, 12, 16, 20]])
    # Now that all are decoded, others are taken from these.
    assert torch.equal(load_dataset(settings(folder)).calibration.head(3).images[:], everything[[0, 8, 16]])
    assert len(list((tmp_path / "outputs").glob("images/*/train.npy"))) == 2


def test_a_network_that_is_trained_validates_on_its_training_photos(tmp_path, weights):
    folder = photos(tmp_path / "photos", ["train", "val"])
    dataset = load_dataset(settings(folder, epochs=1))
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [18, 6, 24]
    assert isinstance(dataset.train.images, torch.Tensor)
    torch.testing.assert_close(dataset.mean.flatten() / 255, torch.tensor(MEAN))


def test_without_weights_the_settings_say_how_photos_are_cut(tmp_path, weights):
    folder = photos(tmp_path / "photos", ["train", "test", "val"])
    squeezed = load_dataset(settings(folder, 1, None, image_size=SIZE))
    cut = load_dataset(settings(folder, 1, None, image_size=SIZE, resize=20))
    assert squeezed.digest != cut.digest
    # Of three folders each is a split; cut, the photos have the colour of their middle alone.
    assert [len(part) for part in (cut.train, cut.validation, cut.test)] == [24, 24, 24]
    brightest = cut.test.images.float().mean((2, 3)).argmax(1)
    assert brightest.tolist() == [channel for channel in CLASSES.values() for _ in range(8)]
    assert (cut.test.images[:, :, 0].float() - squeezed.test.images[:, :, 0].float()).abs().max() > 50
