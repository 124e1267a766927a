"""Networks that nobody here made, without a download: what `network_coverage.py` compresses. Weights are random.

Those of torchvision are of full size; of Hugging Face's the vocabularies are, and the layers are fewer and narrower.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torchvision.models as vision
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.models import detection, segmentation, video


@dataclass(frozen=True)
class CoveredNetwork:
    """A network: what it is called, what makes it, and the shape of one input; `is_tokens` says of which type.

    `is_plain`: it takes one tensor and gives one, or an object with logits, so that it can be exported.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    is_tokens: bool = False
    is_plain: bool = True


class SpeakerEncoder(nn.Module):
    """Three layers of LSTM over frames of 40 bands, as of GE2E (Wan et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)

    def forward(self, frames: Tensor) -> Tensor:
        """Shapes: (count, frames, 40) to (count, 256)."""
        return self.linear(self.lstm(frames)[0][:, -1]).relu()


class Translator(nn.Module):
    """Embedding, two directions of GRU, and a cell step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.encoder = nn.Embedding(4000, 128), nn.GRU(128, 128, bidirectional=True, batch_first=True)
        self.cell, self.out = nn.GRUCell(256, 128), nn.Linear(128, 4000)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: (count, length) to (count, 4000)."""
        encoded, state = self.encoder(self.embedding(tokens))[0], None
        for step in encoded.unbind(1):
            state = self.cell(step, state)
        return self.out(state)


class TiedLanguageModel(nn.Module):
    """An LSTM with a projection, whose output layer is its embedding (Press and Wolf 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(6000, 128), nn.LSTM(128, 512, 2, batch_first=True, proj_size=128)
        self.out = nn.Linear(128, 6000)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: (count, length) to (count, 6000)."""
        return self.out(self.lstm(self.embedding(tokens))[0][:, -1])


class UNet(nn.Module):
    """Three scales, upsampled by transposed convolutions (Ronneberger et al. 2015)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        self.down = nn.ModuleList(self._block(*pair) for pair in pairwise(sizes))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * size, size, 2, stride=2) for size in sizes[2:0:-1])
        self.joined = nn.ModuleList(self._block(2 * size, size) for size in sizes[2:0:-1])
        self.out = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _block(inputs: int, outputs: int) -> nn.Module:
        both = (nn.Conv2d(size, outputs, 3, padding=1, bias=False) for size in (inputs, outputs))
        return nn.Sequential(*(part for conv in both for part in (conv, nn.BatchNorm2d(outputs), nn.ReLU())))

    def forward(self, images: Tensor) -> Tensor:
        """Shapes: (count, 3, height, width) to (count, 2, height, width)."""
        kept: list[Tensor] = []
        for number, block in enumerate(self.down):
            images = block(images if not number else nn.functional.max_pool2d(images, 2))
            kept.append(images)
        for up, joined, skipped in zip(self.up, self.joined, kept[-2::-1], strict=True):
            images = joined(torch.cat([up(images), skipped], 1))
        return self.out(images)


class Sine(nn.Module):
    """A layer of a SIREN that has its own weight, as its users write it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(outputs, inputs)), nn.Parameter(torch.zeros(outputs))
        nn.init.uniform_(self.weight, -((6 / inputs) ** 0.5) / 30, (6 / inputs) ** 0.5 / 30)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (count, inputs) to (count, outputs)."""
        return torch.sin(30 * (inputs @ self.weight.T + self.bias))


class Pitch(nn.Module):
    """Dilated convolutions over sound with normalised weights, and a recurrent layer with one too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *(
                parametrizations.weight_norm(nn.Conv1d(1 if not k else 64, 64, 9, padding=4 << k, dilation=1 << k))
                for k in range(4)
            )
        )
        self.rows, self.out = nn.LSTM(64, 64, batch_first=True), nn.Linear(64, 360)
        parametrizations.weight_norm(self.rows, "weight_hh_l0")

    def forward(self, sound: Tensor) -> Tensor:
        """Shapes: (count, 1, samples) to (count, 360)."""
        return self.out(self.rows(self.convolutions(sound).transpose(1, 2))[0].mean(1))


class Recommender(nn.Module):
    """Bags of items and a bilinear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.items, self.users = nn.EmbeddingBag(5000, 32), nn.EmbeddingBag(3000, 32)
        self.both, self.out = nn.Bilinear(32, 32, 16), nn.Linear(16, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: (count, 8) to (count, 1)."""
        return self.out(self.both(self.items(tokens), self.users(tokens % 3000)).relu())


class Seq2Seq(nn.Module):
    """PyTorch's own transformer, with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(2000, 128), nn.Parameter(torch.randn(1, 64, 128) / 50)
        self.transformer = nn.Transformer(128, 4, 2, 2, 256, batch_first=True)
        self.out = nn.Linear(128, 2000)

    def forward(self, tokens: Tensor) -> Tensor:
        """Shapes: (count, length) to (count, 2000)."""
        hidden = self.embedding(tokens) + self.positions[:, : tokens.shape[1]]
        return self.out(self.transformer(hidden, hidden).mean(1))


def _bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    narrow: Any = BertConfig(hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024)
    return BertForSequenceClassification(narrow)


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_embd=256, n_layer=4, n_head=4))


