"""When retraining prunes, quantises and at which learning rate: pure functions of the settings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wavesweep.errors import SettingsError
from wavesweep.settings.schema import Recipe, RetrainSettings

# Training with the quantiser starts again at this share of the learning rate: the schedule before it ended at zero.
_QUANTIZED_RATE = 0.1


@dataclass(frozen=True)
class Epoch:
    """One epoch of retraining.

    `round` counts prunings of `iterative` and `rewind`. `rate_scale` times the recipe's schedule between the shares
    `begin` and `end` of it is the learning rate. A `fresh` epoch begins with a new optimizer, a `rewound` one with
    early weights. In a `frozen` one coefficients that are zero stay zero, and no others become zero.
    """

    round: int
    begin: float
    end: float
    rate_scale: float = 1.0
    quantized: bool = False
    fresh: bool = False
    rewound: bool = False
    frozen: bool = False


def retraining_recipe(settings: RetrainSettings, baseline: Recipe) -> Recipe:
    """The recipe of the baseline with what `settings` give; `rewind` keeps the baseline's as it is."""
    given = {
        name: value
        for name in ("optimizer", "learning_rate", "weight_decay", "batch_size", "augment", "precision")
        if (value := getattr(settings, name)) is not None
    }
    if settings.name == "rewind":
        return replace(baseline, **given)
    return replace(baseline, schedule=settings.schedule, epochs=settings.epochs, **given)


def timeline(settings: RetrainSettings, baseline: Recipe, quantizes: bool) -> tuple[Epoch, ...]:
    """All epochs in their order; the last `retrain.quantize_epochs` train the quantiser as well, if there is one.

    Raises:
        SettingsError: the epochs do not suffice.
    """
    quantized = settings.quantize_epochs if quantizes and settings.name != "rate" else 0
    rounds = settings.rounds if settings.name in ("iterative", "rewind") else 1
    if settings.name == "rewind":
        if settings.rewind_epoch >= baseline.epochs:
            raise SettingsError(
                "retrain.rewind_epoch",
                settings.rewind_epoch,
                f"must be below the {baseline.epochs} epochs of the baseline's recipe",
                "rewind to an earlier epoch; a network from a checkpoint cannot be rewound",
            )
        length = baseline.epochs - settings.rewind_epoch
        first, lengths = settings.rewind_epoch / baseline.epochs, [length] * rounds
        lengths[-1] -= quantized
        if lengths[-1] < 1:
            raise SettingsError(
                "retrain.quantize_epochs",
                quantized,
                f"must be below the {length} epochs of a round, from retrain.rewind_epoch to the baseline's last",
                "lower it, or rewind to an earlier epoch",
            )
    else:
        left = settings.epochs - quantized
        first, lengths = 0.0, [left * (r + 1) // rounds - left * r // rounds for r in range(rounds)]
    if min(lengths) < 1:
        raise SettingsError(
            "retrain.epochs",
            settings.epochs,
            f"is too few for {rounds} round(s) of pruning and {quantized} epoch(s) with the quantiser",
            "raise it, or lower retrain.rounds or retrain.quantize_epochs",
        )
    epochs = []
    for number, length in enumerate(lengths):
        for place in range(length):
            begin, end = (first + (1 - first) * (place + step) / length for step in (0, 1))
            rewound = place == 0 and settings.name == "rewind" and settings.rewind == "weights"
            epochs.append(Epoch(number, begin, end, fresh=place == 0, rewound=rewound))
    for place in range(quantized):
        begin, end = place / quantized, (place + 1) / quantized
        epochs.append(Epoch(rounds - 1, begin, end, _QUANTIZED_RATE, quantized=True, fresh=place == 0))
    if settings.name == "rate":
        frozen = settings.freeze_epochs
        if frozen >= len(epochs):
            raise SettingsError(
                "retrain.freeze_epochs",
                frozen,
                f"must be below the {len(epochs)} epochs of retrain.epochs",
                "lower it, or raise retrain.epochs",
            )
        first_frozen = len(epochs) - frozen
        epochs = [replace(epoch, quantized=True, frozen=place >= first_frozen) for place, epoch in enumerate(epochs)]
    return tuple(epochs)


def kept_counts(
    settings: RetrainSettings,
    epochs: Sequence[Epoch],
    epoch: int,
    share: float,
    totals: Sequence[int],
    kept: Sequence[int],
) -> list[int]:
    """How many coefficients each selection group has when `share` of epoch number `epoch` is done.

    `iterative` and `rewind` prune by equal ratios per round; `gradual` by the cubic schedule of Zhu and Gupta (2017)
    over the first `retrain.ramp` of the epochs that do not quantise.

    Args:
        settings: the schedule.
        epochs: the timeline.
        epoch: position in it.
        share: from 0 to 1.
        totals: coefficients per group.
        kept: what is kept at last, per group.
    """
    if settings.name == "gradual":
        length = settings.ramp * sum(not entry.quantized for entry in epochs)
        done = 1.0 if epochs[epoch].quantized or length == 0 else min(1.0, (epoch + share) / length)
        return [total - round((total - last) * (1 - (1 - done) ** 3)) for total, last in zip(totals, kept, strict=True)]
    if settings.name in ("iterative", "rewind"):
        rounds, number = epochs[-1].round + 1, epochs[epoch].round + 1
        if number == rounds:
            return list(kept)
        return [
            round(total * (last / total) ** (number / rounds)) if total else 0
            for total, last in zip(totals, kept, strict=True)
        ]
    return list(kept)
