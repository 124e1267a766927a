"""Write the report: `python -m analysis.report outputs/`. One HTML file that needs no network."""

import sys

from wavesweep.analysis.command import run
from wavesweep.analysis.report import main

if __name__ == "__main__":
    sys.exit(run(main))
