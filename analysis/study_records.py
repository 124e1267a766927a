"""The records of a study as one CSV file: written beside its page, and read again by whoever wants to check it."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from analysis.cache import ARROW_TYPES
from analysis.collect import frame_of
from analysis.columns import ARM, BASELINE, SETTINGS, TRIALS
from analysis.command import WrongArgumentError

_ALWAYS = ("model.name", "dataset.name")
# Where things lie on a machine says nothing about the study; the last part of a path is the name of the data.
_PLACES = ("dataset.path", "model.checkpoint")
_NEEDED = (
    *("key", "arm", "is_main", "method", "arm_key", *_ALWAYS, "seed"),
    *(column.name for column in (*ARM, *BASELINE) if column.needed),
)


def records(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per trial and arm: key, method, network, data set, every setting that is not always the default, seed,
    measures."""
    rows = with_short_paths(rows)
    others = [column for column in SETTINGS if column.name not in (*_ALWAYS, "seed")]
    settings = [column.name for column in others if _is_set(rows[column.name], column.default)]
    measures = [column.name for column in (*ARM, *BASELINE) if rows[column.name].notna().any()]
    described = [name for name in ("other_settings", "effective_level") if rows[name].notna().any()]
    first = ["key", "arm", "is_main", "method", "arm_key", *_ALWAYS]
    columns = [*first, *settings, "seed", *described, *measures, "accuracy_drop"]
    whole = {name: "Int64" for name, kind in TRIALS if kind == "integer" and name in columns}  # 64, not 64.0
    return (
        rows[columns].astype(whole).sort_values(["model.name", "dataset.name", *settings, "seed", "arm"], kind="stable")
    )


def read_records(path: Path) -> pd.DataFrame:
    """The rows of a file of `records`, with all columns of the collected table; a setting that is not there has its
    default.

    Raises:
        WrongArgumentError: there is no such file, or it is another one.
    """
    types = {name: ARROW_TYPES[kind] for name, kind in TRIALS}
    convert = pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
    try:
        table = pa.csv.read_csv(
            path, convert_options=convert, parse_options=pa.csv.ParseOptions(newlines_in_values=True)
        )
    except FileNotFoundError:
        raise WrongArgumentError(f"{path} does not exist; give a CSV that analysis.study wrote") from None
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise WrongArgumentError(f"{path} cannot be read ({reason}); give a CSV that analysis.study wrote") from None
    unknown = [name for name in table.column_names if name not in types]
    missing = [name for name in _NEEDED if name not in table.column_names]
    if unknown or missing:
        said = (
            f"has no column {missing[0]}" if missing else f"has a column {unknown[0]}, which this version does not know"
        )
        raise WrongArgumentError(f"{path} {said}; give a CSV that analysis.study wrote")
    defaults = {column.name: column.default for column in SETTINGS}
    for name, kind in types.items():
        if name not in table.column_names:
            table = table.append_column(name, pa.array([defaults.get(name)] * len(table), kind))
    return frame_of(table.select([*types]))


def _is_set(values: "pd.Series[Any]", default: Any) -> bool:
    """Whether any row has something else than the default."""
    return bool((values.notna() if default is None else values != default).any())


def joined(rows: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; of a trial that is in several the rows of the first are taken."""
    found, seen = [], set[str]()
    for part in rows:
        found.append(part[~part["key"].isin(seen)])
        seen |= set(part["key"])
    return pd.concat([with_short_paths(part) for part in found], ignore_index=True)


def with_short_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose paths are their last part, so that records of several machines are of one data set."""
    short = {name: rows[name].map(lambda path: PurePath(path).name, na_action="ignore") for name in _PLACES}
    return rows.assign(**short)
