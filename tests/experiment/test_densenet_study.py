"""The study `deep_compression_densenet`: its configuration on a few images in the format of CIFAR-100."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision

from wavesweep.cli.composition import compose_settings
from wavesweep.experiment.trial import run_trial

NETWORK = ("model=mlp", "model.arguments={hidden: [32]}")
FEW = ("model.recipe.epochs=1", "seed=0", "progress=false", "threshold.percentile=50")
RETRAINED = ("retrain=iterative", "retrain.epochs=3", "retrain.rounds=2", "retrain.quantize_epochs=1")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Runs a point of the study on a data set of the right format that is not the real one."""
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, *_: Path(path).is_file())
    directory = tmp_path / "data" / "cifar-100-python"
    directory.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, each in (("train", 4), ("test", 1)):
        labels = list(range(100)) * each
        images = generator.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        (directory / name).write_bytes(pickle.dumps({"data": images, "fine_labels": labels}))
    (directory / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(number) for number in range(100)]}))
    paths = (f"paths.data={tmp_path / 'data'}", f"paths.outputs={tmp_path / 'outputs'}")

    def run(*overrides):
        lines = ["experiment=deep_compression_densenet", "dataset.validation_fraction=0.25", *paths, *overrides]
        return run_trial(compose_settings(lines))

    return run


@pytest.mark.integration
def test_each_stage_of_the_study_runs_on_the_format_of_cifar100(study):
    direct = study("retrain=none", *NETWORK, *FEW)["arms"][0]
    iterative = study(*RETRAINED, *NETWORK, *FEW)["arms"][0]
    coded = study("quantize=kmeans", "codec=huffman", "quantize.bits=6", *RETRAINED, *NETWORK, *FEW)["arms"][0]
    assert direct["kept_coefficients"] == iterative["kept_coefficients"] == coded["nonzero_coefficients"]
    for arm in (direct, iterative, coded):
        assert [layer["kept"] for layer in arm["layers"]] == [layer["coefficients"] // 2 for layer in arm["layers"]]
    assert iterative["retraining"]["epochs"] == coded["retraining"]["epochs"] == 3
    assert coded["stored_bytes"] < direct["stored_bytes"] / 3


@pytest.mark.slow
def test_densenet_itself_takes_images_of_cifar100(study):
    arm = study("quantize=kmeans", "codec=huffman", "quantize.bits=8", "retrain=none", *FEW)["arms"][0]
    assert sum(layer["coefficients"] for layer in arm["layers"]) == 775_944
