"""`python -m wavesweep`: the task lives in `app`, so that worker processes can import it."""

import sys

from wavesweep.app import main

if __name__ == "__main__":
    sys.exit(main())
