"""The tables and charts of a study, from the records of its sweep: `python -m analysis.study NAME outputs/`."""

import sys

from wavesweep.analysis.command import run
from wavesweep.analysis.study import main

if __name__ == "__main__":
    sys.exit(run(main))
