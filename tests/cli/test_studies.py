"""The experiments of the studies, reduced by overrides and on small data: from the command line to the page."""

import json
import struct

import numpy as np
import pandas as pd
import pytest
from command_line import QUICK, records, run
from PIL import Image
from study_pages import make_page

pytestmark = pytest.mark.integration


def write_fashion_mnist(data, train=120, test=40):
    """Random images in the format of Fashion-MNIST's files: magic number, sizes in big-endian order, bytes."""
    generator = np.random.default_rng(0)
    raw = data / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            sizes = struct.pack(f">{1 + content.ndim}I", 0x0800 + content.ndim, *content.shape)
            (raw / name).write_bytes(sizes + content.tobytes())


@pytest.mark.slow
def test_weight_vs_unit(tmp_path, forked, monkeypatch):
    # A smaller network of the same kind; its last layer is the third.
    small = ("model=mlp", "layers.exclude=[fc3*]", "dataset=digits", QUICK, "seed=0", "threshold.percentile=0,80")
    outcome = forked.run(tmp_path, "-m", "experiment=weight_vs_unit", *small)
    assert outcome.status == 0, outcome.stderr
    found = records(tmp_path)
    for record in found.values():
        (arm,) = record["arms"]
        assert [layer["name"] for layer in arm["layers"]] == ["fc1.weight", "fc2.weight"]
        # Nothing but pruning changes the network.
        if record["settings"]["threshold"]["percentile"] == 0:
            assert arm["test"]["accuracy"] == record["baseline"]["test"]["accuracy"]
            assert arm["test"]["loss"] == pytest.approx(record["baseline"]["test"]["loss"], rel=1e-9)
        elif arm["method"] == "unit":
            assert arm["kept_coefficients"] == 51 * 64 + 25 * 256  # of 256 and 128 units
    (path,) = (tmp_path / "outputs" / "sweeps").glob("*/sweep.json")
    described = json.loads(path.read_text())
    assert set(described["keys"]) == set(described["experiments"]["weight_vs_unit"]) == set(found)
    assert described["arguments"] == ["experiment=weight_vs_unit", *small]
    page = make_page(monkeypatch, tmp_path, "weight_vs_unit")
    assert "| weights: knee at k, % | 90 | " in page
    assert page.count("| magnitude |") == page.count("| unit |") == 2
    # The same trials asked for without the experiment are still those of the study.
    plain = ("quantize=none", "quantize.coefficients=float32", "quantize.other=float32", "compare=[]")
    grid = ("method=magnitude,unit", "threshold.percentile=0,80", "layers.exclude=[fc3*]", QUICK)
    assert forked.run(tmp_path, "-m", *plain, *grid).status == 0
    assert records(tmp_path).keys() == found.keys()
    assert json.loads(path.read_text())["experiments"] == described["experiments"]


@pytest.mark.slow
def test_fashion_tiny_prune_on_files_of_its_format(tmp_path, forked, monkeypatch):
    write_fashion_mnist(tmp_path / "data")
    outcome = forked.run(tmp_path, "-m", "experiment=fashion_tiny_prune", "seed=0,1")
    assert outcome.status == 0, outcome.stderr
    found = records(tmp_path)
    assert len(found) == 2
    for record in found.values():
        assert record["settings"]["dataset"]["name"] == "fashion_mnist"
        (arm,) = record["arms"]
        # 0.01 % of 421,408 weights, wherever in the network they are smallest.
        assert arm["total_coefficients"] - arm["kept_coefficients"] == 42
        assert (arm["requested"]["scope"], arm["requested"]["value"]) == ("global", 0.01)
        assert abs(arm["test"]["accuracy"] - record["baseline"]["test"]["accuracy"]) <= 1 / 40
    assert "| points lost | 1.55 | " in make_page(monkeypatch, tmp_path, "fashion_tiny_prune")


