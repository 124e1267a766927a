"""Fronts of the table of trials: pure functions from data frames to data frames."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from wavesweep.measure.fronts import hypervolume, knee, non_dominated


@dataclass(frozen=True)
class Objective:
    """A column, and whether more of it is better."""

    column: str
    maximize: bool


ACCURACY = Objective("validation_accuracy", maximize=True)
STORED_BYTES = Objective("stored_bytes", maximize=False)
SPARSITY = Objective("coefficient_sparsity", maximize=True)
BYTES_AND_ACCURACY = (STORED_BYTES, ACCURACY)


def front(rows: pd.DataFrame, objectives: Sequence[Objective] = BYTES_AND_ACCURACY) -> pd.DataFrame:
    """The rows that no other row dominates, sorted by the first objective ascending.

    A row dominates another if it is at least as good in all objectives and better in one; so rows of equal values
    are all on the front or all off it. Rows in which an objective is missing are left out.
    """
    points = rows[[objective.column for objective in objectives]].to_numpy(dtype=float, na_value=float("nan"))
    chosen = rows[non_dominated(points, [objective.maximize for objective in objectives])]
    return chosen.sort_values([objective.column for objective in objectives], kind="stable")


def front_hypervolume(
    rows: pd.DataFrame, reference: Sequence[float], objectives: Sequence[Objective] = BYTES_AND_ACCURACY
) -> float:
    """Area that the rows dominate, bounded by `reference` (see `measure.fronts.hypervolume`); two objectives."""
    points = rows[[objective.column for objective in objectives]].to_numpy(dtype=float, na_value=float("nan"))
    return hypervolume(points, [objective.maximize for objective in objectives], reference)


def worst_point(rows: pd.DataFrame, objectives: Sequence[Objective] = BYTES_AND_ACCURACY) -> tuple[float, ...]:
    """The worst value of each objective: a reference point that makes hypervolumes of parts of `rows` comparable."""
    return tuple(
        float(rows[objective.column].min() if objective.maximize else rows[objective.column].max())
        for objective in objectives
    )


def front_knee(rows: pd.DataFrame, objectives: Sequence[Objective] = BYTES_AND_ACCURACY) -> pd.Series:
    """The row at the knee of the front, by the definition of `measure.fronts.knee` (Das 1999); two objectives.

    Raises:
        ValueError: no row has both objectives.
    """
    points = rows[[objective.column for objective in objectives]].to_numpy(dtype=float, na_value=float("nan"))
    return rows.iloc[knee(points, [objective.maximize for objective in objectives])]


def fronts_per_method(
    rows: pd.DataFrame, objectives: Sequence[Objective] = BYTES_AND_ACCURACY
) -> dict[str, pd.DataFrame]:
    """The front of each method by itself, over main and compared arms, methods in alphabetical order."""
    return {str(method): front(group, objectives) for method, group in rows.groupby("method")}


def fronts_per_family(
    rows: pd.DataFrame, objectives: Sequence[Objective] = BYTES_AND_ACCURACY
) -> dict[str, pd.DataFrame]:
    """The front of each wavelet family by itself, over the arms of `method=wavelet`, in alphabetical order."""
    rows = rows[rows["method"] == "wavelet"]
    families = rows["wavelet"].map(wavelet_family)
    return {str(family): front(group, objectives) for family, group in rows.groupby(families)}


def wavelet_family(name: str) -> str:
    """The family of a wavelet, as PyWavelets' short name for it: `bior` of `bior2.2`, `db` of `db4`, `haar`."""
    found = re.match("[A-Za-z]+", name)
    return found[0].lower() if found else name
