"""The rows of the table that ends a sweep or a single run, and the same as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from wavesweep.measure.drops import with_interval
from wavesweep.runtime.metrics import PrimaryMetric, primary_of
from wavesweep.sweep.objectives import accuracy_drop, drop_interval

Entry = tuple[Mapping[str, str], Mapping[str, Any]]
# The share of a file from which on a column says what is not coded.
_NOTABLE = 0.1


def table_rows(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """One row of texts per trial.

    Args:
        entries: per trial the swept keys with their values, and the trial's record, or `{"failed": reason}`.
    """
    keys = varying(entries)
    controls = _controls(entries)
    has_interval = any(drop_interval(record) for _, record in entries if "arms" in record)
    with_uncoded = any(_uncoded_share(record) > _NOTABLE for _, record in entries)
    first_with: dict[tuple[str, ...], int] = {}
    rows = []
    for number, (swept, record) in enumerate(entries, start=1):
        row = {"#": str(number), **{key: swept.get(key, "") for key in keys}}
        if "arms" not in record:
            rows.append(row | {"note": f"failed: {record['failed']}"})
            continue
        main, metric = record["arms"][0], primary_of(record)
        with_lost = has_interval or not metric.is_accuracy
        same = first_with.setdefault(tuple(arm["arm_key"] for arm in record["arms"]), number)
        row |= {
            "method": main["method"],
            "effective level": _level_range(main),
            "kept": f"{main['kept_coefficients']:,}",
            "sparsity %": percent(main["coefficient_sparsity"]),
            f"validation {metric.label}": metric.shown(metric.value(main["validation"])),
            f"test {metric.label}": metric.shown(metric.value(main["test"])),
            **(
                {title: _lost(record, split) for title, split in lost_titles(metric, has_interval).items()}
                if with_lost
                else {}
            ),
            "bytes": f"{main['stored_bytes']:,}",
            **({"not coded %": percent(_uncoded_share(record))} if with_uncoded else {}),
        }
        by_method = {arm["method"]: arm for arm in record["arms"][1:]}
        for name in controls:
            arm = by_method.get(name)
            row[f"{name} test {metric.label}"] = "" if arm is None else metric.shown(metric.value(arm["test"]))
            if arm is not None and "stored_bytes" in arm["requested"]:
                row[f"{name} bytes"] = f"{arm['stored_bytes']:,}"
        if same != number:
            row["note"] = f"= #{same}"
        rows.append(row)
    return rows


def rows_as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The same rows as CSV."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def varying(entries: Sequence[Entry]) -> list[str]:
    """The swept keys that have several values, in their order."""
    keys = dict.fromkeys(key for swept, _ in entries for key in swept)
    return [key for key in keys if len({swept.get(key) for swept, _ in entries}) > 1]


def _controls(entries: Sequence[Entry]) -> list[str]:
    names = (arm["method"] for _, record in entries for arm in record.get("arms", [])[1:])
    return list(dict.fromkeys(names))


def _level_range(arm: Mapping[str, Any]) -> str:
    levels = [level for layer in arm["layers"] for level in layer["levels"] or ()]
    if not levels:
        return "-"
    return str(levels[0]) if min(levels) == max(levels) else f"{min(levels)}-{max(levels)}"


def lost_titles(metric: PrimaryMetric, has_interval: bool) -> dict[str, str]:
    """Columns of what was lost, to the split on which it was; with 95 % intervals where they are known."""
    if metric.is_accuracy:
        return {"points lost (95 %)": "validation", "test points lost (95 %)": "test"}
    what = f"{metric.name} {metric.lost_unit} lost".replace("  ", " ") + (" (95 %)" if has_interval else "")
    return {what: "validation", f"test {what}": "test"}


def _uncoded_share(record: Mapping[str, Any]) -> float:
    """The share of the main arm's file that is stored number by number; older records do not say."""
    return float(record.get("not_coded", {}).get("share", 0.0))


def _lost(record: Mapping[str, Any], split: str) -> str:
    interval, metric = drop_interval(record, split), primary_of(record)
    lost = accuracy_drop(record, split)
    if interval is None or metric.is_accuracy:
        return metric.shown_drop(lost) if interval is None else with_interval(lost, interval)
    return f"{metric.shown_drop(lost)} ({' to '.join(map(metric.shown_end, interval))})"


def percent(fraction: float) -> str:
    """A fraction as it is shown."""
    return f"{100 * fraction:.2f}"
