"""Kinds of retraining of the digits MLP, and what is asked of their records."""

from dataclasses import replace

import torch
from torch import nn

import wavesweep
from wavesweep.codec.read import read
from wavesweep.settings.schema import (
    MethodSettings,
    ModelSettings,
    PathsSettings,
    QuantizeSettings,
    Recipe,
    RetrainSettings,
    Settings,
    ThresholdSettings,
)

CPU = torch.device("cpu")
MODEL = ModelSettings(arguments={"hidden": [24]}, recipe=Recipe(epochs=4, batch_size=128, learning_rate=0.005))
ALL = ThresholdSettings(percentile=0.0)
KMEANS = {"quantize": QuantizeSettings("kmeans", bits=4)}
RDO = {"quantize": QuantizeSettings(step=0.05, rate_weight=0.02, importance="second_order", images=64)}
RATE = RetrainSettings("rate", epochs=3, learning_rate=0.005, optimizer="adam")
KINDS = {
    "finetune": {"retrain": RetrainSettings("finetune", epochs=3, quantize_epochs=1)},
    "finetune, codebooks": {"retrain": RetrainSettings("finetune", epochs=3), **KMEANS},
    "finetune, each on its own": {
        "retrain": RetrainSettings("finetune", epochs=3),
        "quantize": QuantizeSettings("none"),
    },
    "iterative": {"retrain": RetrainSettings("iterative", epochs=4, rounds=2, quantize_epochs=2, optimizer="sgd")},
    "iterative, regrown, a step a band": {
        "retrain": RetrainSettings("iterative", epochs=4, rounds=2, quantize_epochs=1, regrow=True),
        "quantize": QuantizeSettings(bits=6, per="band"),
    },
    "gradual": {"retrain": RetrainSettings("gradual", epochs=4, quantize_epochs=1)},
    "gradual to the end, codebooks": {
        # Few batches, the last of which begins long before the epoch ends.
        "retrain": RetrainSettings(
            "gradual", epochs=4, ramp=1.0, batch_size=512, learning_rate=0.02, quantize_epochs=3
        ),
        **KMEANS,
    },
    "gradual without quantiser": {"retrain": RetrainSettings("gradual", epochs=2, ramp=1.0, quantize_epochs=0)},
    "gradual, regrown": {"retrain": RetrainSettings("gradual", epochs=3, quantize_epochs=1, regrow=True)},
    "rewound learning rate": {"retrain": RetrainSettings("rewind", rounds=2, rewind_epoch=2, quantize_epochs=1)},
    "rewound weights, codebooks": {
        "retrain": RetrainSettings("rewind", rounds=2, rewind="weights", quantize_epochs=1), **KMEANS
    },
}  # fmt: skip
# Their sparsity is not what pruning asked for.
LOOSE = {
    "rate": {"retrain": RATE, "threshold": ALL},
    "rate of all tensors, a step a band": {
        "retrain": replace(RATE, group_weight=0.01),
        "threshold": ALL,
        "quantize": QuantizeSettings(other="quantized", per="band"),
    },
    "rate, frozen": {"retrain": replace(RATE, epochs=4, freeze_epochs=2), "threshold": ALL},
    "finetune, rate-distortion": {"retrain": RetrainSettings("finetune", epochs=2), **RDO},
}
SHORT = RetrainSettings("gradual", epochs=2, quantize_epochs=1)
# What a device other than the CPU must do as the CPU does.
ON_DEVICES = (
    KINDS
    | LOOSE
    | {
        **{method: {"retrain": SHORT, "method": MethodSettings(method)} for method in ("dct", "rotation", "shuffled")},
        "longer filters": {"retrain": SHORT, "wavelet": "bior2.2"},
        "distilled": {"retrain": replace(SHORT, distillation=0.5)},
        "units": {"retrain": replace(SHORT, name="finetune"), "method": MethodSettings("unit"), "shrink": True},
        "convolutions": {
            "retrain": replace(RATE, epochs=1),
            "model": ModelSettings("resnet20", recipe=Recipe(epochs=1, batch_size=256)),
        },
    }
)
# The same for a network and data of a caller's.
CALLERS = (
    ["retrain=gradual", "retrain.epochs=2", "retrain.quantize_epochs=1"],
    ["retrain=rate", "retrain.epochs=2"],
    ["method=unit", "shrink=true", "retrain=finetune", "retrain.epochs=1", "retrain.quantize_epochs=0"],
    ["quantize=rdo", "quantize.importance=second_order"],
)
COLUMNS = ["method", "epoch", "round", "quantized", "sparsity", "validation_loss", "validation_accuracy", "loss"]


def settings_of(outputs, compare=(), **changes):
    base = Settings(
        model=MODEL, compare=list(compare), paths=PathsSettings(outputs=str(outputs)), progress=False, device="cpu"
    )
    return replace(base, **changes)


def compressed_of(overrides, device, device_of_data):
    """The content of the file of a caller's network, which lies on one device, its data on another."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    labels = torch.randint(0, 3, (200,), generator=generator)
    images = torch.randn(200, 1, 8, 8, generator=generator) + labels[:, None, None, None] - 1
    images, labels = images.to(device_of_data), labels.to(device_of_data)
    return wavesweep.compress(
        model.to(device),
        ["wavelet=haar", "progress=false", *overrides],
        input_shape=(1, 8, 8),
        images=images,
        labels=labels,
        validation=(images[:50], labels[:50]),
    ).content


def arm_of(record, number=0):
    return record["arms"][number]


def file_of(record, outputs, number=0):
    return outputs / "arms" / arm_of(record, number)["arm_key"] / "model.wsz"


def coded_of(path):
    return {tensor.name: tensor for tensor in read(path)[0] if hasattr(tensor, "symbols")}


def untimed(content):
    if isinstance(content, dict):
        timed = {"seconds", "inference_ms", "inference_ms_zeroed", "environment", "paths"}
        return {name: untimed(value) for name, value in content.items() if name not in timed}
    return [untimed(value) for value in content] if isinstance(content, list) else content
