"""Trials of earlier sweeps that lie in the space of a search: known to its sampler from the beginning."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wavesweep.errors import WavesweepError
from wavesweep.search.space import Space, contains
from wavesweep.store.records import read_json


def earlier_trials(
    runs: Path, space: Space, groups: Mapping[str, str], key_of: Callable[[dict[str, Any], list[str]], str]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Parameters and record of every finished trial under `runs` that is a point of the space.

    Args:
        runs: the directory of records.
        space: of the search.
        groups: keys of the space that choose an option of a group, with the setting that names the option.
        key_of: from parameters, and the methods compared beside, to the key that such a trial has.
    """
    found = []
    for path in sorted(runs.glob("*/result.json")):
        record = read_json(path)
        if record is None or "arms" not in record:
            continue
        params = _params(record["settings"], space, groups)
        if params is None:
            continue
        try:
            # Equal keys: all that the space leaves open is as in the search, checkpoints and images included.
            if key_of(params, record["settings"]["compare"]) == record["key"]:
                found.append((params, record))
        except WavesweepError:
            continue
    return found


def _params(settings: Mapping[str, Any], space: Space, groups: Mapping[str, str]) -> dict[str, Any] | None:
    params = {}
    for key, one in space.distributions.items():
        value: Any = settings
        for name in groups.get(key, key).split("."):
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
        if not contains(one, value):
            return None
        params[key] = one.to_external_repr(one.to_internal_repr(_choice(one, value)))
    return params


def _choice(one: Any, value: Any) -> Any:
    """Of a list of choices the one that is written like the value."""
    return next((each for each in getattr(one, "choices", ()) if str(each) == str(value)), value)
