"""Differences of pairs with their intervals and tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


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
