"""The collected table on the disk, brought up to date by reading only what is new.

`trials.parquet` is its own cache: its metadata name every record that is in it, with the size and the time of writing
that the record had, so rows and records cannot get out of step. It is written last.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from os import scandir, stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml

from wavesweep.analysis.table.columns import FAILURES, NEWEST_SCHEMA, SETTINGS, TRIALS, UnfitError
from wavesweep.analysis.table.rows import failure_reason, failure_row, setting_values, trial_rows
from wavesweep.errors import StoreError
from wavesweep.runtime.records import FAILURE_FILE, ONNX_RECORD, RESULT_FILE, write_atomically

if TYPE_CHECKING:
    import pandas as pd

TRIALS_FILE, TRIALS_CSV, FAILURES_CSV = "trials.parquet", "trials.csv", "failures.csv"
_METADATA = b"wavesweep"
ARROW_TYPES = {
    "text": pa.string(),
    "label": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "time": pa.timestamp("ns", tz="UTC"),
}
# What a cached row depends on besides its record: rows with other columns or defaults are not used. Raise the number
# when the same columns are filled in another way.
_FINGERPRINT = hashlib.sha256(repr((2, NEWEST_SCHEMA, TRIALS, SETTINGS)).encode()).hexdigest()


class UnusableTableError(Exception):
    """The table on the disk is damaged beyond what names its records; all of them are read again."""


@dataclass(frozen=True)
class Skipped:
    """A record that is not in the table, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Entry:
    """One record or failure that was read, and the size and time that its file had then.

    Attributes:
        name: of the file.
        size: in bytes.
        written_ns: when it was written, in nanoseconds since 1970.
        arms: number of rows of the table; 0 for a failure and for a record that was skipped.
        skipped: why it is not in the table; None if it is.
        failure: its row of the table of failures; None for a record.
        exported_ns: when the record of its export was written; 0 where there is none.
    """

    name: str
    size: int
    written_ns: int
    arms: int = 0
    skipped: str | None = None
    failure: Sequence[Any] | None = None
    exported_ns: int = 0

    def has_files_of(self, other: "Entry | None") -> bool:
        """Whether the files are still those that `other` was read from."""
        return other is not None and self._files == other._files

    @property
    def _files(self) -> tuple[Any, ...]:
        return self.name, self.size, self.written_ns, self.exported_ns


class _Metadata(msgspec.Struct):
    """What `trials.parquet` says of itself; the values of an entry are those of `Entry`, in their order."""

    fingerprint: str
    entries: dict[str, tuple[str, int, int, int, str | None, list[Any] | None, int]]


@dataclass(frozen=True)
class State:
    """What is known about `runs/`: an entry per directory that has a record or a failure.

    Attributes:
        entries: by key.
        read: how many of them were read now; the others were known.
        removed: how many known ones are there no longer.
        table: the rows, or None where the file has them unchanged and was not loaded.
    """

    entries: Mapping[str, Entry]
    read: int
    removed: int
    table: pa.Table | None

    def skipped(self, outputs: Path) -> tuple[Skipped, ...]:
        """The records that are not in the table."""
        return tuple(
            Skipped(outputs / "runs" / key / entry.name, entry.skipped)
            for key, entry in self.entries.items()
            if entry.skipped is not None
        )


def refresh(outputs: Path, directory: Path, write: bool, *, is_needed: bool = True, anew: bool = False) -> State:
    """Bring the table in `directory` up to date with the records under `outputs`.

    Args:
        outputs: the directory of records.
        directory: of the table.
        write: write it, if anything has changed.
        is_needed: whether a table that cannot be written is an error.
        anew: read all records, whatever the table has.

    Raises:
        StoreError: it cannot be written.
    """
    known = {} if anew else _load_entries(directory / TRIALS_FILE)
    try:
        state = _refreshed(outputs, directory, known)
    except UnusableTableError:
        state = _refreshed(outputs, directory, {})
    if write and state.table is not None:
        try:
            _write(state, state.table, directory)
        except StoreError:
            if is_needed:
                raise
    return state


def _refreshed(outputs: Path, directory: Path, known: Mapping[str, "Entry"]) -> State:
    found = _listed(outputs / "runs")
    changed = [key for key, entry in found.items() if not entry.has_files_of(known.get(key))]
    removed = len(known.keys() - found.keys())
    files = [directory / name for name in (TRIALS_FILE, TRIALS_CSV, FAILURES_CSV)]
    if not changed and not removed and all(path.exists() for path in files):
        return State(known, 0, 0, None)

    rows: list[tuple[Any, ...]] = []
    entries = {key: known[key] for key in found.keys() - set(changed)}
    for key in changed:
        entry = _read(outputs / "runs" / key, found[key], rows)
        if entry is not None:
            entries[key] = entry
    kept = {key for key, entry in entries.items() if entry.arms} - set(changed)
    table = _merged(load_table(directory) if kept else None, kept, rows)
    return State(dict(sorted(entries.items())), len(changed), removed, table)


