"""Retraining from end to end: what arms share, what is the arm's own, and the files from which it continues."""

from pathlib import Path

from wavesweep.runtime.records import locked
from wavesweep.settings import registry
from wavesweep.settings.schema import RetrainSettings
from wavesweep.settings.timeline import timeline
from wavesweep.training.checkpoint import CHECKPOINT, TRAINED, DamagedCheckpointError
from wavesweep.training.interface import Coder, Retrained, Start, Training
from wavesweep.training.loop import TrainingLoop
from wavesweep.training.masked import Masked
from wavesweep.training.rate import Rate


def retrain(
    start: Start, settings: RetrainSettings, training: Training, coder: Coder, trains_quantizer: bool
) -> Retrained:
    """Continue the training of a pruned network, in its coefficients.

    Args:
        start: the network and the arm.
        settings: the kind of retraining and its schedule.
        training: data, recipe and surroundings. From a checkpoint in its paths the training continues.
        coder: how the network becomes a file.
        trains_quantizer: whether the last epochs train with straight-through quantisation; if not, `coder` quantises
            what has been trained.

    Raises:
        TrialError: the loss became NaN or infinite.
        BusyError: another process trains what is shared, and this one is not to wait.
    """
    try:
        return _retrain(start, settings, training, coder, trains_quantizer)
    except DamagedCheckpointError:  # which is gone now
        return _retrain(start, settings, training, coder, trains_quantizer)


def _retrain(
    start: Start, settings: RetrainSettings, training: Training, coder: Coder, trains_quantizer: bool
) -> Retrained:
    epochs = timeline(settings, training.recipe, trains_quantizer)
    kind: type[Masked] | type[Rate] = registry.row(registry.Retraining, settings.name).load()
    strategy = kind(start, settings, training, coder, epochs)
    loop = TrainingLoop(strategy, training.seed, training.shown)
    paths = training.paths
    own = None if paths is None else paths.own / CHECKPOINT
    is_resumed = loop.resume(own)
    if not is_resumed and isinstance(strategy, Masked) and paths is not None and paths.shared is not None:
        _train_shared(loop, strategy, paths.shared, paths.wait)
    loop.continue_training(strategy.epoch_count, own)
    return strategy.result(loop.curve)


def _train_shared(loop: TrainingLoop, strategy: Masked, directory: Path, wait: bool) -> None:
    """Train the epochs that arms share, in one process; where that was done, load what came out."""
    trained, checkpoint = directory / TRAINED, directory / CHECKPOINT
    if not loop.resume(trained):
        with locked(directory, wait):
            if not loop.resume(trained):  # by the process that held the lock until now
                loop.resume(checkpoint)
                loop.continue_training(strategy.shared_epochs, checkpoint, measured=False)
                strategy.forget_training()
                loop.save(trained)
    checkpoint.unlink(missing_ok=True)  # also one that is left of a process that was killed just before
