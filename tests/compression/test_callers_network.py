"""Retraining through `wavesweep.compress`: the caller's own network and data."""

import pytest
import torch
from torch import nn
from workloads import assert_same

import wavesweep
from wavesweep.errors import SettingsError


class Tied(nn.Module):
    """Two layers that share a weight; images of 4 x 4."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(16)

    def forward(self, inputs):
        hidden = self.norm(self.first(inputs.flatten(1))).relu()
        return self.last(self.second(hidden).relu())


def labelled(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return torch.randn(count, 1, 4, 4, generator=generator) + labels[:, None, None, None] - 1, labels


OVERRIDES = [
    "wavelet=haar",
    "device=cpu",
    "retrain.batch_size=32",
    "progress=false",
    "retrain.learning_rate=0.01",
    "threshold.percentile=60",
]


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["finetune", "iterative", "gradual", "rewind", "rate"])
def test_a_network_of_the_callers_is_retrained_and_left_as_it_was(kind):
    model = Tied().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (images, labels), validation = labelled(400, 1), labelled(100, 2)
    kept = images.clone(), validation[0].clone()
    counts = [] if kind == "rewind" else ["retrain.epochs=4"]
    if kind == "iterative":
        counts.append("retrain.rounds=2")
    if kind == "rewind":
        counts += ["retrain.rounds=1", "retrain.rewind_epoch=20"]
    overrides = [*OVERRIDES, f"retrain={kind}", *counts]
    compressed = wavesweep.compress(model, overrides, images=images, labels=labels, validation=validation)
    assert_same(model.state_dict(), before)
    assert not model.training
    assert type(model.first) is nn.Linear
    assert model.second.weight is model.first.weight
    assert torch.equal(images, kept[0])
    assert torch.equal(validation[0], kept[1])
    found = compressed.state_dict()
    assert torch.equal(found["first.weight"], found["second.weight"])
    plain = wavesweep.compress(model, [name for name in overrides if "retrain" not in name])

    def accuracy(state):
        other = Tied().eval()
        other.load_state_dict(state)
        return float((other(validation[0]).argmax(1) == validation[1]).float().mean())

    assert accuracy(found) > max(accuracy(plain.state_dict()), 0.5) + 0.1
    again = wavesweep.compress(model, overrides, images=images, labels=labels, validation=validation)
    assert again.content == compressed.content


@pytest.mark.parametrize("missing", ["images", "labels", "validation"])
def test_retraining_needs_data(missing):
    images, labels = labelled(20, 1)
    data = {"images": images, "labels": labels, "validation": (images, labels)}
    del data[missing]
    with pytest.raises(SettingsError, match=r"^retrain\.name=finetune: needs data; give compress\(images=, labels="):
        wavesweep.compress(Tied(), ["wavelet=haar", "retrain=finetune"], **data)


def test_early_weights_of_the_callers_network_are_not_there():
    images, labels = labelled(20, 1)
    overrides = [*OVERRIDES, "retrain=rewind", "retrain.rewind=weights"]
    with pytest.raises(SettingsError, match=r"^retrain\.rewind=weights: needs the training of the baseline"):
        wavesweep.compress(Tied(), overrides, images=images, labels=labels, validation=(images, labels))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"images": [1, 2]}, r"^images=list: must be a tensor of float32, or of int64 for tokens"),
        ({"images": torch.zeros(9, 1, 4, 4, dtype=torch.uint8)}, r"^images=uint8: must be .*; convert and normalise"),
        ({"images": torch.zeros(9, 1, 5, 5)}, r"^images=\(9, 1, 5, 5\): is not what the network takes \(mat1 and mat2"),
        ({"images": torch.zeros(0, 1, 4, 4)}, r"^images=\(0, 1, 4, 4\): must hold one input at least"),
        (
            {"validation": torch.zeros(9, 1, 4, 4)},
            r"^validation=Tensor: must be a pair of images and labels; give compress\(validation=",
        ),
        ({"validation": (torch.zeros(9, 16, 2), None)}, r"^validation=\(9, 16, 2\): is not what the network takes"),
    ],
)
def test_inputs_that_the_network_does_not_take_are_refused_at_once(data, said):
    images, labels = labelled(20, 1)
    given = {"images": images, "labels": labels, "validation": (images, labels)} | data
    with pytest.raises(SettingsError, match=said):
        wavesweep.compress(Tied(), ["wavelet=haar", "retrain=finetune"], **given)


def test_a_shape_that_the_network_does_not_take_is_refused():
    with pytest.raises(SettingsError, match=r"^input_shape=\(1, 1, 5, 5\): is not what the network takes"):
        wavesweep.compress(Tied(), ["method=unit", "shrink=true"], input_shape=(1, 5, 5))


def test_a_setting_without_effect_is_warned_of_and_a_text_is_no_list():
    model = torch.nn.Linear(8, 8)
    with pytest.warns(UserWarning, match=r"^quantize\.damping: 2\.0 has no effect; it needs quantize\.importance"):
        warned = wavesweep.compress(model, ["wavelet=haar", "level=1", "quantize.damping=2"])
    assert warned.content == wavesweep.compress(model, ["wavelet=haar", "level=1"]).content
    with pytest.raises(SettingsError, match=r"^overrides=wavelet=haar: must be a list of settings, or a dict; give \["):
        wavesweep.compress(model, "wavelet=haar")
    with pytest.raises(SettingsError, match=r"^wavelet=haar,db2: must be one value; call"):
        wavesweep.compress(model, ["wavelet=haar,db2"])


class SomeLayersAtATime(nn.Module):
    """A layer that is left out at random while training, so that its first gradient may come late."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.middle, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, inputs):
        hidden = self.first(inputs.flatten(1)).relu()
        if not self.training or torch.rand(()) < 0.5:
            hidden = hidden + self.middle(hidden).relu()
        return self.last(hidden)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_layers_that_are_left_out_at_random_are_retrained(optimizer, seed):
    (images, labels), validation = labelled(256, 1), labelled(64, 2)
    settings = ["method=magnitude", "retrain=finetune", "retrain.epochs=3", f"retrain.optimizer={optimizer}"]
    compressed = wavesweep.compress(
        SomeLayersAtATime(),
        [*OVERRIDES[1:5], *settings, f"seed={seed}"],
        images=images,
        labels=labels,
        validation=validation,
    )
    assert all(torch.isfinite(value).all() for value in compressed.state_dict().values())


