"""Rows that differ in nothing but the seed, as one: means over seeds, bands, networks before pruning."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from wavesweep.analysis.table.columns import SETTINGS

# Settings in which rows that are averaged over seeds may differ; `method` tells what an arm did.
NOT_GROUPED = frozenset({"seed", "method.name", "compare"})
_AVERAGED = (
    "validation_accuracy",
    "test_accuracy",
    *(f"{split}accuracy_drop{end}" for split in ("", "test_") for end in ("", "_low", "_high")),
    "stored_bytes",
    "dense_bytes",
    "compression_ratio",
    "coefficient_sparsity",
    "weight_sparsity",
    *(f"inference_{calls}_ms{end}" for calls in ("single", "batch") for end in ("", "_low", "_high")),
)
_BAND_MEASURES = ("validation_accuracy", "test_accuracy", "stored_bytes", "coefficient_sparsity", "compression_ratio")


def means_over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per setting and method, averaged over seeds.

    A compared arm may belong to many trials, whose settings differ in what has no effect on it; it is counted once.

    Columns: `method`, the settings, the measures as means, `validation_accuracy_low` and `_high` over seeds, `seeds`
    (their number), `is_main`, `keys` (of the trials, by seed) and `arm_keys`.
    """
    rows = rows.sort_values(["seed", "key", "arm"], kind="stable")
    names = [column.name for column in SETTINGS if column.name not in NOT_GROUPED] + ["other_settings"]
    split_by = [name for name in names if rows[name].nunique(dropna=False) > 1]
    # A compared arm keeps as much as the main method of its trial, which so belongs to its settings.
    by = ["method", "is_main", "method.name", *split_by]
    rows = rows.assign(group=rows.groupby(by, dropna=False, sort=False).ngroup())
    rows = rows.drop_duplicates(["group", "seed"])
    grouped = rows.groupby("group", sort=False)
    first = grouped.first() if rows.empty else rows.drop_duplicates("group").set_index("group")
    means = first[["method", "is_main", "method.name", *names, "key", "requested", "effective_level"]].copy()
    means[list(_AVERAGED)] = grouped[list(_AVERAGED)].mean()
    means["validation_accuracy_low"] = grouped["validation_accuracy"].min()
    means["validation_accuracy_high"] = grouped["validation_accuracy"].max()
    means["seeds"] = grouped["seed"].nunique()
    means["keys"] = grouped["key"].agg(tuple)
    means["arm_keys"] = grouped["arm_key"].agg(tuple)
    means = means.sort_values(["is_main", "seeds", "key"], ascending=[False, False, True], kind="stable")
    return means[_is_new(means)].reset_index(drop=True)


def seed_bands(rows: pd.DataFrame, measures: Sequence[str] = _BAND_MEASURES) -> pd.DataFrame:
    """Mean, sample standard deviation, minimum and maximum over seeds.

    A band is over the rows that are equal in method and in all settings but `seed`; a seed that is there twice counts
    once. The columns are `method`, `is_main`, the settings, `seeds` (their number), and `<measure>_mean`, `_std`,
    `_min` and `_max`; the standard deviation of one seed is NaN.
    """
    if rows.empty:
        names = [f"{name}_{what}" for name in measures for what in ("mean", "std", "min", "max")]
        return pd.DataFrame(columns=["method", "is_main", *_settings_but_seed(rows), "seeds", *names])
    same = ["method", "is_main", *_settings_but_seed(rows)]
    deciding = [name for name in same if rows[name].nunique(dropna=False) > 1] or ["method"]
    group = rows.groupby(deciding, dropna=False, sort=False).ngroup()
    rows = rows.assign(_group=group).drop_duplicates(["_group", "seed"])
    groups = rows.groupby("_group", sort=False)
    bands = rows.drop_duplicates("_group").set_index("_group")[same]
    numbers = groups[list(measures)].agg(["mean", "std", "min", "max"])
    numbers.columns = pd.Index([f"{name}_{what}" for name, what in numbers.columns])
    return pd.concat([bands, groups["seed"].nunique().rename("seeds"), numbers], axis=1).reset_index(drop=True)


def networks_before(rows: pd.DataFrame, column: str) -> "pd.Series[Any]":
    """A measure of each network before pruning. Those of several machines differ in last bits: their mean."""
    if column not in rows:
        return pd.Series(dtype=float)
    found = rows.drop_duplicates(["baseline_key", column]).astype({column: float})
    return found.groupby("baseline_key")[column].mean()


def _is_new(means: pd.DataFrame) -> list[bool]:
    """Whether a group is of the main method, or has an arm that no group before it has."""
    seen: set[str] = set()
    new = []
    for is_main, arms in zip(means["is_main"], means["arm_keys"], strict=True):
        new.append(bool(is_main) or not seen.issuperset(arms))
        seen.update(arms)
    return new


def _settings_but_seed(rows: pd.DataFrame) -> list[str]:
    names = [column.name for column in SETTINGS if column.name != "seed"] + ["other_settings"]
    return [name for name in names if name in rows.columns]
