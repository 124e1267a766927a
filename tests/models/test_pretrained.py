"""torchvision's classifiers by name: from scratch, with weights from a cache or a download, with other classes."""

import pytest
import torch
import torchvision
from torchvision.models._api import BUILTIN_MODELS
from torchvision.transforms._presets import ImageClassification

from wavesweep.errors import SettingsError
from wavesweep.experiment.inputs import input_digests
from wavesweep.models.pretrained import trained_weights, weights_file
from wavesweep.models.zoo import build_model
from wavesweep.settings.schema import DatasetSettings, ModelSettings, Recipe, Settings


def settings(name="resnet18", epochs=0, **more):
    return ModelSettings(name=name, source="torchvision", recipe=Recipe(epochs=epochs), **more)


def build(shape=(3, 64, 64), classes=1000, seed=0, **more):
    return build_model(settings(**more), shape, classes, seed)


@pytest.fixture
def cache(tmp_path):
    """torch.hub's directory of weights, empty."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(3)
    return torchvision.models.shufflenet_v2_x0_5().state_dict()


NAME = "shufflenet_v2_x0_5"


def test_without_weights_the_network_has_the_classes_of_the_data_set_and_follows_from_the_seed():
    model = build(name=NAME, classes=7, epochs=1)
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    same, other = build(name=NAME, classes=7, epochs=1), build(name=NAME, classes=7, epochs=1, seed=1)
    assert torch.equal(model.fc.weight, same.fc.weight)
    assert not torch.equal(model.fc.weight, other.fc.weight)


def test_cached_weights_are_loaded(cache, trained):
    torch.save(trained, cache / weights_file(settings(NAME, weights="DEFAULT")))
    model = build(name=NAME, weights="DEFAULT")
    assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


def test_with_other_classes_only_the_last_layer_is_new(cache, trained):
    torch.save(trained, cache / weights_file(settings(NAME, weights="DEFAULT")))
    with pytest.raises(
        SettingsError, match=r"^model\.weights=DEFAULT: has 1000 classes where the data set has 5; set mo"
    ):
        build(name=NAME, weights="DEFAULT", classes=5)
    state = build(name=NAME, weights="DEFAULT", classes=5, epochs=1).state_dict()
    assert {name for name, value in state.items() if not torch.equal(value, trained[name])} == {"fc.weight", "fc.bias"}
    assert state["fc.weight"].shape == (5, 1024)


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1", pytest.param("vit_b_16", marks=pytest.mark.slow)])
def test_the_last_layer_is_found_wherever_it_is(monkeypatch, name):
    # Without a download: what the weights would be does not matter here.
    builder = BUILTIN_MODELS[name]
    monkeypatch.setitem(BUILTIN_MODELS, name, _without_download(builder))
    model = build((3, 224, 224), classes=3, name=name, weights="IMAGENET1K_V1", epochs=1)
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


def _without_download(builder):
    def build_untrained(weights=None, progress=False, **options):
        return builder(weights=None, **options)

    build_untrained.__annotations__["weights"] = builder.__annotations__["weights"]
    build_untrained.__module__ = builder.__module__
    return build_untrained


def test_every_classifier_has_weights_with_a_file_and_a_preparation():
    names = torchvision.models.list_models(module=torchvision.models)
    assert {"resnet50", "densenet121", "mobilenet_v2", "vit_b_16"} <= set(names)
    for name in names:
        weights = trained_weights(settings(name, weights="DEFAULT"))
        assert weights_file(settings(name, weights="DEFAULT")).endswith(".pth")
        assert len(weights.meta["categories"]) == 1000
        assert isinstance(weights.transforms(), ImageClassification)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"name": "resnet51"},
            r"model\.name=resnet51: must be one of torchvision's \d+ classifiers; did you mean resnet",
        ),
        ({"name": "mlp"}, r"model\.name=mlp: must be one of torchvision's"),
        ({"name": "fcn_resnet50"}, r"model\.name=fcn_resnet50: must be one of"),
        ({"weights": "V1"}, r"model\.weights=V1: must be one of IMAGENET1K_V1, DEFAULT for model\.name=resnet18"),
        ({"arguments": {"depth": 3}, "epochs": 1}, r"model\.arguments=.*unexpected keyword argument 'depth'"),
        ({"shape": (1, 28, 28), "epochs": 1}, r"model=resnet18: does not accept images of shape \(1, 28, 28\)"),
        ({"name": "vit_b_16", "shape": (3, 32, 32), "epochs": 1}, "does not accept images of shape.*[Hh]eight"),
    ],
)
def test_what_cannot_be_built_is_one_line(more, message):
    with pytest.raises(SettingsError, match=message) as raised:
        build(**more)
    assert "\n" not in str(raised.value)


def test_a_failed_download_says_where_the_file_goes(cache, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(SettingsError) as raised:
        build(weights="IMAGENET1K_V1")
    assert str(raised.value) == (
        "model.weights=IMAGENET1K_V1: cannot be had from "
        "https://download.pytorch.org/models/resnet18-f37072fd.pth (no network in tests); "
        f"put that file into {cache}"
    )


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_a_damaged_file_of_weights_is_named(cache, content):
    path = cache / weights_file(settings(NAME, weights="DEFAULT"))
    if content is None:
        torch.save({"fc.weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(
        SettingsError, match=r"^model\.weights=DEFAULT: cannot be had from https://.*; put that"
    ) as raised:
        build(name=NAME, weights="DEFAULT")
    assert "\n" not in str(raised.value)


def test_the_file_of_the_weights_is_in_the_key():
    digests = [
        input_digests(Settings(model=settings("resnet50", weights=name)))
        for name in ("DEFAULT", "IMAGENET1K_V2", "IMAGENET1K_V1")
    ]
    assert digests[0] == digests[1] == {"weights": "resnet50-11ad3fa6.pth"}
    assert digests[2] != digests[0]
    assert input_digests(Settings(model=settings("resnet50"), dataset=DatasetSettings())) == {}
