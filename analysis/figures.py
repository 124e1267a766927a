"""Draw the charts of all records: `python -m analysis.figures outputs/`."""

import sys

from wavesweep.analysis.figures import main, run

if __name__ == "__main__":
    sys.exit(run(main))
