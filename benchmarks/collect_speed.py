"""Seconds to collect synthetic records: the first time, again with nothing new, and after one more record.

    python benchmarks/collect_speed.py [count]

Each time is that of the whole command `python -m analysis.collect`, start of Python included; the processor's seconds
are those that other work on the machine does not change much.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "helpers"))

from records import example, write_record, write_records  # noqa: E402


def cost_of_collecting(outputs: Path) -> str:
    started, used = time.perf_counter(), cpu_seconds()
    subprocess.run(
        [sys.executable, "-m", "analysis.collect", str(outputs)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return f"{time.perf_counter() - started:6.2f} s ({cpu_seconds() - used:.2f} s of the processor)"


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as directory:
        outputs = Path(directory)
        write_records(outputs, count)
        print(f"{count} records, first time:      {cost_of_collecting(outputs)}", flush=True)
        print(f"{count} records, nothing new:     {cost_of_collecting(outputs)}", flush=True)
        write_record(outputs, example({"seed": 12345}))
        print(f"{count} records, one more record: {cost_of_collecting(outputs)}")


if __name__ == "__main__":
    main()
