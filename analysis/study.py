"""The tables and charts of a study, from the records of its sweep: `python -m analysis.study NAME outputs/`."""

import sys

from wavesweep.analysis.study import main, run

if __name__ == "__main__":
    sys.exit(run(main))
