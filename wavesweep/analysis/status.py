"""Show the state of all sweeps, searches and trials: `python -m wavesweep.analysis.status outputs/`."""

import sys

from wavesweep.analysis.command import outputs_argument, run
from wavesweep.analysis.progress.status import lines, status
from wavesweep.runtime.terminal import say


def main() -> None:
    """The command line."""
    arguments = outputs_argument("status", "Show the state of all sweeps, studies and trials.").parse_args()
    for line in lines(status(arguments.outputs)):
        say(line)


if __name__ == "__main__":
    sys.exit(run(main))
