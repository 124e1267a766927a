"""The state of every sweep, study and trial under an outputs directory: `python -m analysis.status outputs/`."""

import sys

from wavesweep.analysis.status import main, run

if __name__ == "__main__":
    sys.exit(run(main))
