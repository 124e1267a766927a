"""An LSTM that tags each element of a sequence with one of four classes: what it is, and what came before.

    python -m wavesweep task=segmentation dataset=custom dataset.target=examples.sequence_tagger.brackets \
        model=custom model.target=examples.sequence_tagger.Tagger model.recipe.epochs=8 \
        model.recipe.learning_rate=0.01 wavelet=haar level=1 threshold.percentile=50 retrain=finetune \
        retrain.epochs=4

Tags are classes at positions, as those of pixels: the task is segmentation, and its metric mean IoU. Sequences have
different lengths; the data set pads them with its own `collate_fn`, and padding (-1) does not count.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset


class Sequences(Dataset):
    """Random brackets and letters; each is tagged by its depth, at most 3."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(8, 20, (count,), generator=generator).tolist()
        self._rows = [torch.randint(0, 3, (length,), generator=generator) for length in lengths]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        depth, tags = 0, []
        for symbol in self._rows[number].tolist():  # 0 opens, 1 closes, 2 is a letter
            depth = min(depth + 1, 3) if symbol == 0 else max(depth - 1, 0) if symbol == 1 else depth
            tags.append(depth)
        return {"symbols": self._rows[number], "labels": torch.tensor(tags)}

    @staticmethod
    def collate_fn(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A batch: rows of one length, padded with the letter and the tag that does not count."""
        fill = {"symbols": 2, "labels": -1}
        return {
            name: pad_sequence([row[name] for row in rows], batch_first=True, padding_value=value)
            for name, value in fill.items()
        }


def brackets() -> tuple[Sequences, Sequences]:
    """Training and test sequences."""
    return Sequences(400, 0), Sequences(100, 1)


class Tagger(nn.Module):
    """An embedding, an LSTM and a layer per position; its input has a name, as the batches are mappings."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits of shape (sequences, tags, positions)."""
        return self.head(self.lstm(self.embedding(symbols))[0]).movedim(-1, 1)
