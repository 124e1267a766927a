"""A language model: a small GPT that learns the characters of this repository's guide.

    python -m wavesweep task=language_model task.arguments={token:character} dataset=custom \
        dataset.target=examples.character_gpt.text model=custom model.target=examples.character_gpt.GPT \
        model.recipe.epochs=5 model.recipe.learning_rate=0.005 model.recipe.batch_size=16 wavelet=haar level=2 \
        threshold.percentile=60 retrain=finetune retrain.epochs=3 retrain.quantize_epochs=1

Reports bits per character (lower is better), beside the share of characters that are predicted.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

_ALPHABET, _LENGTH = 128, 64  # ASCII; others are one character


def text() -> tuple[Tensor, Tensor]:
    """Training and test parts as rows of characters, each with the one that follows its last."""
    pages = sorted(Path(__file__).parent.parent.glob("docs/guide/*.md"))
    content = "".join(page.read_text(encoding="utf-8") for page in pages)[:60_000]
    characters = torch.tensor([min(ord(one), _ALPHABET - 1) for one in content])
    rows = characters.unfold(0, _LENGTH + 1, _LENGTH)
    return rows[: -len(rows) // 5], rows[-len(rows) // 5 :]


class Block(nn.Module):
    """Attention to earlier characters, and a layer for each position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The sum of the two and what came in."""
        normed = self.before(hidden)
        hidden = hidden + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return hidden + self.layers(self.after(hidden))


class GPT(nn.Module):
    """Two blocks between an embedding and the logits of the next character."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(_ALPHABET, width), nn.Embedding(_LENGTH, width)
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.head = nn.Linear(width, _ALPHABET)

    def forward(self, characters: Tensor) -> Tensor:
        """Logits of shape (texts, positions, characters)."""
        length = characters.shape[1]
        hidden = self.characters(characters) + self.places(torch.arange(length, device=characters.device))
        mask = torch.full((length, length), float("-inf"), device=characters.device).triu(1)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return self.head(hidden)
