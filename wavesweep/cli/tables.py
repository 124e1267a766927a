"""What sweeps and single runs print at their end: tables on standard output.

Nothing of Optuna is imported, as every command loads this module.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from wavesweep.runtime.metrics import ACCURACY, SHARE, PrimaryMetric, primary_of
from wavesweep.runtime.terminal import printable, say
from wavesweep.settings.effective import ABOUT_INPUTS, COMPUTED_BY, MATCHES_NO_TENSOR, NO_EFFECT, NOT_CODED
from wavesweep.settings.keys import differences
from wavesweep.settings.schema import Settings
from wavesweep.sweep.grid import GridResult
from wavesweep.sweep.objectives import metric_of
from wavesweep.sweep.table import Entry, table_rows, varying

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from wavesweep.sweep.scan import ScanResult
    from wavesweep.sweep.search.limits import Best
    from wavesweep.sweep.search.run import SearchResult
    from wavesweep.sweep.search.summary import Summary


def show_counts(result: GridResult) -> None:
    """Print how many trials of a grid became what, and where their records and their table are."""
    say(
        f"{result.trials} trials: {result.trials - result.failed} done ({result.done_before} of them before this run), "
        f"{result.failed} failed" + (f"; {result.equal} equal to another, not computed again" if result.equal else "")
    )
    say(f"records: {Path(result.settings.paths.outputs) / 'runs'}   table: {result.table}")


def show_trials(entries: Sequence[Entry], settings: Settings) -> None:
    """Print the table of trials, their baselines, and where the records are, to standard output."""
    # Values and reasons may hold brackets, which are no markup. No column is cut: a narrow terminal wraps lines.
    console = Console(markup=False, emoji=False, width=10_000, no_color=None if sys.stdout.isatty() else True)
    for line in _baseline_lines(entries):
        console.print(printable(line), highlight=False)
    rows = table_rows(entries)
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "note"))
    if any("note" in row for row in rows):
        columns.append("note")
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(printable(name), justify="left" if name in ("wavelet", "method", "note") else "right")
    for row in rows:
        table.add_row(*(printable(row.get(name, "")) for name in columns))
    console.print(table)
    for line in seed_means(entries):
        console.print(printable(line), highlight=False, soft_wrap=True)
    for note in [*_notes(entries), *_search_notes(settings)]:
        console.print(printable(f"note: {note}"), highlight=False, soft_wrap=True, markup=False)
    if len(entries) == 1 and "arms" in entries[0][1]:
        record = entries[0][1]
        path = f"{settings.paths.outputs}/runs/{record['key']}/result.json"
        console.print(printable(f"record: {path}"), soft_wrap=True)


def _notes(entries: Sequence[Entry]) -> list[str]:
    """Those of a single trial; of several those on data, checkpoints and network, and settings without effect in all.

    Of those on tensors that are not coded, whose share differs, the first stands for all.
    """
    found: list[list[str]] = [record["notes"] for _, record in entries if "arms" in record]
    if len(entries) == 1 or not found:
        return [note for notes in found for note in notes]
    common = (NO_EFFECT, MATCHES_NO_TENSOR, COMPUTED_BY)
    everywhere = [note for note in found[0] if all(note in notes for notes in found)]
    shown = [note for note in everywhere if any(text in note for text in common)]
    of_inputs = [note for notes in found for note in notes if note.startswith(ABOUT_INPUTS) and NO_EFFECT not in note]
    not_coded = [note for notes in found for note in notes if NOT_CODED in note][:1]
    return list(dict.fromkeys([*shown, *of_inputs, *not_coded]))


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
    keys = varying(entries)
    for swept, record in entries:
        if "arms" in record:
            rest = tuple((key, swept[key]) for key in keys if key != "seed" and key in swept)
            groups.setdefault(rest, []).append(record)
    lines = []
    for rest, records in groups.items():
        # A seed that was given twice counts once.
        records = list({record["settings"]["seed"]: record for record in records}.values())
        if len(records) < 2:
            continue
        arms = [record["arms"][0] for record in records]
        metric = primary_of(records[0])
        before = [metric.scale * metric.value(record["baseline"]["test"]) for record in records]
        after = [metric.scale * metric.value(arm["test"]) for arm in arms]
        mean_text, spread, mean_before = (
            f"{value:.2f}" if metric.unit == SHARE else f"{value:.4g}"
            for value in (mean(after), stdev(after), mean(before))
        )
        what = " ".join(f"{key}={value}" for key, value in rest)
        lines.append(
            f"mean of {len(arms)} seeds{f' ({what})' if what else ''}: test "
            f"{_named(metric)}{mean_text} +- {spread} {metric.shown_unit}".rstrip()
            + f" (baseline {mean_before}), {mean(arm['stored_bytes'] for arm in arms):,.0f} bytes, sparsity "
            f"{100 * mean(arm['coefficient_sparsity'] for arm in arms):.2f} %"
        )
    return lines


def _baseline_lines(entries: Sequence[Entry]) -> list[str]:
    lines = {}
    for _, record in entries:
        if "baseline" in record:
            baseline, chosen, metric = record["baseline"], record["settings"], primary_of(record)
            lines[baseline["key"]] = (
                f"baseline {chosen['model']['name']} on {chosen['dataset']['name']}, seed {chosen['seed']}: "
                f"validation {_named(metric)}{metric.with_unit(metric.value(baseline['validation']))}, "
                f"test {metric.with_unit(metric.value(baseline['test']))}, {baseline['parameters']:,} parameters"
            )
    return list(lines.values())


def _named(metric: PrimaryMetric) -> str:
    """The name of a metric before its value; accuracy needs none."""
    return "" if metric.is_accuracy else f"{metric.name} "


def show_search(result: "SearchResult") -> None:
    """Print the front of a search, and what became of its trials."""
    from wavesweep.sweep.search.summary import BEST_FILE, rerun_command

    counts, summary = result.counts, result.summary
    show_front(summary, result.best, result.keys)
    if result.best[-1].trial is None and summary.trials:
        say(f"to try: {'; '.join(result.remedies)}")
    parts = [f"{counts.complete} complete"]
    cached = sum(bool(trial.user_attrs.get("cached")) for trial in summary.trials)
    parts += [f"{cached} of them from records"] if cached else []
    for number, text in (
        (counts.pruned, "stopped early"),
        (counts.failed, "failed"),
        (counts.warm, "from earlier sweeps besides"),
    ):
        parts += [f"{number} {text}"] if number else []
    # One that continues with a smaller number has more than are wanted.
    shown = f"{counts.ended} of {result.wanted}" if counts.ended <= result.wanted else f"{counts.ended}"
    say(f"{shown} trials: {', '.join(parts)}")
    has_best = (result.directory / BEST_FILE).exists()  # not before the first trial has ended
    rerun = f"   rerun the best: {rerun_command(result.directory)}" if has_best else ""
    say(f"study: {result.directory}{rerun}")


def show_front(summary: "Summary", best: Sequence["Best"], space: Sequence[str]) -> None:
    """Print the front as a table, its hypervolume, and the best trials."""
    console = Console(markup=False, emoji=False, width=10_000, no_color=True, highlight=False)
    front = summary.front
    if not front:
        console.print("no trial is complete yet")
        return
    table = Table(box=None, pad_edge=False)
    # A wavelet's level is nothing to a magnitude trial: such cells are empty, and so would be whole columns.
    space = [key for key in space if any(key in trial.params for trial in front)]
    titles = [one.title for one in summary.objectives]
    extra = [title for title in ("bytes",) if title not in titles]
    metric = primary_of(front[0].user_attrs["measures"])
    for number, column in enumerate(("trial", *space, *titles, f"test {metric.label}", *extra)):
        table.add_column(column, justify="left" if 0 < number <= len(space) else "right")
    for trial in front:
        measures = trial.user_attrs["measures"]
        shown = [one.shown(value) for one, value in zip(summary.objectives, trial.values, strict=True)]
        values = [_short(trial.params[key]) if key in trial.params else "-" for key in space]
        sizes = [f"{measures['stored_bytes']:,}" for _ in extra]
        table.add_row(str(trial.number), *values, *shown, metric.shown(measures[f"test_{metric.name}"]), *sizes)
    console.print(printable(f"Pareto front of {summary.study}: {len(front)} of {len(summary.trials)} complete trials"))
    console.print(table)
    corner = ", ".join(
        f"{metric.name if name == ACCURACY.name else name} {one.shown(worst)}"
        for name, one, worst in zip(summary.names, summary.objectives, summary.reference, strict=True)
    )
    console.print(f"hypervolume {summary.hypervolume:.4f} (reference point: {corner})")
    for one in best:
        console.print(printable(_in_words(one)))
    notes = dict.fromkeys(note for trial in summary.trials for note in trial.user_attrs["measures"].get("notes", ()))
    for note in notes:
        console.print(printable(f"note: {note}"))


def _in_words(best: "Best") -> str:
    if best.trial is None:
        nearest = f"; nearest is {_trial_in_words(best.nearest)}: {best.beyond}" if best.nearest else ""
        return f"{best.constraint}: no trial satisfies it{nearest}"
    return f"{best.constraint}: {best.wanted} is {_trial_in_words(best.trial)}"


def _trial_in_words(trial: "FrozenTrial") -> str:
    found = trial.user_attrs["measures"]
    metric, parts = primary_of(found), []
    for name, prefix in (("validation", ""), ("test", "test_")):
        drop = f"{prefix}drop"
        lost = "" if drop not in found else f" ({_lost(metric, found[drop], found.get(f'{drop}_interval'))})"
        parts.append(f"{name} {_named(metric)}{metric.with_unit(found[f'{prefix}{metric.name}'])}{lost}")
    return f"trial {trial.number}, {found['stored_bytes']:,} bytes, {', '.join(parts)}"


def _lost(metric: PrimaryMetric, lost: float, interval: Sequence[float] | None) -> str:
    ends = "" if interval is None else f", {' to '.join(map(metric.shown_end, interval))} at 95 %"
    return " ".join(f"{metric.shown_drop(lost)} {metric.lost_unit} lost{ends}".split())


def _short(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:.5g}" if isinstance(value, float) else printable(value)


def show_scan(result: "ScanResult") -> None:
    """Print the primary metric, or accuracy in %: a row per tensor, a column per percentile; where the table is."""
    rows, settings = result.rows, result.settings
    console = Console(markup=False, emoji=False, width=10_000, no_color=True)
    name, before = f"{settings.model.name} on {settings.dataset.name}", rows[0]["baseline_accuracy"]
    metric = metric_of(settings)
    quality = f"{_named(metric)}{metric.with_unit(before)}"
    console.print(printable(f"baseline {name}, seed {settings.seed}: validation {quality}"), highlight=False)
    percentiles = list(dict.fromkeys(row["percentile"] for row in rows))
    table = Table(box=None, pad_edge=False)
    for column in ("tensor", "coefficients", *(f"{percentile:g} %" for percentile in percentiles)):
        table.add_column(column, justify="left" if column == "tensor" else "right")
    for start in range(0, len(rows), len(percentiles)):
        of_tensor = rows[start : start + len(percentiles)]
        accuracies = (metric.shown(row["accuracy"]) for row in of_tensor)
        table.add_row(printable(of_tensor[0]["tensor"]), f"{of_tensor[0]['coefficients']:,}", *accuracies)
    console.print(table)
    for note in result.notes:
        console.print(printable(f"note: {note}"), highlight=False)
    say(f"{len(rows)} points: {result.found_before} of them measured before this run   table: {result.table}")
    say(f"use it with: threshold.allocation=sensitivity threshold.sensitivity={result.table}")