@pytest.mark.parametrize(
    ("kind", "overrides", "said"),
    [
        (
            torch.bfloat16,
            [],
            r"^model=weight of bfloat16: must be float32, float64, float16; give compress\(model\.float",
        ),
        (torch.float64, ["retrain=finetune"], r"^model=weight of float64: must be float32 with retrain=finetune; give"),
        (torch.float16, ["retrain=rate"], r"^model=weight of float16: must be float32 with retrain=rate; give"),
    ],
)
def test_types_that_cannot_be_coded_or_retrained_are_refused(kind, overrides, said):
    with pytest.raises(SettingsError, match=said):
        wavesweep.compress(nn.Linear(16, 16).to(kind), ["wavelet=haar", *overrides])


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_other_types_are_pruned_and_keep_their_type(kind, tmp_path):
    model = nn.Linear(16, 16).to(kind)
    compressed = wavesweep.compress(model, ["wavelet=haar", "threshold.percentile=0", "quantize.bits=8"])
    wavesweep.save(compressed, tmp_path / "model.wsz")
    loaded = wavesweep.load(tmp_path / "model.wsz", nn.Linear(16, 16).to(kind))
    assert loaded.weight.dtype == loaded.bias.dtype == kind
    torch.testing.assert_close(loaded.weight, model.weight, rtol=0, atol=0.01)


def test_only_images_are_augmented():
    model, inputs, labels = nn.Linear(16, 3), torch.randn(20, 16), torch.zeros(20, dtype=torch.int64)
    with pytest.raises(SettingsError, match=r"^retrain\.augment=True: needs images, of shape \(count, channels"):
        wavesweep.compress(
            model,
            ["wavelet=haar", "retrain=finetune", "retrain.augment=true", "progress=false"],
            images=inputs,
            labels=labels,
            validation=(inputs, labels),
        )


class Viewed(nn.Module):
    """Flattens as many networks do, which asks for a layout in memory."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 6 * 6, 3)

    def forward(self, images):
        images = images.view(-1, 3, 6, 6)
        hidden = self.conv(images)
        return self.fc(hidden.view(hidden.size(0), -1))


def test_augmented_images_can_be_viewed_by_a_network_of_the_callers():
    labels = torch.arange(60) % 3
    images = torch.randn(60, 3, 6, 6) + labels[:, None, None, None]
    overrides = [
        *OVERRIDES,
        "retrain=finetune",
        "retrain.epochs=1",
        "retrain.quantize_epochs=0",
        "retrain.augment=true",
    ]
    model = Viewed()
    compressed = wavesweep.compress(model, overrides, images=images, labels=labels, validation=(images, labels))
    assert compressed.state_dict()["conv.weight"].shape == (4, 3, 3, 3)
    assert not model._forward_pre_hooks  # what is done about it is done to a copy