def load_table(directory: Path) -> pa.Table:
    """The rows as they were written last.

    Raises:
        UnusableTableError: the file is damaged.
    """
    try:
        return pq.read_table(directory / TRIALS_FILE, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UnusableTableError(str(error)) from None


def failures_table(entries: Iterable[Entry]) -> pa.Table:
    """The failed trials, a row each."""
    return _table([tuple(entry.failure) for entry in entries if entry.failure is not None], FAILURES)


def frame_of(table: pa.Table) -> "pd.DataFrame":
    """As pandas: a number that may be missing is a float with NaN, a truth value that may be is of type `boolean`."""
    frame = table.to_pandas()
    for field in table.schema:
        if field.type == pa.bool_() and table[field.name].null_count:
            frame[field.name] = frame[field.name].astype("boolean")
    return frame


def _listed(runs: Path) -> dict[str, Entry]:
    """Size and time of every result, or else failure, by key."""
    found = {}
    try:
        directories = sorted(entry.name for entry in scandir(runs))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for key in directories:
        for name in (RESULT_FILE, FAILURE_FILE):
            try:
                status = stat(f"{runs}/{key}/{name}")  # noqa: PTH116 (of ten thousand files, many Paths take longer)
            except OSError:
                continue
            exported_ns = _written_ns(f"{runs}/{key}/{ONNX_RECORD}") if name == RESULT_FILE else 0
            found[key] = Entry(name, status.st_size, status.st_mtime_ns, exported_ns=exported_ns)
            break
    return found


def _written_ns(path: str) -> int:
    try:
        return stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0


def _read(run: Path, entry: Entry, rows: list[tuple[Any, ...]]) -> Entry | None:
    """Read one file and append its rows; None if it was removed in the meantime."""
    path = run / entry.name
    try:
        content = path.read_bytes()
        if entry.name == FAILURE_FILE:
            reason = failure_reason(content)
            return replace(entry, failure=failure_row(reason, run.name, entry.written_ns, _settings_of_failure(run)))
        exported = (run / ONNX_RECORD).read_bytes() if entry.exported_ns else None
        new = trial_rows(content, run.name, entry.written_ns, exported)
    except FileNotFoundError:
        return None
    except OSError as error:
        # A time that no file has, so it is tried again: rights or a disk may come back without a change of the file.
        return replace(entry, written_ns=-1, skipped=f"cannot be read ({error.strerror})")
    except UnfitError as error:
        return replace(entry, skipped=str(error))
    rows += new
    return replace(entry, arms=len(new))


def _settings_of_failure(run: Path) -> list[Any] | None:
    """The settings that a failed trial wrote down before it failed, if it got that far."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        settings = yaml.load((run / "config.yaml").read_bytes(), Loader=loader)
        return setting_values(settings) if isinstance(settings, dict) else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _schema(columns: Sequence[tuple[str, str]]) -> pa.Schema:
    return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns])


def _table(rows: Sequence[tuple[Any, ...]], columns: Sequence[tuple[str, str]]) -> pa.Table:
    schema = _schema(columns)
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pa.table([pa.array(column, field.type) for column, field in zip(values, schema, strict=True)], schema=schema)


def _merged(known: pa.Table | None, kept: set[str], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Kept rows and new ones, sorted, so that the table does not depend on what was known before."""
    table = _table(rows, TRIALS)
    if known is not None:
        mask = pa.array([key in kept for key in known["key"].to_pylist()], pa.bool_())
        table = pa.concat_tables([known.replace_schema_metadata(None).filter(mask), table])
    return table.sort_by([("key", "ascending"), ("arm", "ascending")]).combine_chunks()


def _write(state: State, table: pa.Table, directory: Path) -> None:
    for name, content in ((TRIALS_CSV, table), (FAILURES_CSV, failures_table(state.entries.values()))):
        buffer = BytesIO()
        pyarrow.csv.write_csv(content, buffer)
        write_atomically(directory / name, buffer.getvalue())
    entries = {
        key: [entry.name, entry.size, entry.written_ns, entry.arms, entry.skipped, entry.failure, entry.exported_ns]
        for key, entry in state.entries.items()
    }
    metadata = json.dumps({"fingerprint": _FINGERPRINT, "entries": entries})
    buffer = BytesIO()
    pq.write_table(table.replace_schema_metadata({_METADATA: metadata}), buffer)
    write_atomically(directory / TRIALS_FILE, buffer.getvalue())


def _load_entries(path: Path) -> dict[str, Entry]:
    """What is in the table at `path`; nothing if it does not exist, has other columns or is damaged."""
    try:
        schema = pq.read_schema(path)
        metadata = msgspec.json.decode(schema.metadata[_METADATA], type=_Metadata)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return {}
    if metadata.fingerprint != _FINGERPRINT or not schema.equals(_schema(TRIALS)):
        return {}
    return {key: Entry(*values) for key, values in metadata.entries.items()}
