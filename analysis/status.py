"""The state of every sweep, study and trial under an outputs directory: `python -m analysis.status outputs/`."""

import sys

from wavesweep.analysis.command import run
from wavesweep.analysis.status import main

if __name__ == "__main__":
    sys.exit(run(main))
