"""Deep Compression of DenseNet-BC-100-12: pruning in one step or step by step, weight sharing, Huffman coding."""

import pandas as pd

from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.lines import Axis, measure_lines
from wavesweep.analysis.statistics.evidence import MEASURES, Evidence
from wavesweep.analysis.studies.study import Study

_PRUNED, _RETRAINED, _QUANTIZER, _BITS = "threshold.percentile", "retrain.name", "quantize.name", "quantize.bits"
_WORDS = {"none": "direct", "iterative": "iterative"}
# Percentile of each tensor to the published share of the network, as text: 0.9405 of the numbers in it are weights.
SHARES = {
    20.0: "18.8", 40.0: "37.6", 50.0: "47.0", 55.0: "51.73", 60.0: "56.4", 65.0: "61.1", 70.0: "65.84",
    75.0: "70.5", 80.0: "75.24", 90.0: "84.7",
}  # fmt: skip
# Those of the published table of sizes, with the bits of each.
SIZES = {(50.0, 8): 47.0, (55.0, 8): 51.73, (65.0, 7): 61.13, (70.0, 7): 65.84, (75.0, 7): 70.54, (80.0, 6): 75.24}


def counted_ratio(pruned_percent: float, bits: int) -> float:
    """The published size: `bits` for every number that is left of 32 bits each, and nothing else."""
    return 32 / ((1 - pruned_percent / 100) * bits)


def _ours(found: Evidence) -> dict[str, str]:
    before = MEASURES["test_accuracy"].text(found.before["test_accuracy_mean"], found.before["test_accuracy_std"])
    ours = {"test accuracy before pruning, %": before}
    sizes = found.workload.singles.assign(pruned=_pruned_percent(found.workload.singles))
    for _, row in found.table.iterrows():
        percentile = row[_PRUNED]
        if row[_QUANTIZER] == "none" and row[_RETRAINED] in _WORDS and percentile in SHARES:
            text = f"{_WORDS[row[_RETRAINED]]}, {SHARES[percentile]} % of the network pruned: test accuracy, %"
            ours[text] = MEASURES["test_accuracy"].text(row["test_accuracy_mean"], row["test_accuracy_std"])
    coded = sizes[sizes[_QUANTIZER] == "kmeans"]
    for (percentile, bits), share in SIZES.items():
        rows = coded[(coded[_PRUNED] == percentile) & (coded[_BITS] == bits)]
        if rows.empty:
            continue
        counted = counted_ratio(rows["pruned"].mean(), bits)
        ours[f"{share:g} % and {bits} bits: times smaller"] = (
            f"{counted:.2f} by that count, {rows['compression_ratio'].mean():.2f} as a file"
        )
    return ours


def _pruned_percent(rows: pd.DataFrame) -> "pd.Series[float]":
    """Share of the network's parameters that are zero, in %."""
    return 100 * (rows["total_coefficients"] - rows["nonzero_coefficients"]) / rows["baseline_parameters"]


def _curves(found: Evidence) -> Chart:
    table = found.table[found.table[_QUANTIZER] == "none"]
    shown = Evidence(found.workload, found.by, table, found.before)
    axis = Axis(_PRUNED, "pruned in each tensor (%)")
    return measure_lines(shown, "Pruning in one step and step by step", axis, _RETRAINED,
                         label=lambda row: _WORDS.get(row[_RETRAINED], row[_RETRAINED]))  # fmt: skip


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Without the bits of rows that are not quantised."""
    return table.assign(**{_BITS: table[_BITS].where(table[_QUANTIZER] != "none")})


STUDY = Study(
    name="deep_compression_densenet",
    question="How much of DenseNet-BC-100-12 can be pruned in one step and step by step, and how small is its file?",
    experiments=("deep_compression_densenet",),
    by=("method", _QUANTIZER, _RETRAINED, _PRUNED, _BITS),
    measures=("test_accuracy", "test_accuracy_drop", "coefficient_sparsity", "stored_bytes", "compression_ratio"),
    charts=(_curves,),
    ours=_ours,
    shown=_shown,
)
