"""A network of two inputs: whether two drawings show the same digit, from scikit-learn's digits.

    python -m wavesweep dataset=custom dataset.target=examples.two_inputs.pairs model=custom \
        model.target=examples.two_inputs.Siamese model.recipe.epochs=8 model.recipe.batch_size=64 wavelet=haar \
        level=2 threshold.percentile=60 retrain=finetune retrain.epochs=2 retrain.quantize_epochs=1

A batch is a tuple: both drawings, then the class (0 different, 1 the same).
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

Pairs = tuple[Tensor, Tensor, Tensor]


def pairs(count: int = 2000) -> tuple[Pairs, Pairs]:
    """Training and test pairs, half of them of the same digit; no drawing is in both."""
    bunch = load_digits()
    drawings, digits = torch.from_numpy(bunch.data).float() / 16, torch.from_numpy(bunch.target)
    middle = len(digits) * 4 // 5
    generator = torch.Generator().manual_seed(0)

    def drawn(low: int, high: int, many: int) -> Pairs:
        first = torch.randint(low, high, (many,), generator=generator)
        second = torch.randint(low, high, (many,), generator=generator)
        for number in range(0, many, 2):  # the next drawing of the same digit
            same = torch.nonzero(digits[low:high] == digits[first[number]])[:, 0] + low
            second[number] = same[torch.randint(len(same), (), generator=generator)]
        return drawings[first], drawings[second], (digits[first] == digits[second]).long()

    return drawn(0, middle, count), drawn(middle, len(digits), count // 4)


class Siamese(nn.Module):
    """One network sees both drawings; another compares what it says of them."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.seen = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, width))
        self.compared = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits of different and the same."""
        return self.compared((self.seen(first) - self.seen(second)).abs())