def _t5() -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(d_model=256, d_ff=512, num_layers=4, num_heads=4))


def _vit() -> nn.Module:
    return vision.VisionTransformer(64, 8, 6, 4, 192, 768)


def _siren() -> nn.Module:
    return nn.Sequential(*(Sine(2 if not k else 128, 128) for k in range(5)), nn.Linear(128, 3))


_PHOTO, _SMALL = (3, 224, 224), (3, 64, 64)

NETWORKS = (
    CoveredNetwork("resnet18", vision.resnet18, _SMALL),
    CoveredNetwork("resnext50_32x4d", vision.resnext50_32x4d, _SMALL),
    CoveredNetwork("densenet121", vision.densenet121, _SMALL),
    CoveredNetwork("squeezenet1_1", vision.squeezenet1_1, _SMALL),
    CoveredNetwork("googlenet", lambda: vision.googlenet(aux_logits=False, init_weights=False), _SMALL),
    CoveredNetwork("shufflenet_v2_x1_0", vision.shufflenet_v2_x1_0, _SMALL),
    CoveredNetwork("mobilenet_v2", vision.mobilenet_v2, _SMALL),
    CoveredNetwork("mobilenet_v3_small", vision.mobilenet_v3_small, _SMALL),
    CoveredNetwork("mnasnet0_5", vision.mnasnet0_5, _SMALL),
    CoveredNetwork("efficientnet_b0", vision.efficientnet_b0, _SMALL),
    CoveredNetwork("regnet_y_400mf", vision.regnet_y_400mf, _SMALL),
    CoveredNetwork("convnext_tiny", vision.convnext_tiny, _SMALL),
    CoveredNetwork("swin_t", vision.swin_t, _SMALL),
    CoveredNetwork("VisionTransformer, 6 layers", _vit, _SMALL),
    CoveredNetwork("mc3_18 (video)", video.mc3_18, (3, 8, 64, 64)),
    CoveredNetwork(
        "lraspp_mobilenet_v3_large (segmentation)",
        lambda: segmentation.lraspp_mobilenet_v3_large(weights_backbone=None),
        _SMALL,
        is_plain=False,
    ),
    CoveredNetwork(
        "ssdlite320_mobilenet_v3_large (detector)",
        lambda: detection.ssdlite320_mobilenet_v3_large(weights_backbone=None),
        _PHOTO,
        is_plain=False,
    ),
    CoveredNetwork("BERT, 4 layers of 256", _bert, (16,), is_tokens=True),
    CoveredNetwork("GPT-2, 4 layers of 256", _gpt2, (16,), is_tokens=True),
    CoveredNetwork("T5 encoder, 4 layers of 256", _t5, (16,), is_tokens=True, is_plain=False),
    CoveredNetwork("nn.Transformer with positions", Seq2Seq, (16,), is_tokens=True),
    CoveredNetwork("speaker encoder (3 x LSTM)", SpeakerEncoder, (20, 40)),
    CoveredNetwork("translator (GRU, GRUCell)", Translator, (12,), is_tokens=True),
    CoveredNetwork("language model (LSTM, tied)", TiedLanguageModel, (12,), is_tokens=True),
    CoveredNetwork("U-Net", UNet, _SMALL),
    CoveredNetwork("SIREN (layers of its own)", _siren, (2,)),
    CoveredNetwork("pitch tracker (weight_norm)", Pitch, (1, 512)),
    CoveredNetwork("recommender (EmbeddingBag)", Recommender, (8,), is_tokens=True),
)
