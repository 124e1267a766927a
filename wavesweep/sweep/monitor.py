"""How a sweep stands, read from the records on the disk while the trials run.

Records are the truth for every launcher: trials of this process, joblib's workers, jobs of a cluster, or another
command that shares the sweep. So the sweep needs no messages from its workers; it looks at the disk.
"""

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavesweep.errors import StoreError
from wavesweep.runtime.progress import Meter
from wavesweep.runtime.records import FAILURE_FILE, read_trial
from wavesweep.settings.schema import ConstraintSettings
from wavesweep.sweep.objectives import USUAL_LIMITS, Candidate, candidate

_LOOK_SECONDS = 1.0


@dataclass
class SweepStatus:
    """Counts of a sweep of `total` trials, and the best of those that are done; `cached` were settled before it."""

    total: int
    limits: ConstraintSettings
    cached: int = 0
    done: int = 0
    failed: int = 0
    best: Candidate | None = None

    @property
    def settled(self) -> int:
        """Trials that need no more work."""
        return self.cached + self.done + self.failed

    def consider(self, record: Mapping[str, Any], name: str) -> None:
        """Make the trial of `record` the best if it is."""
        found = candidate(record, name, self.limits)
        if self.best is None or found.rank > self.best.rank:
            self.best = found

    def text(self, seconds: float) -> str:
        """Counts, rate and best, when the sweep has run for `seconds`."""
        parts = [f"{self.done} done", f"{self.failed} failed", f"{self.cached} cached"]
        worked = self.done + self.failed
        if worked and seconds > 0:
            parts.append(f"{60 * worked / seconds:.3g}/min")
        return ", ".join(parts) + (f"; best: {self.best}" if self.best else "")

    def seconds_left(self, seconds: float) -> float:
        """How long the rest takes at the rate of the first `seconds`; infinity while there is no rate."""
        worked = self.done + self.failed
        return seconds / worked * (self.total - self.settled) if worked else math.inf


class SweepMonitor:
    """Shows how a sweep of `total` trials stands; a context in which a thread looks at the records every second.

    Say of each trial that it is `cached`, or `watch` it; a search does so when it chooses a trial. `lines`: print a
    line every 10 s where there is no terminal for a bar. `limits`: what the best trial must satisfy.
    """

    def __init__(
        self,
        total: int,
        shown: bool,
        title: str = "sweep",
        lines: bool = True,
        limits: ConstraintSettings = USUAL_LIMITS,
    ) -> None:
        self.status = SweepStatus(total, limits)
        self._shown = shown
        self._meter = Meter(total, title, shown, lines)
        self._watched: dict[Path, tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._started = time.monotonic()

    def cached(self, record: Mapping[str, Any] | None, name: str) -> None:
        """Count a trial that was settled before the sweep: by a record, a failure, or stopped early without either."""
        with self._lock:
            self.status.cached += 1
            if record is not None and "arms" in record:
                self.status.consider(record, name)

    def watch(self, directory: Path, name: str) -> None:
        """Count the trial of `directory` as soon as its record is there; `name` says which one it is."""
        with self._lock:
            # The failure of an earlier run is there until the trial is run again.
            self._watched[directory] = (name, _written(directory / FAILURE_FILE))

    def forget(self, directory: Path, done: bool) -> None:
        """Watch the trial of `directory` no longer: it is `done` without a record, or will be tried again."""
        with self._lock:
            if self._watched.pop(directory, None) is not None:
                self.status.done += done

    def look(self) -> None:
        """Read the records that have come since the last look, and show how the sweep stands."""
        with self._lock:
            for directory in list(self._watched):
                self._look_at(directory)
            now, seconds = self.status, time.monotonic() - self._started
            self._meter.show(now.settled, now.text(seconds), now.seconds_left(seconds))

    @property
    def has_bar(self) -> bool:
        """Whether there is a terminal that shows a bar."""
        return self._meter.has_bar

    def __enter__(self) -> "SweepMonitor":
        self._meter.__enter__()
        if self._shown:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._meter.__exit__(*exception)

    def _look_on(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self.look()

    def _look_at(self, directory: Path) -> None:
        name, old_failure = self._watched[directory]
        try:
            record = read_trial(directory)
        except StoreError:
            return  # whoever needs the record will say so
        if record is not None:
            self.status.done += 1
            self.status.consider(record, name)
        elif _written(directory / FAILURE_FILE) != old_failure:
            self.status.failed += 1
        else:
            return
        del self._watched[directory]


def _written(path: Path) -> int:
    """When the file was last written, 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
