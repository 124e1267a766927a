"""Gather all records into one tidy table: `python -m wavesweep.analysis.collect outputs/`.

An unchanged table is checked without pandas, whose import would take longer than the check.
"""

import sys

from wavesweep.analysis.command import outputs_argument, run
from wavesweep.analysis.table.outputs import checked_outputs


def main() -> None:
    """The command line."""
    arguments = outputs_argument("collect", "Gather all records into one table.").parse_args()
    outputs = checked_outputs(arguments.outputs)
    from wavesweep.analysis.table.store import FAILURES_CSV, TRIALS_CSV, TRIALS_FILE, refresh

    directory = outputs / "analysis"
    state = refresh(outputs, directory, write=True)
    entries = state.entries.values()
    skipped = state.skipped(outputs)
    for record in skipped:
        print(f"skipped {record.path}: {record.reason}", file=sys.stderr)
    trials = sum(entry.arms > 0 for entry in entries)
    failed = sum(entry.failure is not None for entry in entries)
    print(f"{trials} trials, {sum(entry.arms for entry in entries)} rows: {directory / TRIALS_FILE}, {TRIALS_CSV}")
    print(f"{failed} failed trials: {directory / FAILURES_CSV}")
    unchanged = len(entries) - state.read
    print(f"{state.read} records were read, {unchanged} had not changed, {state.removed} were removed")
    print(f"{len(skipped)} records were skipped" + (", see above" if skipped else ""))


if __name__ == "__main__":
    sys.exit(run(main))
