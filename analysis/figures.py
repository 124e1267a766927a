"""Draw the charts of all records: `python -m analysis.figures outputs/`."""

import sys

from wavesweep.analysis.command import run
from wavesweep.analysis.figures import main

if __name__ == "__main__":
    sys.exit(run(main))
