"""Retraining from end to end: what arms share, what is the arm's own, and the files from which it goes on."""

from pathlib import Path

from wavesweep.runtime.records import locked
from wavesweep.settings.schema import RetrainSettings
from wavesweep.training.checkpoint import CHECKPOINT, TRAINED
from wavesweep.training.interface import Coder, Retrained, Start, Training
from wavesweep.training.run import Run


def retrain(
    start: Start, settings: RetrainSettings, training: Training, coder: Coder, trains_quantizer: bool
) -> Retrained:
    """Train a pruned network on, in its coefficients.

    Args:
        start: the network and the arm.
        settings: the kind of retraining and its schedule.
        training: data, recipe and surroundings. From a checkpoint in its paths the training goes on.
        coder: how the network becomes a file.
        trains_quantizer: whether the last epochs train with straight-through quantisation; if not, `coder` quantises
            what has been trained.

    Raises:
        TrialError: the loss became NaN or infinite.
        BusyError: another process trains what is shared, and this one is not to wait.
    """
    run = Run(start, settings, training, coder, trains_quantizer)
    paths = training.paths
    own = None if paths is None else paths.own / CHECKPOINT
    if not run.resume(own) and paths is not None and paths.shared is not None:
        _train_shared(run, paths.shared, paths.wait)
    run.go_on(len(run.epochs), own)
    return run.result()


def _train_shared(run: Run, directory: Path, wait: bool) -> None:
    """Train the epochs that arms share, in one process; where that was done, load what came out."""
    trained, checkpoint = directory / TRAINED, directory / CHECKPOINT
    if not run.resume(trained):
        with locked(directory, wait):
            if not run.resume(trained):  # by the process that held the lock until now
                run.resume(checkpoint)
                run.go_on(run.shared_epochs, checkpoint, measured=False)
                run.forget_training()
                run.save(trained)
    checkpoint.unlink(missing_ok=True)  # also one that is left of a process that was killed just before
