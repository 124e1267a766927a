"""The study `wavelet_vs_magnitude`, whole: a small network on a few images, the real transform and the clamped one."""

import numpy as np
import pytest
from command_line import records, without_timings
from PIL import Image
from study_pages import make_page

pytestmark = pytest.mark.integration

REDUCED = (
    "-m",
    "experiment=wavelet_vs_magnitude",
    "dataset.path=images",
    "dataset.image_size=8",
    "model=fashion_cnn",
    "model.recipe.epochs=1",
    "wavelet=bior4.4",
    "level=1,5",
    "threshold.percentile=50",
    "seed=0",
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, forked):
    """How the command ended, its records by (method, level), and the directory that it ran in."""
    directory = tmp_path_factory.mktemp("study")
    generator = np.random.default_rng(0)
    for part, name, number in [(p, c, n) for p in ("train", "test") for c in ("one", "other") for n in range(20)]:
        path = directory / "images" / part / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    outcome = forked.run(directory, *REDUCED)
    found = {(r["settings"]["method"]["name"], r["settings"]["level"]): r for r in records(directory).values()}
    return outcome, found, directory


def layers_of(arm):
    """What was kept of each layer, without what was asked of the transform."""
    keys = ("name", "coefficients", "kept", "nonzero", "zero_weights", "error")
    return [{key: layer[key] for key in keys} for layer in arm["layers"]]


def test_the_clamped_arm_equals_magnitude_layer_by_layer(ran):
    outcome, found, _ = ran
    assert outcome.status == 0, outcome.stderr
    assert len(found) == 4
    for level in (1, 5):
        record = found["clamped_wavelet", level]
        wavelet, magnitude, random = record["arms"]
        assert [arm["method"] for arm in (wavelet, magnitude, random)] == ["clamped_wavelet", "magnitude", "random"]
        assert layers_of(wavelet) == layers_of(magnitude) != layers_of(random)
        for split in ("validation", "test"):
            assert wavelet[split] == magnitude[split]
        assert abs(wavelet["stored_bytes"] - magnitude["stored_bytes"]) < 60  # the header names the method
        assert all(set(layer["levels"]) == {0} for layer in wavelet["layers"])
        assert {layer["requested_level"] for layer in wavelet["layers"]} == {level}
        assert record["notes"][0].startswith("nothing was transformed: method=clamped_wavelet")
    one, five = found["clamped_wavelet", 1]["arms"], found["clamped_wavelet", 5]["arms"]
    assert one[0]["arm_key"] == five[0]["arm_key"]
    assert without_timings(one[1:]) == without_timings(five[1:])
    assert "1 equal to another, not computed again" in outcome.stdout


def test_the_real_transform_keeps_as_many_coefficients_and_other_weights(ran):
    _, found, _ = ran
    wavelet, magnitude, _ = found["wavelet", 5]["arms"]
    assert wavelet["kept_coefficients"] == magnitude["kept_coefficients"]
    assert max(level for layer in wavelet["layers"] for level in layer["levels"]) == 2
    for layer, other in zip(wavelet["layers"], magnitude["layers"], strict=True):
        assert layer["kept"] == other["kept"]
        assert layer["error"] != other["error"]
    assert not any(note.startswith("nothing was") for note in found["wavelet", 5]["notes"])


def test_its_page_shows_both_forms(ran, monkeypatch):
    _, _, directory = ran
    page = make_page(monkeypatch, directory, "wavelet_vs_magnitude")
    assert "| bior4.4, level clamped, 47.8 % of the network pruned | 58.84 | " in page
    assert page.count("![") == len(list(directory.glob("*.png"))) > 0
