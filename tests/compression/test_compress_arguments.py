"""What callers of `wavesweep.compress` and `export_onnx` get wrong is said in one line, before anything is trained."""

import pytest
import torch
from torch import nn

import wavesweep
from wavesweep.compression import compressor
from wavesweep.errors import SettingsError, TrialError


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


class Returning(nn.Module):
    """A network whose outputs are what `change` makes of logits."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = network(), change

    def forward(self, images):
        return self.change(self.inner(images))


IMAGES, LABELS = torch.randn(20, 1, 8, 8), torch.arange(20) % 10
DATA = {"images": IMAGES, "labels": LABELS, "validation": (IMAGES, LABELS)}
RETRAIN = ["wavelet=haar", "retrain=finetune", "retrain.epochs=1", "retrain.quantize_epochs=0", "progress=false"]


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


def on_meta():
    with torch.device("meta"):
        return network()


def scripted():
    return torch.jit.trace(network(), IMAGES)


def hooked():
    model = network()
    model[1].weight.data = model[1].weight.data.clone().requires_grad_(False)
    model[1].extra = (model[1].weight * 2).requires_grad_(True) * 3  # no leaf, which deepcopy refuses
    return model


REFUSED = {
    "a state dict": (lambda: network().state_dict(), [], {}, r"^model=OrderedDict: must be a torch\.nn\.Module"),
    "lazy layers": (lazy, [], {}, r"^model=1\.weight: has no shape yet; call the model once"),
    "meta device": (on_meta, [], {}, r"^model=1\.weight: has no values"),
    "what cannot be copied": (
        hooked,
        [],
        {},
        r"^model=Sequential: cannot be copied by copy\.deepcopy \(Only Tensors.*; detach what was computed: 1\.extra$",
    ),
    "settings as a string": (
        network,
        "level=2",
        {},
        r"^overrides=level=2: must be a list of settings, or a d",
    ),
    "no settings": (network, None, {}, r"^overrides=None: must be a list of settings"),
    "numbers as settings": (network, [5], {}, r"^overrides=\[5\]: must be a list of settings"),
    "shape that is a number": (network, [], {"input_shape": 64}, r"^input_shape=64: must be the shape of one input"),
    "shape that is a text": (network, [], {"input_shape": "1x8x8"}, r"^input_shape=1x8x8: must be the shape"),
    "negative size": (network, [], {"input_shape": (1, -8, 8)}, r"^input_shape=\(1, -8, 8\): must be the shape"),
    "fraction as size": (network, [], {"input_shape": (1, 8.0, 8)}, r"^input_shape=\(1, 8\.0, 8\): must be"),
    "labels as a list": (network, RETRAIN, {**DATA, "labels": LABELS.tolist()}, r"^labels=list: must be a tensor"),
    "labels of numpy": (network, RETRAIN, {**DATA, "labels": LABELS.numpy()}, r"^labels=ndarray: must be a tensor"),
    "validation labels as a list": (
        network,
        RETRAIN,
        {**DATA, "validation": (IMAGES, LABELS.tolist())},
        r"^validation=list: must be a tensor",
    ),
    "a tuple of outputs": (
        lambda: Returning(lambda logits: (logits, 1)),
        RETRAIN,
        DATA,
        r"^model=outputs tuple: must be a tensor of shape \(inputs, classes\)",
    ),
    "a number per input": (
        lambda: Returning(lambda logits: logits[:, 0]),
        RETRAIN,
        DATA,
        r"^model=outputs of shape \(1,\): must be",
    ),
    "a map per input": (
        lambda: Returning(lambda logits: logits[:, :, None]),
        RETRAIN,
        DATA,
        r"^model=outputs of shape \(1, 10, 1\): must be",
    ),
    "a tuple of outputs for importances": (
        lambda: Returning(lambda logits: (logits, None)),
        ["quantize=rdo", "threshold=none", "method=magnitude"],
        {"images": IMAGES},
        r"^model=outputs tuple: must be a tensor of floating-point numbers, .*or set quantize\.importance=none$",
    ),
    "classes for importances": (
        lambda: Returning(lambda logits: logits.argmax(1)),
        ["quantize=rdo", "threshold=none", "method=magnitude"],
        {"images": IMAGES},
        r"^model=outputs int64: must be a tensor of floating-point numbers",
    ),
    "a drop that is not measured": (
        network,
        [*RETRAIN, "quantize.max_drop=1"],
        DATA,
        r"^quantize\.max_drop=1\.0: needs a data set; use the command line",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said_in_one_line(name):
    build, overrides, data, expected = REFUSED[name]
    with pytest.raises(SettingsError, match=expected) as raised:
        wavesweep.compress(build(), overrides, **data)
    assert "\n" not in str(raised.value)


LACKING = {
    "data of retraining": (RETRAIN, {"images": IMAGES, "labels": LABELS}, r"^retrain\.name=finetune: needs data; give"),
    "labels that fit": (RETRAIN, {**DATA, "labels": LABELS[:5]}, r"^labels=\(5,\): must be one int64 per image"),
    "classes of the network": (RETRAIN, {**DATA, "labels": LABELS + 1}, r"^labels=labels: must hold classes from 0"),
    "early weights": (
        ["retrain=rewind", "retrain.rewind=weights"],
        DATA,
        r"^retrain\.rewind=weights: needs the training of the baseline; use the command line",
    ),
    "images to augment": (
        [*RETRAIN, "retrain.augment=true"],
        {"images": IMAGES[:, 0], "labels": LABELS, "validation": (IMAGES, LABELS)},
        r"^retrain\.augment=True: needs images, of shape",
    ),
    "images for importance": (
        ["quantize=rdo", "quantize.importance=second_order"],
        {},
        r"^quantize\.importance=second_order: needs images; give compress\(images=\.\.\.\)",
    ),
    "shape of an image": (
        ["method=unit", "shrink=true"],
        {},
        r"^shrink=True: needs the shape of an image; give compress\(input_shape=\.\.\.\)",
    ),
}


@pytest.mark.parametrize("name", LACKING)
def test_what_is_lacking_is_said_before_any_work(name, monkeypatch):
    overrides, data, expected = LACKING[name]
    monkeypatch.setattr(compressor, "prune", lambda *_: pytest.fail("pruned"))
    with pytest.raises(SettingsError, match=expected):
        wavesweep.compress(network(), overrides, **data)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_a_scripted_network_is_refused():
    with pytest.raises(SettingsError, match=r"^model=a TorchScript module: is not taken; give the module"):
        wavesweep.compress(scripted())


def test_outputs_without_derivatives_are_one_line():
    model = Returning(lambda logits: logits.detach())
    with pytest.raises(
        TrialError, match=r"^outputs have no derivatives by the weights; use quantize\.importance=none$"
    ):
        wavesweep.compress(model, ["quantize=rdo", "threshold=none", "method=magnitude"], images=IMAGES)


def test_a_pattern_that_matches_nothing_is_warned_of():
    with pytest.warns(UserWarning, match=r"^layers\.exclude: 'fc9\*' matches no tensor of the network$"):
        wavesweep.compress(network(), ["wavelet=haar", "layers.exclude=[fc9*]"])


def test_images_of_the_callers_stay_as_they_were():
    model = network()
    model.insert(0, nn.ReLU(inplace=True))
    images = IMAGES.clone()
    wavesweep.compress(model, [*RETRAIN, "retrain.distillation=0.5"], **{**DATA, "images": images})
    wavesweep.compress(model, ["wavelet=haar", "quantize=rdo"], images=images)
    assert torch.equal(images, IMAGES)
    assert bool((IMAGES < 0).any())


def test_the_callers_random_numbers_continue():
    model = network()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    wavesweep.compress(model, RETRAIN, **DATA)
    assert torch.equal(torch.rand(2), expected)
