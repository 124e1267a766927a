"""DWT pruning against magnitude pruning: as published, where nothing was transformed, and with the real transform."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from wavesweep.analysis.charts.chart import Chart
from wavesweep.analysis.charts.lines import Axis, looks_of, measure_lines
from wavesweep.analysis.charts.paired import paired_in_trials, paired_lines
from wavesweep.analysis.statistics.evidence import MEASURES, Evidence
from wavesweep.analysis.statistics.methods import WAVELET_METHODS
from wavesweep.analysis.statistics.pairs import Paired
from wavesweep.analysis.statistics.workloads import Workload
from wavesweep.analysis.studies.page import table_text
from wavesweep.analysis.studies.study import Study

_PRUNED = "threshold.percentile"
_CLAMPED = "clamped_wavelet"
_AXIS = Axis(_PRUNED, "pruned in each convolution (%)")
# The percentiles of each convolution that have published figures; convolutions are 95.5 % of ResNet-18 for ImageNet.
_PUBLISHED_PERCENTILES = {10.0: "9.6 %", 50.0: "47.8 %"}


def deepest(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the wavelets of lower levels than the highest that was asked for."""
    levels = rows["level"].where(rows["method"].isin(WAVELET_METHODS))
    depths = levels.map(lambda level: math.inf if level == "max" else float(level), na_action="ignore")
    return rows[depths.isna() | (depths == depths.max())]


def as_shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The deepest level, and for each percentile one arm without a wavelet: the one with most zeros.

    Such an arm keeps as many weights as its trial's wavelet keeps coefficients, and Haar has more coefficients than
    there are weights where an axis has three points.
    """
    rows = deepest(rows)
    sparsity = rows["weight_sparsity_mean" if "weight_sparsity_mean" in rows else "weight_sparsity"]
    groups = [rows[name] for name in ("method", _PRUNED, "seed") if name in rows]
    is_most = sparsity == sparsity.groupby(groups).transform("max")
    is_wavelet = rows["method"].isin(WAVELET_METHODS)
    # Each of these rows is the only one of its kind, so it need not say to which trial it belongs.
    named = [name for name in ("method.name", "wavelet", "level") if name in rows]
    rows = rows.assign(**{name: rows[name].astype(object).where(is_wavelet, "-") for name in named})
    return rows[is_wavelet | is_most]


def form(row: "pd.Series[Any]") -> str:
    """What a method did; the published form of DWT pruning and the real one have different names."""
    if row["method"] not in WAVELET_METHODS:
        return str(row["method"])
    return f"{row['wavelet']}{', level clamped' if row['method'] == _CLAMPED else ''}"


def _ours(found: Evidence) -> dict[str, str]:
    table = as_shown(found.table)
    singles = as_shown(found.workload.singles)
    forms, single_forms = table.apply(form, axis=1), singles.apply(form, axis=1)
    magnitude = _magnitude(found.workload)
    ours = {}
    for name in dict.fromkeys(forms):
        differences = paired_in_trials(singles[single_forms == name], magnitude, _PRUNED)
        for percentile, share in _PUBLISHED_PERCENTILES.items():
            row = table[(forms == name) & (table[_PRUNED] == percentile)]
            if len(row) != 1:
                continue
            text = MEASURES["test_accuracy"].text(*row[["test_accuracy_mean", "test_accuracy_std"]].iloc[0])
            difference = differences.get(percentile)
            if name != "magnitude" and difference is not None and difference.low is not None:
                text += f" ({difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}])"
            ours[f"{name}, {share} of the network pruned"] = text
    return ours


def _magnitude(workload: Workload) -> pd.DataFrame:
    """Magnitude pruning in every trial, of as many coefficients as the trial's wavelet keeps."""
    return workload.rows[workload.rows["method"] == "magnitude"]


def _curves(found: Evidence) -> Chart:
    shown = Evidence(found.workload, found.by, _ranked(found), found.before)
    return measure_lines(shown, "Pruning convolutions in the wavelet domain, by magnitude, at random", _AXIS, "form")


def _ranked(found: Evidence) -> pd.DataFrame:
    table = as_shown(found.table)
    # The clamped form last, so that it is drawn over magnitude and the two are seen to coincide.
    return table.assign(form=table.apply(form, axis=1)).sort_values("form", key=_rank, kind="stable")


def _differences(found: Evidence) -> Chart:
    rows = as_shown(found.workload.singles)
    rows = rows[rows["method"] != "random"]  # tens of points below all others
    title = "Wavelets less magnitude pruning, real and with the level clamped"
    looks = looks_of(_ranked(found)["form"])  # those of the other chart
    return paired_lines(found, title, _AXIS, form, "magnitude", rows, looks)


def _tables(found: Evidence) -> Sequence[str]:
    """By how much each form differs from magnitude pruning, at each percentile."""
    rows = as_shown(found.workload.singles)
    forms, magnitude = rows.apply(form, axis=1), _magnitude(found.workload)
    lines = []
    for name in dict.fromkeys(forms[rows["method"] != "magnitude"]):
        for percentile, found_there in paired_in_trials(rows[forms == name], magnitude, _PRUNED).items():
            ends = "" if found_there.low is None else f"{found_there.low:+.2f} to {found_there.high:+.2f}"
            lines.append([name, f"{percentile:g}", f"{found_there.n}", f"{found_there.mean:+.2f}", ends])
    return [
        f"{found.workload.label}, test accuracy less that of magnitude pruning, in the same trials:",
        table_text(["", "pruned %", "seeds", "points", "95 % interval"], lines, words=1),
        *_by_level(found.workload),
    ]


def _by_level(workload: Workload) -> list[str]:
    """The real transform's differences for each wavelet and level; nothing if only one level was asked for."""
    rows = workload.singles
    real = rows[rows["method"].isin(WAVELET_METHODS) & (rows["method"] != _CLAMPED)]
    if real["level"].nunique() < 2:
        return []
    magnitude = _magnitude(workload)
    percentiles = sorted(real[_PRUNED].unique())
    lines = []
    for (wavelet, level), part in real.groupby(["wavelet", "level"], sort=True):
        differences = paired_in_trials(part, magnitude, _PRUNED)
        lines.append([str(wavelet), str(level), *(_points(differences.get(at)) for at in percentiles)])
    return [
        (
            f"{workload.label}, the same of the real transform at each level asked for, "
            "points ± half of the 95 % interval:"
        ),
        table_text(["", "level", *(f"{at:g} %" for at in percentiles)], lines, words=2),
    ]


def _points(found: Paired | None) -> str:
    if found is None:
        return ""
    half = "" if found.low is None else f" ± {found.mean - found.low:.2f}"
    return f"{found.mean:+.2f}{half}"


def _rank(forms: "pd.Series[Any]") -> "pd.Series[Any]":
    return forms.map(lambda name: (2 if "clamped" in name else 0) + (name in ("magnitude", "random")))


STUDY = Study(
    name="wavelet_vs_magnitude",
    question="Does pruning ResNet-18 in the wavelet domain differ from pruning its weights by magnitude?",
    experiments=("wavelet_vs_magnitude",),
    by=("method", "method.name", "wavelet", "level", _PRUNED),
    measures=("test_accuracy", "test_accuracy_drop", "weight_sparsity", "stored_bytes"),
    charts=(_curves, _differences),
    ours=_ours,
    tables=_tables,
    shown=as_shown,
)
