"""Trials of earlier sweeps that lie in the space of a search: known to its sampler from the beginning."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution

from wavesweep.errors import WavesweepError
from wavesweep.experiment.objectives import Objective, violations
from wavesweep.runtime.records import RESULT_FILE, read_trial
from wavesweep.settings.schema import allowed_text
from wavesweep.sweep.search.space import Points, Space, contains, is_choice
from wavesweep.sweep.search.study import SharedStudy
from wavesweep.sweep.search.summary import measures_of


def add_earlier_trials(study: SharedStudy, points: Points, objectives: Sequence[Objective]) -> int:
    """Add the finished trials that the study does not have; returns how many.

    They are complete trials of it with the attribute `warm_start`.
    """
    base, space = points.base, points.space
    of_groups = [key for key in space.distributions if allowed_text(key) == allowed_text("threshold")]
    # The setting that names the option of each group.
    groups = {key: "threshold.rule" if key == "threshold" else f"{key}.name" for key in of_groups}

    def key_of(params: dict[str, Any], compared: list[str]) -> str:
        return points.key(replace(points.settings(params), compare=compared))

    found = earlier_trials(Path(base.paths.outputs) / "runs", space, groups, key_of)
    added = 0
    with study.locked():
        taken = study.keys_taken()
        for params, record in found:
            key = points.key(points.settings(params))
            if key in taken:
                continue
            taken[key] = -1
            added += 1
            study.study.add_trial(
                optuna.create_trial(
                    params=params,
                    distributions=space.distributions,
                    values=[one.value(record) for one in objectives],
                    user_attrs={"warm_start": True, "key": key, "measures": measures_of(record, objectives)},
                    constraints=violations(record, base.search.constraints),
                )
            )
    return added


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
    for path in sorted(runs.glob(f"*/{RESULT_FILE}")):
        record = read_trial(path.parent)
        if record is None:
            continue
        for params in _candidates(record["settings"], space, groups):
            with suppress(WavesweepError):
                # Equal keys: all that the space leaves open is as in the search, checkpoints and images included.
                if key_of(params, record["settings"]["compare"]) == record["key"]:
                    found.append((params, record))
                    break
    return found


def _candidates(settings: Mapping[str, Any], space: Space, groups: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Points that may have these settings; several, as an option's name need not be what it sets (quantize=rdo)."""
    values: dict[str, list[Any]] = {}
    for key, one in space.distributions.items():
        value: Any = settings
        for name in groups.get(key, key).split("."):
            if not isinstance(value, Mapping) or name not in value:
                return
            value = value[name]
        if key in groups and isinstance(one, CategoricalDistribution):
            values[key] = sorted(one.choices, key=lambda each, value=value: not is_choice(each, value))  # type: ignore[misc]
        elif contains(one, value):
            values[key] = [one.to_external_repr(one.to_internal_repr(_choice(one, value)))]
        else:
            return
    for point in product(*values.values()):
        yield dict(zip(values, point, strict=True))


def _choice(one: Any, value: Any) -> Any:
    """Of a list of choices the one that is written like the value."""
    return next((each for each in getattr(one, "choices", ()) if is_choice(each, value)), value)
