"""The test command, `python -m tests`: lint, format, types, import contracts, then pytest.

Arguments are pytest's, e.g. `python -m tests -m "integration and not slow"`; `--only-checks` leaves pytest out.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {
    "lint": ("-m", "ruff", "check", "."),
    "format": ("-m", "ruff", "format", "--check", "."),
    "imports": ("-c", "from importlinter.cli import lint_imports_command as main; main()"),
    "types": ("-m", "mypy"),
}
PYTEST = ("pytest", "-n", "auto", "--dist", "loadfile")


def main(arguments: list[str]) -> int:
    """Run the checks, and pytest with these arguments if all passed; the first exit status that is not 0."""
    for name, command in CHECKS.items():
        started = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
        print(
            f"{name}: {'ok' if done.returncode == 0 else 'failed'} ({time.perf_counter() - started:.0f} s)", flush=True
        )
        if done.returncode:
            print(done.stdout + done.stderr, end="", file=sys.stderr)
            return done.returncode
    if "--only-checks" in arguments:
        return 0
    return subprocess.run([sys.executable, "-m", *PYTEST, *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
