"""How far the Optuna searches under `outputs/studies/` are, from their descriptions and storages."""

import csv
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wavesweep.errors import StoreError
from wavesweep.runtime.records import read_json
from wavesweep.runtime.shapes import Study

_SQLITE = "sqlite:///"
# Reasons of trials that did not end and that Optuna has as failed; their points are tried again.
_INTERRUPTED = ("interrupted", "its process ended")
_STATES = """
    SELECT CASE WHEN trial_id IN (SELECT trial_id FROM trial_user_attributes WHERE "key" = 'crash')
           THEN 'interrupted' ELSE state END AS kind, COUNT(*)
    FROM trials JOIN studies USING (study_id) WHERE study_name = ? GROUP BY kind
"""


@dataclass(frozen=True)
class Search:
    """A search and its trials.

    Attributes:
        name: of its study.
        wanted: the number of trials it is to have, if its description says so.
        states: number of trials by state (`complete`, `running`, `pruned`, `fail`, `waiting`; `interrupted` for those
            that a Ctrl-C or a crash ended, which Optuna has as failed).
        problem: why they cannot be counted, or None.
    """

    name: str
    wanted: int | None
    states: Mapping[str, int]
    problem: str | None = None

    def line(self) -> str:
        """The search as one line of text."""
        if self.problem is not None:
            return f"{self.name}: {self.problem}"
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items())) or "no trial yet"
        return f"{self.name}: {counts}" + (f", of {self.wanted}" if self.wanted is not None else "")


def searches(directory: Path) -> tuple[Search, ...]:
    """The searches that a `study.json` describes, by name."""
    return tuple(_search(path) for path in sorted(directory.glob("*/study.json")))


def stopped_early(directory: Path) -> set[str]:
    """Keys of the trials that a search stopped early: they leave no record, and nobody continues them."""
    return {
        row["key"]
        for path in directory.glob("*/history.csv")
        for row in _history(path)
        if row.get("key") and (row.get("state") or "").lower() == "pruned"
    }


def trial_states(storage: str, name: str, directory: Path) -> dict[str, int]:
    """Number of trials of a search by state; nothing is written or created.

    A SQLite database is read directly, because Optuna would create or migrate its tables. For another storage the
    trials are counted from `history.csv`, as of the last batch of trials.

    Args:
        storage: the URL.
        name: of the study.
        directory: of the search.

    Raises:
        LookupError: the storage is not there, or does not have the study; the message says which.
    """
    if not storage.startswith(_SQLITE):
        rows = _history(directory / "history.csv")
        states = [
            "interrupted" if row.get("reason") in _INTERRUPTED else (row.get("state") or "").lower() for row in rows
        ]
        if not states:
            raise LookupError(f"no history.csv yet; its storage is {storage.partition(':')[0] or 'not named'}")
        return dict(Counter(states))
    text = storage.removeprefix(_SQLITE).partition("?")[0]
    # The last one serves outputs that were moved or copied.
    candidates = (Path(text), directory / text, directory / Path(text).name)
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise LookupError(f"its storage {text} does not exist")
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=5)
        try:
            if not connection.execute("SELECT 1 FROM studies WHERE study_name = ?", (name,)).fetchone():
                raise LookupError(f"its storage {text} has no study of this name")
            return {str(state).lower(): int(count) for state, count in connection.execute(_STATES, (name,))}
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise LookupError(f"its storage {text} cannot be read ({error})") from None


def _history(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return []


def _search(path: Path) -> Search:
    try:
        description: dict[str, Any] | None = read_json(path, Study)
    except StoreError as error:
        return Search(path.parent.name, None, {}, str(error))
    if description is None:
        return Search(path.parent.name, None, {}, "study.json cannot be read; the same search writes it anew")
    name, wanted = str(description["name"]), description.get("n_trials")
    try:
        states = trial_states(str(description["storage"]), name, path.parent)
    except LookupError as error:
        return Search(name, None, {}, str(error))
    return Search(name, wanted, states)
