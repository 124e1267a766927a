"""What networks are trained for: batches, losses, metrics. Imports `models` and below.

A task of one's own derives from `Task` and needs `metrics` and `loss`; `task.target` names it.
"""

from wavesweep.tasks.metrics import SHARE, Metric, mean_metric, summed_metric
from wavesweep.tasks.task import Inputs, Task

__all__ = ["SHARE", "Inputs", "Metric", "Task", "mean_metric", "summed_metric"]
