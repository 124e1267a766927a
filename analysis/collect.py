"""Gather all records into one tidy table: `python -m analysis.collect outputs/`."""

import sys

from wavesweep.analysis.collect import main
from wavesweep.analysis.command import run

if __name__ == "__main__":
    sys.exit(run(main))
