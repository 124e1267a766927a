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
from wavesweep.runtime.records import RESULT_FILE, read_trial
from wavesweep.settings.schema import allowed_text
from wavesweep.sweep.objectives import Objective, violations
from wavesweep.sweep.search.conditions import Tree, identity
from wavesweep.sweep.search.space import Points
from wavesweep.sweep.search.study import SharedStudy
from wavesweep.sweep.search.summary import measures_of
from wavesweep.sweep.search.values import contains, is_choice, parameter

_ABSENT = object()


def add_earlier_trials(study: SharedStudy, points: Points, objectives: Sequence[Objective]) -> int:
    """Add the finished trials that the study does not have; returns how many.

    They are complete trials of it with the attribute `warm_start`.
    """
    base, tree = points.base, points.tree
    of_groups = [key for key in tree.distributions if allowed_text(key) == allowed_text("threshold")]
    # The setting that names the option of each group.
    groups = {key: "threshold.rule" if key == "threshold" else f"{key}.name" for key in of_groups}

    def key_of(params: dict[str, Any], compared: list[str]) -> str:
        return points.key(replace(points.settings(params), compare=compared))

    found = earlier_trials(Path(base.paths.outputs) / "runs", tree, groups, key_of)
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
                    distributions={name: tree.distributions[name] for name in params},
                    values=[one.value(record) for one in objectives],
                    user_attrs={"warm_start": True, "key": key, "measures": measures_of(record, objectives)},
                    constraints=violations(record, base.search.constraints),
                )
            )
    return added


def earlier_trials(
    runs: Path, tree: Tree, groups: Mapping[str, str], key_of: Callable[[dict[str, Any], list[str]], str]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Parameters and record of every finished trial under `runs` that is a point of the space.

    Args:
        runs: the directory of records.
        tree: the space of the search.
        groups: keys of the space that choose an option of a group, with the setting that names the option.
        key_of: from parameters, and the methods compared beside, to the key that such a trial has.
    """
    found = []
    for path in sorted(runs.glob(f"*/{RESULT_FILE}")):
        record = read_trial(path.parent)
        if record is None:
            continue
        for params in _candidates(record["settings"], tree, groups):
            with suppress(WavesweepError):
                # Equal keys: all that the space leaves open is as in the search, checkpoints and images included.
                if key_of(params, record["settings"]["compare"]) == record["key"]:
                    found.append((params, record))
                    break
    return found


def _candidates(settings: Mapping[str, Any], tree: Tree, groups: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Points that may have these settings; several, as an option's name need not be what it sets (quantize=rdo)."""
    values: dict[str, list[Any]] = {}
    for key, one in tree.distributions.items():
        value: Any = settings
        for name in groups.get(key, key).split("."):
            value = value.get(name, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        if value is _ABSENT:
            continue
        if key in groups and isinstance(one, CategoricalDistribution):
            values[key] = sorted(one.choices, key=lambda each, value=value: not is_choice(each, value))  # type: ignore[misc]
        elif contains(one, value):
            values[key] = [parameter(one, value)]
        # A key that the point does not take may have any value.
    points = (tree.reduced(dict(zip(values, point, strict=True))) for point in product(*values.values()))
    yield from {identity(point): point for point in points if point is not None}.values()