@pytest.mark.slow
def test_charter(tmp_path, forked, monkeypatch):
    small = ("dataset=digits", QUICK, "wavelet=haar", "level=1", "threshold.percentile=80")
    retrain = ("retrain.epochs=3", "retrain.rounds=1")
    outcome = forked.run(tmp_path, "-m", "experiment=charter", *small, *retrain)
    assert outcome.status == 0, outcome.stderr
    assert len(records(tmp_path)) == 2
    page = make_page(monkeypatch, tmp_path, "charter")
    for heading in ("test accuracy %", "bytes", "sparsity %", "test loss", "F1 %", "recall %", "precision %"):
        assert f" {heading} |" in page
    assert page.count("| wavelet | haar | 1 | 80 |") == page.count("| magnitude |") == 2  # before and after
    table = pd.read_csv(tmp_path / "outputs" / "analysis" / "studies" / "charter" / "table.csv")
    assert set(table["retrain.name"].dropna()) == {"none", "iterative"}


@pytest.mark.slow
def test_deep_compression_densenet(tmp_path, forked, monkeypatch):
    small = ("dataset=digits", "model=fashion_cnn", "model.recipe.epochs=1", "seed=0")
    retrain = ("retrain.epochs=3", "retrain.rounds=1", "retrain.learning_rate=0.001")
    for more in (
        ("threshold.percentile=40,90",),
        ("quantize=kmeans", "codec=huffman", "threshold.percentile=65", "quantize.bits=7"),
    ):
        outcome = forked.run(tmp_path, "-m", "experiment=deep_compression_densenet", *small, *retrain, *more)
        assert outcome.status == 0, outcome.stderr
    assert len(records(tmp_path)) == 6
    page = make_page(monkeypatch, tmp_path, "deep_compression_densenet")
    assert "| direct, 37.6 % of the network pruned: test accuracy, % | 66.03 | " in page
    assert page.count("| iterative |") >= 3


@pytest.mark.slow
def test_do_wavelets_help_in_its_three_ways(tmp_path, forked, monkeypatch):
    small = ("model=mlp", "dataset=digits", QUICK, "seed=0,1", "method=wavelet,magnitude")
    grids = {
        "do_wavelets_help": ("quantize.step=0.05,0.1", "quantize.images=64"),
        "do_wavelets_help_gradual": ("retrain.epochs=2", "retrain.quantize_epochs=1", "threshold.percentile=80,95"),
        "do_wavelets_help_rate": ("retrain.epochs=2", "retrain.rate_weight=0.5,2"),
    }
    for name, grid in grids.items():
        outcome = forked.run(tmp_path, "-m", f"experiment={name}", *small, *grid)
        assert outcome.status == 0, outcome.stderr
    assert len(records(tmp_path)) == 3 * 8
    page = make_page(monkeypatch, tmp_path, "do_wavelets_help")
    for way in ("one shot", "pruned while retrained", "bits in the loss"):
        assert f"| {way} | magnitude | 1 | " in page  # at one size
    assert len(list(tmp_path.glob("*.png"))) == page.count("![") == 2


@pytest.mark.slow
def test_charter_of_resnet18_on_a_folder_of_images(tmp_path):
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for name, base in (("dark", 0), ("bright", 170)):
            directory = tmp_path / "images" / part / name
            directory.mkdir(parents=True)
            for number in range(count):
                pixels = (base + generator.integers(0, 80, (32, 32, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(directory / f"{number}.png")
    small = ("dataset=image_folder", "dataset.path=images", "dataset.validation_fraction=0.2", "model.recipe.epochs=1")
    grid = ("wavelet=haar", "level=1", "threshold.percentile=90", "retrain.epochs=3", "retrain.rounds=1")
    outcome = run(tmp_path, "-m", "experiment=charter_resnet18", *small, *grid)
    assert outcome.status == 0, outcome.stderr
    found = records(tmp_path)
    assert {record["settings"]["retrain"]["name"] for record in found.values()} == {"none", "iterative"}
    assert all(len(record["arms"]) == 2 for record in found.values())
