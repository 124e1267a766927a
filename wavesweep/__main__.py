"""`python -m wavesweep`: everything is in `wavesweep.cli.app`, so that worker processes can import it."""

import sys

if __name__ == "__main__":
    try:
        from wavesweep.cli.app import main
    except KeyboardInterrupt:  # importing PyTorch takes seconds
        sys.exit(130)
    sys.exit(main())
