"""All records under an outputs directory as pandas frames: `collect(Path("outputs")).trials`."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wavesweep.analysis.table.outputs import WrongArgumentError, checked_outputs
from wavesweep.analysis.table.store import (
    Skipped,
    UnusableTableError,
    failures_table,
    frame_of,
    load_table,
    refresh,
)


@dataclass(frozen=True)
class Collected:
    """All that was found under an outputs directory.

    Attributes:
        trials: a row per trial and arm, sorted by `key` and `arm`; the columns are listed in docs/reference/records.md.
        failures: a row per failed trial: `key`, `reason`, `recorded_at`, and the settings where they are known.
        skipped: records that could not be read.
    """

    trials: pd.DataFrame
    failures: pd.DataFrame
    skipped: tuple[Skipped, ...]


def collect(outputs: Path, *, write: bool = True) -> Collected:
    """The table of all trials under `outputs`.

    Args:
        outputs: the directory of records.
        write: keep the table in `outputs/analysis/`, so that the next time only what is new is read. Where it cannot
            be written, as among records that are only to be read, all of them are read each time.

    Raises:
        WrongArgumentError: `outputs` is no directory.
    """
    directory = checked_outputs(outputs) / "analysis"
    state = refresh(outputs, directory, write, is_needed=False)
    try:
        table = load_table(directory) if state.table is None else state.table
    except UnusableTableError:  # though what it says of itself is whole
        state = refresh(outputs, directory, write, is_needed=False, anew=True)
        table = state.table
    return Collected(frame_of(table), frame_of(failures_table(state.entries.values())), state.skipped(outputs))


def collect_finished(outputs: Path) -> Collected:
    """What `collect` gives, if at least one trial is finished.

    Raises:
        WrongArgumentError: `outputs` is no directory, or has no finished trial.
    """
    found = collect(outputs)
    if found.trials.empty:
        others = [f"{len(found.failures)} trials failed"] if len(found.failures) else []
        others += [f"{len(found.skipped)} records were skipped"] if found.skipped else []
        raise WrongArgumentError(
            f"{outputs} has no finished trial" + (f" ({', '.join(others)})" if others else "")
            + "; run one first: python -m wavesweep"
        )  # fmt: skip
    return found
