"""A trial of a search as a configuration that runs it again."""

from dataclasses import asdict, replace
from pathlib import Path

import yaml
from optuna.trial import FrozenTrial

from wavesweep.config import PathsSettings, SearchSettings, Settings

# Where things are, and how they are shown, is the business of whoever runs it.
_LEFT_OUT = ("paths", "device", "progress", "retry_failed", "on_busy", "search")


def best_yaml(settings: Settings, trial: FrozenTrial, directory: Path) -> bytes:
    """All settings of the trial, on top of the usual configuration; the head says how to run it."""
    plain = asdict(replace(settings, search=SearchSettings(), paths=PathsSettings()))
    content = {key: value for key, value in plain.items() if key not in _LEFT_OUT}
    measures = trial.user_attrs["measures"]
    head = (
        f"# Trial {trial.number} of the study {directory.name}: {measures['stored_bytes']:,} bytes, "
        f"validation {100 * measures['accuracy']:.2f} %\n"
        f"# ({measures['drop']:.2f} points below the baseline). Run it with\n"
        f"#   python -m wavesweep --config-dir {directory} --config-name best\n"
    )
    text: str = head + yaml.safe_dump({"defaults": ["config", "_self_"], **content}, sort_keys=False)
    return text.encode()
