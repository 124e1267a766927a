"""What the command line does, for a notebook: compress a network, save it, load it again."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from torch import Tensor, nn

from wavesweep.cli.composition import compose_settings
from wavesweep.compression.callers import CallersData, callers_network, check_shape
from wavesweep.compression.compressor import CompressionSettings, compress_arm
from wavesweep.compression.output_error import arm_notes, errors_of
from wavesweep.compression.plan import arm_spec, computed_notes, plan_pruned, selection_notes
from wavesweep.compression.result import CompressedModel
from wavesweep.compression.uncoded import uncoded_notes, uncoded_tensors
from wavesweep.measure.cost import dense_bytes
from wavesweep.settings.effective import unused_notes
from wavesweep.settings.keywords import Keywords, Options, overrides_of


def compress(
    model: nn.Module,
    overrides: Sequence[str] | Options = (),
    *,
    input_shape: Sequence[int] = (),
    images: Tensor | None = None,
    labels: Tensor | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    **settings: Unpack[Keywords],
) -> CompressedModel:
    """Prune, retrain, quantise and encode a trained network; it is left unchanged.

    Args:
        model: the network.
        overrides: settings as on the command line, e.g. ["wavelet=haar", "threshold.percentile=90"], or a dict of
            them. Those of data, model, comparison, export and records have no effect, except model.recipe, from which
            retraining takes what retrain.* leaves open. Warnings say what a record's notes would.
        input_shape: (channels, height, width), for a first linear layer that is to be seen as an image, and for
            shrink=true.
        images: normalised training images, shape (count, channels, height, width), or tokens as int64, shape
            (count, length), for quantize.importance=second_order and for retraining.
        labels: their classes, shape (count,), for retraining.
        validation: images and labels by which retraining chooses its best epoch.
        **settings: the same settings as keyword arguments, e.g. wavelet="haar", percentile=90, quantize="rdo", or
            retrain={"name": "finetune", "epochs": 5}.

    Raises:
        SettingsError: a setting is wrong, or needs data that is not given.
        TrialError: nothing would be transformed, or a weight is not finite.
    """
    composed = compose_settings(overrides_of(overrides, settings))
    data = CallersData(check_shape(input_shape), images, labels, validation)
    network = callers_network(model, composed, data)
    plans, others = plan_pruned(network.model, composed, data.input_shape)
    # A loop over methods may give all of them the settings of wavelets, as a trial gives them to its controls.
    also = ["wavelet"] if composed.method.name != "wavelet" else []
    _warn(unused_notes(replace(composed, compare=also, compare_match="coefficients")))
    _warn(selection_notes([plan.name for plan in (*plans, *others)], composed.layers))
    _warn([*network.notes, *computed_notes(network.model)])
    arm = compress_arm(arm_spec(composed, plans), CompressionSettings.from_settings(composed), network)
    dense, errors = dense_bytes(network.model), errors_of(network, arm)
    _warn(uncoded_notes(uncoded_tensors(arm.content, others)))
    _warn(arm_notes(arm, errors, composed))
    return CompressedModel(arm.content, dense, errors)


def _warn(notes: Sequence[str]) -> None:
    """As warnings of the line that calls `compress`."""
    for note in notes:
        warnings.warn(note, stacklevel=3)


def save(compressed: CompressedModel, path: str | Path) -> int:
    """Write a compressed network atomically; returns the size of the file in bytes.

    Raises:
        StoreError: it cannot be written.
    """
    return compressed.save(path)
