"""Gather all records into one tidy table: `python -m wavesweep.analysis.collect outputs/`.

An unchanged table is checked without pandas, whose import would take longer than the check.
"""

import sys
from pathlib import Path

from wavesweep.analysis.command import outputs_argument, run
from wavesweep.analysis.table.outputs import checked_outputs
from wavesweep.runtime.terminal import say, say_aside


def main() -> None:
    """The command line."""
    parser = outputs_argument("collect", "Gather all records into one table.")
    parser.add_argument("--output", type=Path, help="the directory to write (default: analysis/ among the records)")
    arguments = parser.parse_args()
    outputs = checked_outputs(arguments.outputs)
    from wavesweep.analysis.table.store import FAILURES_CSV, TRIALS_CSV, TRIALS_FILE, refresh

    directory = arguments.output or outputs / "analysis"
    state = refresh(outputs, directory, write=True)
    entries = state.entries.values()
    skipped = state.skipped(outputs)
    for record in skipped:
        say_aside(f"skipped {record.path}: {record.reason}")
    trials = sum(entry.arms > 0 for entry in entries)
    failed = sum(entry.failure is not None for entry in entries)
    say(f"{trials} trials, {sum(entry.arms for entry in entries)} rows: {directory / TRIALS_FILE}, {TRIALS_CSV}")
    say(f"{failed} failed trials: {directory / FAILURES_CSV}")
    unchanged = len(entries) - state.read
    say(f"{state.read} records were read, {unchanged} had not changed, {state.removed} were removed")
    say(f"{len(skipped)} records were skipped" + (", see above" if skipped else ""))


if __name__ == "__main__":
    sys.exit(run(main))
