"""Gather all records into one tidy table: `python -m analysis.collect outputs/`.

pandas and pyarrow are imported where they are used: the command line needs no pandas, which takes longer to import
than an unchanged table to check, and says in one line when either is missing.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wavesweep.analysis.command import checked_outputs, outputs_argument, run

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from wavesweep.analysis.cache import Entry


@dataclass(frozen=True)
class Skipped:
    """A record that is not in the table, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Collected:
    """All that was found under an outputs directory.

    Attributes:
        trials: a row per trial and arm, sorted by `key` and `arm`; the columns are listed in docs/analysis.md.
        failures: a row per failed trial: `key`, `reason`, `recorded_at`, and the settings where they are known.
        skipped: records that could not be read.
    """

    trials: "pd.DataFrame"
    failures: "pd.DataFrame"
    skipped: tuple[Skipped, ...]


def collect(outputs: Path, *, write: bool = True) -> Collected:
    """The table of all trials under `outputs`.

    Args:
        outputs: the directory of records.
        write: keep the table in `outputs/analysis/`, so that the next time only what is new is read.

    Raises:
        WrongArgumentError: `outputs` is no directory.
        StoreError: the table cannot be written.
    """
    from wavesweep.analysis.cache import failures_table, load_table, refresh

    directory = checked_outputs(outputs) / "analysis"
    state = refresh(outputs, directory, write)
    table = load_table(directory) if state.table is None else state.table
    failures = failures_table(state.entries.values())
    return Collected(frame_of(table), frame_of(failures), tuple(_skipped(outputs, state.entries.items())))


def main() -> None:
    """The command line."""
    arguments = outputs_argument("collect", "Gather all records into one table.").parse_args()
    outputs = checked_outputs(arguments.outputs)
    from wavesweep.analysis.cache import FAILURES_CSV, TRIALS_CSV, TRIALS_FILE, refresh

    directory = outputs / "analysis"
    state = refresh(outputs, directory, write=True)
    entries = state.entries.values()
    skipped = _skipped(outputs, state.entries.items())
    for record in skipped:
        print(f"skipped {record.path}: {record.reason}", file=sys.stderr)
    trials = sum(entry.arms > 0 for entry in entries)
    failed = sum(entry.failure is not None for entry in entries)
    print(f"{trials} trials, {sum(entry.arms for entry in entries)} rows: {directory / TRIALS_FILE}, {TRIALS_CSV}")
    print(f"{failed} failed trials: {directory / FAILURES_CSV}")
    unchanged = len(entries) - state.read
    print(f"{state.read} records were read, {unchanged} had not changed, {state.gone} are gone")
    print(f"{len(skipped)} records were skipped" + (", see above" if skipped else ""))


def _skipped(outputs: Path, entries: "Iterable[tuple[str, Entry]]") -> list[Skipped]:
    return [
        Skipped(outputs / "runs" / key / entry.name, entry.skipped)
        for key, entry in entries
        if entry.skipped is not None
    ]


def frame_of(table: "pa.Table") -> "pd.DataFrame":
    """As pandas: a number that may be missing is a float with NaN, a truth value that may be is of type `boolean`."""
    import pyarrow as pa

    frame = table.to_pandas()
    for field in table.schema:
        if field.type == pa.bool_() and table[field.name].null_count:
            frame[field.name] = frame[field.name].astype("boolean")
    return frame


if __name__ == "__main__":
    sys.exit(run(main))
