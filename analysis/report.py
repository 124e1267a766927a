"""Write the report: `python -m analysis.report outputs/`. One HTML file that needs no network."""

import sys

from wavesweep.analysis.report import main, run

if __name__ == "__main__":
    sys.exit(run(main))
