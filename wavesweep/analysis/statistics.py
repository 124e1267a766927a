"""Statistics of the table of trials: bands over seeds, paired comparisons at equal bytes, importance of settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wavesweep.analysis.columns import DATASET_IDENTITY, MODEL_IDENTITY, SETTINGS
from wavesweep.analysis.pareto import STORED_BYTES, Objective, front

SETTING_NAMES = tuple(column.name for column in SETTINGS)
MEASURES = ("validation_accuracy", "test_accuracy", "stored_bytes", "coefficient_sparsity", "compression_ratio")


@dataclass(frozen=True)
class Paired:
    """Differences of pairs, first minus second.

    Attributes:
        n: number of pairs.
        seeds: number of seeds among them.
        mean: of the differences; NaN without any.
        low, high: ends of the 95 % interval of the mean by Student's t; None for fewer than two pairs.
        p: of Wilcoxon's signed-rank test, two-sided; None for fewer than two pairs, 1.0 if all differences are zero.
        left_out: pairs whose sizes are not equal, which do not count.
        t_test_p: of Student's paired t-test, two-sided, which the interval belongs to; None for fewer than two pairs,
            and where all differences are equal, which leaves it without a spread to test against.
    """

    n: int
    seeds: int
    mean: float
    low: float | None
    high: float | None
    p: float | None
    left_out: int = 0
    t_test_p: float | None = None


def seed_bands(rows: pd.DataFrame, measures: Sequence[str] = MEASURES) -> pd.DataFrame:
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


def paired(differences: Sequence[float] | NDArray[np.float64], seeds: int | None = None, left_out: int = 0) -> Paired:
    """Mean of differences with its 95 % t-interval and Wilcoxon's signed-rank test.

    The interval takes the pairs as independent.

    Raises:
        ValueError: a difference is not a finite number.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite numbers")
    if n < 2:
        return Paired(
            n, n if seeds is None else seeds, float(values.mean()) if n else math.nan, None, None, None, left_out
        )
    from scipy import stats  # takes longer to import than most scripts to run

    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    # Equal differences of accuracies differ in their last bits, which a t-test would take for certainty.
    is_equal = deviation <= 1e-12 * max(1.0, float(np.abs(values).max()))
    half = 0.0 if is_equal else float(stats.t.ppf(0.975, n - 1) * deviation / math.sqrt(n))
    p = float(stats.wilcoxon(values).pvalue) if values.any() else 1.0
    t_test_p = None if is_equal else float(stats.ttest_1samp(values, 0).pvalue)
    return Paired(n, n if seeds is None else seeds, mean, mean - half, mean + half, p, left_out, t_test_p)


def compare_arms(
    rows: pd.DataFrame,
    first: str,
    second: str,
    measure: str = "test_accuracy",
    *,
    tolerance: float = 0.02,
    unit: str = "trial",
) -> Paired:
    """Two methods, paired within trials that matched their arms by stored bytes (`compare_match=bytes`).

    Trials share arms, so a pair of the same two arms counts once.

    Args:
        rows: of the table of trials.
        first: a method.
        second: another one, of the same trials; the difference is `first` minus `second`.
        measure: the column that is compared.
        tolerance: sizes count as equal within this share of the larger one. Each compared arm is within 1 % of the
            main one where that is possible.
        unit: `trial` makes a pair of each trial; `seed` averages the pairs of a seed first. Trials of one seed start
            from the same trained network, so they are not independent: where they are many and seeds few, the interval
            over trials is too narrow as a claim about networks trained anew.

    Raises:
        ValueError: another `unit`.
    """
    if unit not in ("trial", "seed"):
        raise ValueError(f"unit must be trial or seed, not {unit}")
    rows = rows[rows["compare_match"] == "bytes"]
    columns = ["key", "arm_key", "seed", "stored_bytes", measure]
    one, other = (rows[rows["method"] == method].drop_duplicates("key")[columns] for method in (first, second))
    pairs = one.merge(other, on="key", suffixes=("", "_other")).drop_duplicates(["arm_key", "arm_key_other"])
    pairs = pairs.dropna(subset=[measure, f"{measure}_other"])
    larger = pairs[["stored_bytes", "stored_bytes_other"]].max(axis=1)
    equal = (pairs["stored_bytes"] - pairs["stored_bytes_other"]).abs() <= tolerance * larger
    left_out, pairs = int((~equal).sum()), pairs[equal]
    differences = pairs[measure] - pairs[f"{measure}_other"]
    if unit == "seed":
        differences = differences.groupby(pairs["seed"]).mean()
    return paired(differences.to_numpy(dtype=float), int(pairs["seed"].nunique()), left_out)


