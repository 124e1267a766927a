"""A folder of images: decoded once, whatever the number of trials and runs."""

import json

import numpy as np
import pytest
from command_line import records, written
from PIL import Image

pytestmark = pytest.mark.integration

COUNTS = {"train": 20, "test": 10}
CLASSES = {"bright": 170, "dark": 0}
FOLDER = ("dataset=image_folder", "dataset.path=images", "dataset.image_size=8", "dataset.channels=1")


def write_images(root):
    generator = np.random.default_rng(0)
    for part, count in COUNTS.items():
        for name, base in CLASSES.items():
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = (base + generator.integers(0, 80, (12, 12, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("folder")
    write_images(directory / "images")
    return directory


@pytest.fixture(scope="module")
def sweep(directory, forked):
    return forked.run(directory, "-m", *FOLDER, "level=1,2")


@pytest.fixture(scope="module")
def unreadable(directory, sweep):
    """The same folder after its images have lost their content; their names and sizes stay."""
    for path in (directory / "images").glob("*/*/*.png"):
        path.write_bytes(bytes(path.stat().st_size))
    return directory


def test_sweep_over_a_folder_separates_its_classes(directory, sweep):
    assert sweep.status == 0, sweep.stderr
    assert "2 trials: 2 done" in sweep.stdout
    for record in records(directory).values():
        assert record["baseline"]["test"]["accuracy"] > 0.9
        assert record["arms"][0]["layers"][0]["shape"] == [256, 64]


def test_decoded_images_have_the_size_asked_for(directory, sweep):
    (cache,) = (directory / "outputs" / "images").iterdir()
    assert json.loads((cache / "images.json").read_text())["classes"] == ["bright", "dark"]
    for part, count in COUNTS.items():
        images = np.load(cache / f"{part}.npy")
        assert (images.shape, images.dtype) == ((2 * count, 1, 8, 8), np.uint8)
        assert images[:count].min() > images[count:].max()


def test_later_runs_decode_nothing(unreadable, sweep, forked):
    outcome = forked.run(unreadable, *FOLDER, "level=3")
    assert outcome.status == 0, outcome.stderr
    (cache,) = (unreadable / "outputs" / "images").iterdir()
    times = written([cache / "train.npy", cache / "test.npy", cache / "images.json"])
    assert max(times.values()) <= sweep.ended
    assert len(records(unreadable)) == 3


@pytest.mark.parametrize("mode", [[], ["-m"]], ids=["single run", "sweep"])
def test_unreadable_image_is_refused_in_one_line_that_names_it(unreadable, forked, mode):
    outputs = f"other{len(mode)}"
    outcome = forked.run(unreadable, *mode, *FOLDER, f"paths.outputs={outputs}")
    assert outcome.status == 2
    assert len(outcome.stderr.splitlines()) == 1
    assert outcome.stderr.startswith("error: dataset.path=images/t")
    assert ".png: cannot be read as an image" in outcome.stderr
    assert not (unreadable / outputs / "baselines").exists()


def test_added_image_makes_another_data_set(tmp_path, forked):
    write_images(tmp_path / "images")
    line = [*FOLDER, "level=1", "compare=[]", "model.recipe.epochs=1"]
    assert forked.run(tmp_path, *line).status == 0
    Image.new("RGB", (12, 12)).save(tmp_path / "images" / "train" / "dark" / "more.png")
    assert forked.run(tmp_path, *line).status == 0
    assert len(records(tmp_path)) == 2
