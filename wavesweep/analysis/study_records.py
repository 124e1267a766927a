"""The records of a study as one CSV file: written beside its page, and read again by whoever wants to check it."""

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from wavesweep.analysis.cache import ARROW_TYPES
from wavesweep.analysis.collect import frame_of
from wavesweep.analysis.columns import ARM, BASELINE, SETTINGS, TRIALS
from wavesweep.analysis.command import WrongArgumentError
from wavesweep.analysis.workloads import last_part
from wavesweep.experiment.inputs import input_digests
from wavesweep.settings.keys import PATHS, trial_key
from wavesweep.settings.schema import Settings

_ALWAYS = ("model.name", "dataset.name")
_PLACES = tuple(".".join(path) for path in PATHS)
_NEEDED = (
    *("key", "arm", "is_main", "method", "arm_key", *_ALWAYS, "seed"),
    *(column.name for column in (*ARM, *BASELINE) if column.needed),
)
_REMEDY = "give a CSV that analysis.study of this version wrote"


def records(rows: pd.DataFrame, study: str) -> pd.DataFrame:
    """A row per trial and arm: study, key, method, network, data set, every setting that is not always the default,
    seed, measures."""
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
    """The rows of a file of `records`, with all columns of the collected table; a setting that is not there has its
    default.

    Raises:
        WrongArgumentError: there is no such file, it is another one, of another study or version, or was changed: the
            key of a trial is not that of its settings.
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
    """Whether the key of a row of the table is that of its settings; where files count as well, nobody can say."""
    settings = settings_of(row)
    if any(pd.notna(row[name]) for name in (*_PLACES, "model.weights", "dataset.target", "other_settings")):
        return True
    digests = input_digests(settings)
    older = {name: digest for name, digest in digests.items() if name != "layers"}  # before keys told attention
    return row["key"] in (trial_key(settings, digests), trial_key(settings, older))


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
    """Tables below each other; of a trial that is in several the rows of the first are taken."""
    found, seen = [], set[str]()
    for part in parts:
        found.append(with_short_paths(part[~part["key"].isin(seen)]))
        seen |= set(part["key"])
    return pd.concat(found, ignore_index=True)


def with_short_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose paths are their last part, so that trials of several machines are of one data set, wherever it lay.

    Paths that would be taken for one another stay whole.
    """
    short: dict[str, dict[str, str]] = {}
    for name in _PLACES:
        paths = rows[name].dropna().unique()
        ends = [last_part(path) for path in paths]
        short[name] = {path: end if ends.count(end) == 1 else path for path, end in zip(paths, ends, strict=True)}
    return rows.assign(**{name: rows[name].map(ends.get, na_action="ignore") for name, ends in short.items()})


def _is_set(values: "pd.Series[Any]", default: Any) -> bool:
    """Whether any row has something else than the default."""
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
