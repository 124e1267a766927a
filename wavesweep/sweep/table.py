"""The table that ends a sweep or a single run: pure rows first, then the drawing."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

from wavesweep.settings.effective import MATCHES_NO_TENSOR, NO_EFFECT
from wavesweep.settings.keys import differences
from wavesweep.settings.schema import Settings

Entry = tuple[Mapping[str, str], Mapping[str, Any]]


def table_rows(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """One row of texts per trial.

    Args:
        entries: per trial the swept keys with their values, and the trial's record, or `{"failed": reason}`.
    """
    varying = _varying(entries)
    controls = _controls(entries)
    first_with: dict[tuple[str, ...], int] = {}
    rows = []
    for number, (swept, record) in enumerate(entries, start=1):
        row = {"#": str(number), **{key: swept.get(key, "") for key in varying}}
        if "arms" not in record:
            rows.append(row | {"note": f"failed: {record['failed']}"})
            continue
        main = record["arms"][0]
        same = first_with.setdefault(tuple(arm["arm_key"] for arm in record["arms"]), number)
        row |= {
            "method": main["method"],
            "effective level": _level_range(main),
            "kept": f"{main['kept_coefficients']:,}",
            "sparsity %": _percent(main["coefficient_sparsity"]),
            "validation %": _percent(main["validation"]["accuracy"]),
            "test %": _percent(main["test"]["accuracy"]),
            "bytes": f"{main['stored_bytes']:,}",
        }
        by_method = {arm["method"]: arm for arm in record["arms"][1:]}
        for name in controls:
            arm = by_method.get(name)
            row[f"{name} test %"] = "" if arm is None else _percent(arm["test"]["accuracy"])
            if arm is not None and "stored_bytes" in arm["requested"]:
                row[f"{name} bytes"] = f"{arm['stored_bytes']:,}"
        if same != number:
            row["note"] = f"= #{same}"
        rows.append(row)
    return rows


def print_trials(entries: Sequence[Entry], settings: Settings) -> None:
    """Print the table of trials, their baselines, and where the records are, to standard output."""
    # Values and reasons may hold brackets, which are no markup. No column is cut: a narrow terminal wraps lines.
    console = Console(markup=False, emoji=False, width=10_000, no_color=None if sys.stdout.isatty() else True)
    for line in _baseline_lines(entries):
        console.print(line, highlight=False)
    rows = table_rows(entries)
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "note"))
    if any("note" in row for row in rows):
        columns.append("note")
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in ("wavelet", "method", "note") else "right")
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    console.print(table)
    for line in seed_means(entries):
        console.print(line, highlight=False, soft_wrap=True)
    for note in [*_notes(entries), *_search_notes(settings)]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    if len(entries) == 1 and "arms" in entries[0][1]:
        record = entries[0][1]
        console.print(f"record: {settings.paths.outputs}/runs/{record['key']}/result.json", soft_wrap=True)


def _notes(entries: Sequence[Entry]) -> list[str]:
    """Those of a single trial; of several only settings that play a part in none of them, such as misspelt patterns."""
    found: list[list[str]] = [record["notes"] for _, record in entries if "arms" in record]
    if len(entries) == 1 or not found:
        return [note for notes in found for note in notes]
    unused = (NO_EFFECT, MATCHES_NO_TENSOR)
    return [note for note in found[0] if any(text in note for text in unused) and all(note in notes for notes in found)]


def _search_notes(settings: Settings) -> list[str]:
    """Settings of a search where there is none; in no record, since a search is not what a trial is."""
    given = {} if settings.search.name != "none" else differences(settings.search)
    return [f"search.{key}: {value!r} {NO_EFFECT}; it needs search=pareto" for key, value in given.items()]


def seed_means(entries: Sequence[Entry]) -> list[str]:
    """A line per group of trials that differ in nothing but the seed: means and sample standard deviations.

    Args:
        entries: as for `table_rows`.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    varying = _varying(entries)
    for swept, record in entries:
        if "arms" in record:
            rest = tuple((key, swept[key]) for key in varying if key != "seed" and key in swept)
            groups.setdefault(rest, []).append(record)
    lines = []
    for rest, records in groups.items():
        # A seed that was given twice counts once.
        records = list({record["settings"]["seed"]: record for record in records}.values())
        if len(records) < 2:
            continue
        arms = [record["arms"][0] for record in records]
        before = [100 * record["baseline"]["test"]["accuracy"] for record in records]
        after = [100 * arm["test"]["accuracy"] for arm in arms]
        what = " ".join(f"{key}={value}" for key, value in rest)
        lines.append(
            f"mean of {len(arms)} seeds{f' ({what})' if what else ''}: test {mean(after):.2f} +- {stdev(after):.2f} % "
            f"(baseline {mean(before):.2f}), {mean(arm['stored_bytes'] for arm in arms):,.0f} bytes, sparsity "
            f"{100 * mean(arm['coefficient_sparsity'] for arm in arms):.2f} %"
        )
    return lines


def rows_as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The same rows as CSV."""
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _varying(entries: Sequence[Entry]) -> list[str]:
    keys = dict.fromkeys(key for swept, _ in entries for key in swept)
    return [key for key in keys if len({swept.get(key) for swept, _ in entries}) > 1]


def _controls(entries: Sequence[Entry]) -> list[str]:
    names = (arm["method"] for _, record in entries for arm in record.get("arms", [])[1:])
    return list(dict.fromkeys(names))


def _baseline_lines(entries: Sequence[Entry]) -> list[str]:
    lines = {}
    for _, record in entries:
        if "baseline" in record:
            baseline, chosen = record["baseline"], record["settings"]
            lines[baseline["key"]] = (
                f"baseline {chosen['model']['name']} on {chosen['dataset']['name']}, seed {chosen['seed']}: "
                f"validation {_percent(baseline['validation']['accuracy'])} %, "
                f"test {_percent(baseline['test']['accuracy'])} %, {baseline['parameters']:,} parameters"
            )
    return list(lines.values())


def _level_range(arm: Mapping[str, Any]) -> str:
    levels = [level for layer in arm["layers"] for level in layer["levels"] or ()]
    if not levels:
        return "-"
    return str(levels[0]) if min(levels) == max(levels) else f"{min(levels)}-{max(levels)}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
