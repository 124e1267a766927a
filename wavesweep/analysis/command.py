"""What the commands have in common: the argument, errors as one line, exit statuses."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from wavesweep.analysis.table.outputs import WrongArgumentError
from wavesweep.errors import WavesweepError
from wavesweep.runtime.signals import listen
from wavesweep.runtime.terminal import say_aside

EXIT_FAILED, EXIT_WRONG_ARGUMENT, EXIT_INTERRUPTED = 1, 2, 130
_EXTRA = ("pandas", "pyarrow", "plotly", "matplotlib", "jinja2")


def outputs_argument(script: str, what: str) -> argparse.ArgumentParser:
    """A parser with the one argument that all commands take."""
    parser = argparse.ArgumentParser(prog=f"python -m {program(script)}", description=what)
    parser.add_argument(
        "outputs", type=Path, nargs="?", default=Path("outputs"), help="the directory of records (default: outputs)"
    )
    return parser


def program(script: str) -> str:
    """The module that was started: `analysis.<script>` in a checkout, `wavesweep.analysis.<script>` where installed."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None and spec.name.endswith(f"analysis.{script}") else f"analysis.{script}"


def run(main: Callable[[], None]) -> int:
    """Run a command and return its exit status. Errors that a user can cause are one line on stderr."""
    listen()
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has ended (`| head`); give Python's last flush somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except WrongArgumentError as error:
        say_aside(f"error: {error}")
        return EXIT_WRONG_ARGUMENT
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        say_aside(f"error: {error.name} is not installed: pip install 'wavesweep[analysis]'")
        return EXIT_WRONG_ARGUMENT
    except (WavesweepError, OSError) as error:
        say_aside(f"error: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        say_aside("Stopped; the same command starts anew.")
        return EXIT_INTERRUPTED
    return 0
