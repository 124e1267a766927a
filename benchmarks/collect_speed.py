"""Seconds to collect synthetic records: the first time, again with nothing new, and after one more record.

    python benchmarks/collect_speed.py [count]

Each time is that of the whole command `python -m analysis.collect`, start of Python included.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "analysis"))

from records import example, write_record, write_records  # noqa: E402


def seconds_to_collect(outputs: Path) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "analysis.collect", str(outputs)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as directory:
        outputs = Path(directory)
        write_records(outputs, count)
        print(f"{count} records, first time:      {seconds_to_collect(outputs):6.2f} s", flush=True)
        print(f"{count} records, nothing new:     {seconds_to_collect(outputs):6.2f} s", flush=True)
        write_record(outputs, example({"seed": 12345}))
        print(f"{count} records, one more record: {seconds_to_collect(outputs):6.2f} s")


if __name__ == "__main__":
    main()
