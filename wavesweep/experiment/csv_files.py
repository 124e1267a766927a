"""The tables beside a trial's record."""

import csv
import io
from collections.abc import Sequence
from typing import Any


def layers_csv(arms: Sequence[dict[str, Any]]) -> bytes:
    """One row per arm and tensor; lists are written with spaces between their numbers."""
    buffer = io.StringIO()
    rows = [{"method": arm["method"], **layer} for arm in arms for layer in arm["layers"]]
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        lists = {name: " ".join(map(str, value)) for name, value in row.items() if isinstance(value, list | tuple)}
        writer.writerow(row | lists)
    return buffer.getvalue().encode()


def curves_csv(arms: Sequence[dict[str, Any]]) -> bytes:
    """One row per arm and epoch of retraining."""
    buffer = io.StringIO()
    rows = [{"method": arm["method"], **row} for arm in arms for row in arm["retraining"]["curve"]]
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()
