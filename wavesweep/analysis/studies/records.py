"""The records of a study: those under an outputs directory, and those of a CSV file as it lies beside the page."""

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from wavesweep.analysis.statistics.workloads import last_part
from wavesweep.analysis.studies.study import Study
from wavesweep.analysis.table.collect import collect_finished
from wavesweep.analysis.table.columns import ARM, BASELINE, SETTINGS, TRIALS
from wavesweep.analysis.table.outputs import WrongArgumentError, keys_of
from wavesweep.analysis.table.store import ARROW_TYPES, frame_of
from wavesweep.settings.keys import PATHS, trial_key
from wavesweep.settings.schema import Settings

_ALWAYS = ("model.name", "dataset.name")
_PATHS = tuple(".".join(path) for path in PATHS)
_NEEDED = (
    *("key", "arm", "is_main", "method", "arm_key", *_ALWAYS, "seed"),
    *(column.name for column in (*ARM, *BASELINE) if column.needed),
)
_REMEDY = "give a CSV that analysis.study of this version wrote"


def rows_of(study: Study, outputs: Path, files: Sequence[Path] = ()) -> pd.DataFrame:
    """The rows of the collected table that belong to the study, and the rows of other trials in `files`.

    Raises:
        WrongArgumentError: there is none, or a file cannot be read.
    """
    asked = keys_of(outputs, study.experiments)
    others = [read_records(path, study.name) for path in files]
    command = f"python -m wavesweep -m experiment={study.experiments[0]}"
    if not asked and not others:
        raise WrongArgumentError(f"{outputs} has no sweep of {study.name}; run one first: {command}")
    own = []
    if asked and (not others or any((outputs / "runs").glob("*/result.json"))):
        trials = collect_finished(outputs).trials
        own = [trials[trials["key"].isin(asked)]]
    rows = joined([*own, *others]) if others else own[0]
    if rows.empty:
        raise WrongArgumentError(
            f"{outputs} has no finished trial of {study.name}; continue it with the same command: {command}"
        )
    return rows


def records(rows: pd.DataFrame, study: str) -> pd.DataFrame:
    """A row per trial and arm: study, key, method, network, data set, settings, seed, measures.

    Settings that have their default in all rows have no column.
    """
    others = [column for column in SETTINGS if column.name not in (*_ALWAYS, "seed")]
    settings = [column.name for column in others if _is_set(rows[column.name], column.default)]
    measures = [column.name for column in (*ARM, *BASELINE) if rows[column.name].notna().any()]
    described = [name for name in ("other_settings", "effective_level") if rows[name].notna().any()]
    first = ["key", "arm", "is_main", "method", "arm_key", *_ALWAYS]
    columns = [*first, *settings, "seed", *described, *measures, "accuracy_drop"]
    whole = {name: "Int64" for name, kind in TRIALS if kind == "integer" and name in columns}  # 64, not 64.0
    found = with_short_paths(rows)[columns].astype(whole)
    found.insert(0, "study", study)
    return found.sort_values(["model.name", "dataset.name", *settings, "seed", "arm"], kind="stable")


def read_records(path: Path, study: str) -> pd.DataFrame:
    """The rows of a file of `records`, with all columns of the collected table.

    A setting without a column has its default.

    Raises:
        WrongArgumentError: the file does not exist, is of another kind, study or version, or was changed: the key of a
            trial is not that of its settings.
    """
    types = {"study": pa.string()} | {name: ARROW_TYPES[kind] for name, kind in TRIALS}
    table = _read(path, types)
    names = table.column_names
    unknown, missing = [name for name in names if name not in types], [name for name in _NEEDED if name not in names]
    if "study" not in names or missing:
        raise _unfit(path, f"has no column {(missing or ['study'])[0]}")
    if unknown:
        raise _unfit(path, f"has a column {unknown[0]}, which this version does not know")
    if not len(table):
        raise _unfit(path, "has no row")
    others = set(table["study"].to_pylist()) - {study}
    if others:
        raise _unfit(path, f"has records of {others.pop() or 'no study'}, not of {study}")
    defaults = {column.name: column.default for column in SETTINGS}
    for name, kind in types.items():
        if name not in names:
            table = table.append_column(name, pa.array([defaults.get(name)] * len(table), kind))
    rows = frame_of(table.select([name for name, _ in TRIALS]))
    for name in _NEEDED:
        values = rows[name]
        if values.isna().any() or (values.dtype == np.float64 and not np.isfinite(values).all()):
            raise _unfit(path, f"has a row without {name}")
    rows = rows.drop_duplicates(["key", "arm"], ignore_index=True)
    if not rows["is_main"].any():
        raise _unfit(path, "has no row of a main arm (is_main)")
    for row in rows[rows["is_main"]].to_dict("records"):
        try:
            is_known = has_its_key(row)
        except (ValueError, TypeError, AttributeError):  # a cell that is no list, or not of its setting's type
            is_known = False
        if not is_known:
            raise _unfit(
                path, f"has a trial {row['key']} whose settings have another key: of another version, or changed"
            )
    return rows


def has_its_key(row: Mapping[Any, Any]) -> bool:
    """Whether the key of a row of the table is that of its settings.

    Also true where files that the settings name count as well, as nobody can tell without them.
    """
    settings = settings_of(row)
    if any(pd.notna(row[name]) for name in (*_PATHS, "model.weights", "dataset.target", "other_settings")):
        return True
    return bool(row["key"] == trial_key(settings))


def settings_of(row: Mapping[Any, Any]) -> Settings:
    """The settings that a row of the table stands for."""
    settings = Settings()
    for column in SETTINGS:
        value = None if pd.isna(row[column.name]) else row[column.name]
        if column.kind == "json" and value is not None:
            value = json.loads(value)
        elif column.kind == "integer" or (column.kind == "label" and str(value).isdigit()):
            value = None if value is None else int(value)
        *groups, last = column.path
        setattr(reduce(getattr, groups, settings), last, value)
    return settings


def joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; a trial that is in several has the rows of the first."""
    found, seen = [], set[str]()
    for part in parts:
        found.append(with_short_paths(part[~part["key"].isin(seen)]))
        seen |= set(part["key"])
    return pd.concat(found, ignore_index=True)


def with_short_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the last parts of their paths, so that trials of several machines have one data set, wherever it lay.

    Paths with the same last part stay whole.
    """
    short: dict[str, dict[str, str]] = {}
    for name in _PATHS:
        paths = rows[name].dropna().unique()
        ends = [last_part(path) for path in paths]
        short[name] = {path: end if ends.count(end) == 1 else path for path, end in zip(paths, ends, strict=True)}
    return rows.assign(**{name: rows[name].map(ends.get, na_action="ignore") for name, ends in short.items()})


def _is_set(values: "pd.Series[Any]", default: Any) -> bool:
    """Whether any row has another value than the default."""
    return bool((values.notna() if default is None else values != default).any())


def _read(path: Path, types: Mapping[str, pa.DataType]) -> pa.Table:
    convert = pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    try:
        table = pa.csv.read_csv(path, convert_options=convert, parse_options=parse)
    except FileNotFoundError:
        raise _unfit(path, "does not exist") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise _unfit(path, f"cannot be read ({str(error).splitlines()[0]})") from None
    twice = [name for name in table.column_names if table.column_names.count(name) > 1]
    if twice:
        raise _unfit(path, f"has two columns {twice[0]}")
    return table


def _unfit(path: Path, what: str) -> WrongArgumentError:
    return WrongArgumentError(f"{path} {what}; {_REMEDY}")
