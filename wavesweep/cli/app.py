"""The command line: compose the settings, run one trial or a sweep, turn errors into one line."""

import os
import sys
import warnings
from importlib.metadata import version

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wavesweep.cli.composition import explain, register_configuration, settings_from, syntax_error
from wavesweep.cli.flags import check_flags
from wavesweep.cli.hydra_errors import Problem, problem_of
from wavesweep.cli.hydra_internals import callbacks_made_by, store_core_sweeper, store_maximising_optuna
from wavesweep.cli.jobs import TrialCallbacks
from wavesweep.cli.remedies import comma_hint
from wavesweep.cli.sweepers import register_sweepers
from wavesweep.cli.tables import show_trials
from wavesweep.errors import SettingsError, WavesweepError
from wavesweep.runtime.signals import interrupted, listen
from wavesweep.runtime.terminal import say, say_aside
from wavesweep.runtime.workers import init_worker
from wavesweep.settings import registry
from wavesweep.settings.schema import config_directory

# Errors with one line of their own; the files of a configuration are YAML, as text.
_REPORTED = (WavesweepError, HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError)
EXIT_FAILED, EXIT_SETTINGS, EXIT_INTERRUPTED = 1, 2, 130
store_core_sweeper()  # in workers too, which import this module first


def task(config: DictConfig) -> float:
    """Run one trial and return its objective, the validation accuracy of the main arm."""
    init_worker(__name__)
    # Here and not above: a sweep whose records are all there does without PyTorch, which takes seconds to import.
    from wavesweep.experiment.export.trial import export_line, export_trial
    from wavesweep.experiment.trial import objective, run_trial

    single = HydraConfig.get().mode == RunMode.RUN
    try:
        settings = settings_from(config)
        if single and settings.search.name != "none":
            raise SettingsError(
                "search", settings.search.name, "is a sweep", "add -m: python -m wavesweep -m search=..."
            )
        if single and HydraConfig.get().sweeper.params:
            say_aside("note: this experiment describes a sweep, of which this is one trial; add -m to run it")
        record = run_trial(settings, TrialCallbacks.trial_started)
        if single:
            show_trials([({}, record)], settings)
        exported = export_trial(settings, record)
        if single and exported is not None:
            say(export_line(settings, record["key"], exported))
    except WavesweepError as error:
        if not single:
            raise
        # Hydra would print a line of its own before the exception; leave without it.
        raise SystemExit(_report(error)) from error
    return objective(record)


def main() -> int:
    """Entry point of `python -m wavesweep` and of the console script; returns the exit status."""
    if sys.argv[1:] == ["--version"]:
        say(f"wavesweep {version('wavesweep')}")
        return 0
    listen()
    try:
        status = _run()
    except BaseException:
        if not interrupted():
            raise
        status = EXIT_INTERRUPTED
    if interrupted():
        say_aside("")
        say_aside("Stopped. Finished trials are kept; the same command continues from here.")
        return EXIT_INTERRUPTED
    return status


def _run() -> int:
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # With this set Hydra raises its errors instead of printing several lines and leaving.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        check_flags(sys.argv[1:])
        register_configuration()
        register_sweepers()
        store_maximising_optuna()
        # Of a place in hydra.searchpath that is not there Hydra only warns.
        warnings.filterwarnings("error", message="provider=.* is not available", category=UserWarning)
        with callbacks_made_by(TrialCallbacks):
            hydra.main(config_path=str(config_directory()), config_name="config")(task)()
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); give Python's last flush somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (*_REPORTED, OSError) as error:
        if wants_traceback:
            raise
        return _report(error)
    except (ValueError, UserWarning) as error:
        wrong = _wrong_use(error)
        if wants_traceback or wrong is None:
            raise
        return _report(wrong)
    return 0


def _wrong_use(error: ValueError | UserWarning) -> SettingsError | None:
    """The error for a mistake of the user's to which Hydra answers with a ValueError, or a warning."""
    problem = problem_of(error)
    if problem.kind == Problem.NO_NAME:  # to model=null, model=3 or =3
        return _wrong_option(sys.argv[1:])
    if problem.kind == Problem.NO_PLACE:
        return SettingsError.from_text(explain(error))
    if problem.kind == Problem.EXCLUSIVE_FLAGS:
        sweeps = bool({"-m", "--multirun"} & set(sys.argv))
        remedy = "to look at the settings of a sweep leave --multirun (-m) out" if sweeps else "give one of them"
        return SettingsError.from_text(f"{problem.text}; {remedy}")
    return None


def _wrong_option(arguments: list[str]) -> SettingsError:
    """The error for the first group on the command line whose value is none of its options."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if not key:
            return syntax_error(argument)
        options = sorted(registry.options(key))
        if options and value not in options:
            return SettingsError(key, value, f"must be one of {', '.join(options)}")
    return SettingsError("group", " ".join(arguments), "must be the name of one of its options, see --help")


def _report(error: Exception) -> int:
    if interrupted():  # whatever it is, Ctrl-C is its cause
        return EXIT_INTERRUPTED
    hint = comma_hint(error.key, sys.argv) if isinstance(error, SettingsError) else ""
    say_aside(f"error: {explain(error)}{hint}")
    is_failure = isinstance(error, WavesweepError) and not isinstance(error, SettingsError)
    return EXIT_SETTINGS if isinstance(error, _REPORTED) and not is_failure else EXIT_FAILED
