"""Calling a factory of the user's own, which settings name as package.module.factory."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wavesweep.errors import SettingsError


def call_factory(group: str, target: str | None, arguments: Mapping[str, Any], returns: str) -> Any:
    """What the factory `<group>.target` returns for `<group>.arguments`.

    Raises:
        SettingsError: it cannot be imported, or fails.
    """
    key = f"{group}.target"
    if not target or "." not in target:
        raise SettingsError(
            key, target, "must be package.module.factory", f"set it to a function that returns {returns}"
        )
    # A console script does not put the working directory on the path; `python -m` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module_name, _, attribute = target.rpartition(".")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # whatever the code of a module does when it is imported
        expected = isinstance(error, ImportError | AttributeError)
        reason = " ".join((str(error) if expected else f"{type(error).__name__}: {error}").split())
        raise SettingsError(key, target, f"cannot be imported ({reason})", "give a name importable from here") from None
    try:
        return factory(**arguments)
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SettingsError(key, target, f"failed ({reason})", f"see {group}.arguments") from None
