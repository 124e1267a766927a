"""The task that settings name."""

import json
from functools import lru_cache

from wavesweep.errors import SettingsError
from wavesweep.runtime.factories import call_factory
from wavesweep.settings import registry
from wavesweep.settings.schema import TaskSettings
from wavesweep.tasks.metrics import Metric
from wavesweep.tasks.task import Task
from wavesweep.tasks.usual import CLASSIFICATION


def load_task(settings: TaskSettings) -> Task:
    """The task, from memory after the first call.

    Raises:
        SettingsError: its class cannot be had, or is no task.
    """
    return _task(settings.name, settings.target, json.dumps(settings.arguments, sort_keys=True))


@lru_cache(maxsize=8)
def _task(name: str, target: str | None, arguments: str) -> Task:
    given = json.loads(arguments)
    if name == CLASSIFICATION.name and not given:
        return CLASSIFICATION
    if name != "custom":
        try:
            task: Task = registry.row(registry.Task, name).load()(**given)
        except TypeError as error:
            raise SettingsError("task.arguments", given, f"task {name}: {error}") from None
        return task
    task = call_factory("task", target, given, "a wavesweep.tasks.Task")
    _check(task, target)
    return task


def _check(task: object, target: str | None) -> None:
    def refuse(what: str, remedy: str = "") -> SettingsError:
        return SettingsError("task.target", target, what, remedy)

    if not isinstance(task, Task):
        raise refuse(f"must return a wavesweep.tasks.Task, returned {type(task).__name__}", "derive its class from it")
    if not task.metrics or not all(isinstance(one, Metric) for one in task.metrics):
        raise refuse("must have metrics, a tuple of wavesweep.tasks.Metric", "see mean_metric")
    names = [one.name for one in task.metrics]
    if len(set(names)) < len(names) or "loss" in names:
        raise refuse(f"must have metrics of different names, other than loss, has {', '.join(names)}")
    if task.primary and task.primary not in names:
        raise refuse(f"has the primary metric {task.primary}, which is none of its metrics", f"use {names[0]}")
    if type(task).loss is Task.loss:
        raise refuse("must have a loss", "def loss(self, predictions, targets)")
