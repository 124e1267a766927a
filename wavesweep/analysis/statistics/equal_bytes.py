"""Methods at equal stored bytes, paired by seed; the wavelet against the others for each kind of retraining."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wavesweep.analysis.statistics.methods import in_order
from wavesweep.analysis.statistics.pairs import Paired, holm, paired
from wavesweep.analysis.statistics.pareto import STORED_BYTES, Objective, front
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.analysis.table.columns import DATASET_IDENTITY, MODEL_IDENTITY

# The method that others are compared with, and its wavelet; others are methods of their own.
REFERENCE, REFERENCE_WAVELET = "wavelet", "haar"
STAGES = {"none": "one shot", "gradual": "pruned while retrained", "rate": "bits in the loss"}
_FIELDS = ("n", "mean", "low", "high", "t_test_p", "p")


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
    no better by `chosen_by`, the value is that of the front's last row.

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


def wavelets_as_methods(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the wavelet's name for the method where it is another one than the reference's."""
    others = (rows["method"] == REFERENCE) & (rows["wavelet"] != REFERENCE_WAVELET)
    return rows.assign(method=rows["method"].mask(others, rows["wavelet"]))


def sizes_compared(workload: Workload, retraining: str) -> list[int]:
    """Where methods are compared: the geometric middles between neighbouring sizes of the wavelet's settings.

    The size of a setting is the median over seeds. Middles lie inside the wavelet's curve for nearly every seed.
    """
    rows = workload.singles
    rows = rows[(rows["method"] == REFERENCE) & (rows["retrain.name"] == retraining)]
    medians = sorted(set(rows.groupby("setting")["stored_bytes"].median()))
    return sorted({round(sqrt(smaller * larger)) for smaller, larger in pairwise(medians)})


def reached(workload: Workload) -> pd.DataFrame:
    """Test accuracy of each method at each size: `retraining`, `stored_bytes`, `method`, `seeds`, `mean`, `std`."""
    found = []
    for retraining, rows in _stages(workload):
        sizes = sizes_compared(workload, retraining)
        for method in in_order(rows["method"]):
            at = at_sizes(rows, method, sizes)
            for size in sizes:
                values = at[size].dropna()
                found.append((retraining, size, method, len(values), values.mean(), values.std()))
    columns = ["retraining", "stored_bytes", "method", "seeds", "mean", "std"]
    return pd.DataFrame(found, columns=columns)


def differences_at_sizes(workload: Workload) -> pd.DataFrame:
    """Test accuracy of the wavelet minus that of each other method, as fractions, at each size.

    Returns:
        `retraining`, `stored_bytes`, `method`, the fields of `Paired`, and `adjusted_p`: the t-test's, by Holm over
        all rows of one kind of retraining.
    """
    return _differences(workload, together=False)


def differences_over_sizes(workload: Workload) -> pd.DataFrame:
    """The same averaged over the sizes, seed by seed; `stored_bytes` is the number of sizes that both reach."""
    return _differences(workload, together=True)


def _differences(workload: Workload, together: bool) -> pd.DataFrame:
    parts = []
    for retraining, rows in _stages(workload):
        sizes = sizes_compared(workload, retraining)
        own = at_sizes(rows, REFERENCE, sizes)
        found: list[tuple[object, ...]] = []
        for method in in_order(set(rows["method"]) - {REFERENCE}):
            each = own - at_sizes(rows, method, sizes)
            if together:
                # Without seeds that only one of them has, then without sizes that some pair does not reach.
                both = each.dropna(axis="index", how="all").dropna(axis="columns")
                values = both.mean(axis="columns") if both.shape[1] else both.iloc[:0].sum(axis="columns")
                found.append((retraining, both.shape[1], method, *_fields(paired(values.to_numpy(dtype=float)))))
                continue
            for size in sizes:
                result = paired(each[size].dropna().to_numpy(dtype=float))
                found.append((retraining, size, method, *_fields(result)))
        part = pd.DataFrame(found, columns=["retraining", "stored_bytes", "method", *_FIELDS])
        parts.append(part.assign(adjusted_p=holm(part["t_test_p"].astype(float).tolist())))
    if not parts:
        return pd.DataFrame(columns=["retraining", "stored_bytes", "method", *_FIELDS, "adjusted_p"])
    return pd.concat(parts, ignore_index=True)


def _fields(result: Paired) -> Sequence[object]:
    return [getattr(result, name) for name in _FIELDS]


def _stages(workload: Workload) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each kind of retraining that has the wavelet, in the order of `STAGES`."""
    rows = workload.rows
    return [(name, part) for name in STAGES if REFERENCE in set((part := rows[rows["retrain.name"] == name])["method"])]


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
