"""What the records say about a study: its trials, and their means and spreads over seeds, as one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wavesweep.analysis.statistics.methods import WAVELET_METHODS, rank
from wavesweep.analysis.statistics.seeds import networks_before
from wavesweep.analysis.statistics.workloads import Workload, workloads
from wavesweep.analysis.table.columns import SETTINGS


@dataclass(frozen=True)
class Measure:
    """How a column is shown: its heading, the factor from its unit to that of the heading, and decimals."""

    heading: str
    factor: float = 1.0
    decimals: int = 2

    def text(self, mean: float, deviation: float) -> str:
        """Mean and sample standard deviation as in a table; empty without a mean."""
        if pd.isna(mean):
            return ""
        spread = "" if pd.isna(deviation) else f" ± {self.factor * deviation:,.{self.decimals}f}"
        return f"{self.factor * mean:,.{self.decimals}f}{spread}"


MEASURES: Mapping[str, Measure] = {
    "validation_accuracy": Measure("validation accuracy %", 100),
    "test_accuracy": Measure("test accuracy %", 100),
    "test_accuracy_drop": Measure("points lost"),
    "test_loss": Measure("test loss", decimals=4),
    "test_precision": Measure("precision %", 100),
    "test_recall": Measure("recall %", 100),
    "test_f1": Measure("F1 %", 100),
    "stored_bytes": Measure("bytes", decimals=0),
    "compression_ratio": Measure("times smaller", decimals=1),
    "coefficient_sparsity": Measure("sparsity %", 100),
    "weight_sparsity": Measure("zero weights %", 100),
    "inference_single_ms": Measure("inference ms, one image", decimals=3),
    "inference_batch_ms": Measure("inference ms, 64 images"),
}
# What a measure is called for the network before pruning, where that is not `baseline_<measure>`.
_BEFORE = {"stored_bytes": "baseline_safetensors_bytes"}
_CANDIDATES = (
    "is_main",
    *(column.name for column in SETTINGS if column.name not in ("seed", "method.name", "compare")),
)


@dataclass(frozen=True)
class Evidence:
    """What the records of a study say about one network on one data set.

    Attributes:
        workload: the network and its data set, with the study's rows of the collected table.
        by: the columns that distinguish the rows of `table`.
        table: a row per setting and method: `by`, `seeds` (their number), and `<measure>_mean` and `_std` (sample
            standard deviation over seeds) of each measure.
        before: the same of the network before pruning: `seeds`, `<measure>_mean` and `_std`.
    """

    workload: Workload
    by: tuple[str, ...]
    table: pd.DataFrame
    before: "pd.Series[Any]"


def evidence(rows: pd.DataFrame, by: Sequence[str], measures: Sequence[str]) -> list[Evidence]:
    """The evidence in rows of the collected table, one for each network and data set; replacements come last.

    Args:
        rows: of one study.
        by: `method` and settings that distinguish rows; other settings that differ among equal ones are added.
        measures: names of `MEASURES`.
    """
    lost = 100 * (rows["baseline_test_accuracy"] - rows["test_accuracy"])
    ordered = sorted(workloads(rows.assign(test_accuracy_drop=lost)), key=_is_replacement)
    return [_of(workload, by, measures) for workload in ordered]


def varying(rows: pd.DataFrame, among: Sequence[str]) -> list[str]:
    """Settings that differ among rows with equal values in the columns `among`."""
    groups = rows.groupby(list(among), dropna=False, sort=False)
    return [name for name in _CANDIDATES if name not in among and groups[name].nunique(dropna=False).max() > 1]


def _is_replacement(workload: Workload) -> bool:
    """Whether its images are the digits of scikit-learn, which replace those of a study in a quick run."""
    return bool((workload.rows["dataset.name"] == "digits").all())


def _of(workload: Workload, by: Sequence[str], measures: Sequence[str]) -> Evidence:
    means = workload.means
    columns = (*by, *varying(means, by))
    singles = workload.singles
    grouped = singles.groupby("setting")
    # What the table shows is means of seeds; what chooses among its rows is the validation split.
    wanted = dict.fromkeys((*measures, "validation_accuracy"))
    numbers = {f"{name}_{what}": grouped[name].agg(what) for name in wanted for what in ("mean", "std")}
    table = means[[*columns]].assign(seeds=means["seeds"], **numbers)
    # Sorted after naming, as a shared arm has the settings of any of its trials.
    table = _named(table, columns).sort_values(list(columns), key=_by_rank, kind="stable")
    before: dict[str, Any] = {"seeds": workload.rows["seed"].nunique()}
    for name in wanted:
        column = _BEFORE.get(name, f"baseline_{name}")
        networks = networks_before(workload.rows, column)
        before[f"{name}_mean"], before[f"{name}_std"] = networks.mean(), networks.std()
    return Evidence(workload, columns, table.reset_index(drop=True), pd.Series(before))


def _by_rank(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return column.map(rank) if column.name == "method" else column


def _named(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Without the wavelet of methods that have none; in brackets, where it says to which trial an arm belongs."""
    other = ~table["method"].isin(WAVELET_METHODS)
    named = [name for name in ("method.name", "wavelet", "level", "boundary") if name in columns]
    if not other.any() or not named:
        return table
    rest = [name for name in columns if name not in named]
    several = table[other].duplicated(rest, keep=False)
    for name in named:
        words = table.loc[other, name].astype(str)
        table[name] = table[name].astype(object)
        table.loc[other, name] = words.where(~several, "(" + words + ")").where(several, "-")
    return table