def at_sizes(
    rows: pd.DataFrame,
    method: str,
    sizes_bytes: Sequence[float],
    measure: str = "test_accuracy",
    *,
    chosen_by: str = "validation_accuracy",
) -> pd.DataFrame:
    """What a method reaches at given sizes, seed by seed.

    For each seed the front of stored bytes against `chosen_by` is made, and `measure` of its rows is interpolated at
    each size, linearly over the logarithm of the bytes. Between the front's last row and the largest file, which is
    no better by `chosen_by`, the front's last row is what one would take.

    Returns:
        A row per seed and a column per size; NaN where no file is that small, or that large: nothing is extrapolated.

    Raises:
        ValueError: the rows are of more than one network or data set.
    """
    for name in (*MODEL_IDENTITY, *DATASET_IDENTITY):
        if name in rows and rows[name].nunique(dropna=False) > 1:
            raise ValueError(f"rows of several values of {name} cannot be compared; filter them first")
    objectives = (STORED_BYTES, Objective(chosen_by, maximize=True))
    reached = {
        seed: _interpolated(front(group, objectives), sizes_bytes, measure, group["stored_bytes"].max())
        for seed, group in rows[rows["method"] == method].groupby("seed")
    }
    return pd.DataFrame.from_dict(reached, orient="index", columns=list(sizes_bytes), dtype=float)


def compare_fronts(
    rows: pd.DataFrame,
    first: str,
    second: str,
    sizes_bytes: Sequence[float],
    measure: str = "test_accuracy",
    *,
    chosen_by: str = "validation_accuracy",
) -> pd.DataFrame:
    """Two methods at given sizes, paired by seed: differences of what `at_sizes` gives.

    A seed in which a size lies outside one of the two fronts makes no pair there.

    Returns:
        A row per size: `stored_bytes` and the fields of `Paired`.

    Raises:
        ValueError: the rows are of more than one network or data set.
    """
    one, other = (at_sizes(rows, method, sizes_bytes, measure, chosen_by=chosen_by) for method in (first, second))
    results = [paired(column[np.isfinite(column)]) for column in (one - other).to_numpy(dtype=float).T]
    names = ("n", "seeds", "mean", "low", "high", "p", "t_test_p")
    return pd.DataFrame(
        [
            {"stored_bytes": size, **{name: getattr(result, name) for name in names}}
            for size, result in zip(sizes_bytes, results, strict=True)
        ]
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests, adjusted for their number (Holm, Scand. J. Statistics 6, 1979).

    NaN stands for a test that could not be made, and is not part of the family.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)[: int(np.isfinite(values).sum())]
    adjusted = np.full(len(values), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return [float(value) for value in adjusted]


def _interpolated(
    rows: pd.DataFrame, sizes_bytes: Sequence[float], measure: str, largest_bytes: float
) -> NDArray[np.float64]:
    """`measure` of a front at each size; NaN below it, and above the largest file."""
    points = rows.groupby("stored_bytes")[measure].mean().dropna()  # rows of equal size and accuracy are one point
    if points.empty:
        return np.full(len(sizes_bytes), np.nan)
    logarithms = np.log(points.index.to_numpy(dtype=float))
    values = np.interp(np.log(sizes_bytes), logarithms, points.to_numpy(dtype=float), left=np.nan)
    return np.where(np.asarray(sizes_bytes) <= largest_bytes, values, np.nan)


def _settings_but_seed(rows: pd.DataFrame) -> list[str]:
    return [name for name in (*SETTING_NAMES, "other_settings") if name in rows.columns and name != "seed"]
