"""What is settled before a trial begins: the device, the tensors that are pruned, and whether settings fit the data."""

from collections.abc import Sequence

import torch
from torch import nn

from wavesweep.codec.header import unstorable
from wavesweep.errors import SettingsError, TrialError
from wavesweep.experiment.baseline import Workload
from wavesweep.pruning.plan import TensorPlan, plan_tensors, transforms_nothing
from wavesweep.pruning.prune import METHODS
from wavesweep.pruning.sensitivity import check_workload, curves_for, read_table
from wavesweep.runtime.workers import worker_number
from wavesweep.settings.effective import uses_basis_with_levels
from wavesweep.settings.schema import Settings


def plan_pruned(
    model: nn.Module, settings: Settings, input_shape: Sequence[int]
) -> tuple[list[TensorPlan], list[TensorPlan]]:
    """The tensors that are pruned, and all others with the reason why not.

    Raises:
        TrialError: nothing would be pruned, or nothing transformed where the level is limited by PyWavelets alone;
            the message says what to change.
    """
    plans = plan_tensors(model, settings, input_shape)
    pruned = [plan for plan in plans if plan.pruned]
    if not pruned:
        raise TrialError("no tensor is selected for pruning; change layers.types, layers.include or layers.exclude")
    method = settings.method.name
    if uses_basis_with_levels(method) and not METHODS[method].level_limit and transforms_nothing(pruned):
        longest = max((plan.view[axis] for plan in pruned for axis in plan.axes), default=0)
        raise TrialError(
            f"wavelet {settings.wavelet} at level {settings.level} with layout {settings.layout} transforms nothing: "
            f"its longest axis has {longest} values, too short for one level; use a shorter wavelet (wavelet=haar), "
            "another layout (layout=channel or layout=flat), or method=magnitude"
        )
    return pruned, [plan for plan in plans if not plan.pruned]


def check_inputs(settings: Settings, workload: Workload) -> None:
    """Refuse what does not fit the data set, and a sensitivity table that cannot be used.

    Raises:
        SettingsError: a setting needs other data, or the table cannot be read, or is of another network.
    """
    dataset, retrain = workload.dataset, settings.retrain
    if reason := unstorable(workload.model.state_dict()):
        raise SettingsError.from_text(f"model={settings.model.name}: {reason}", "model")
    for key, value, fits in (
        ("model.recipe.augment", settings.model.recipe.augment, len(dataset.input_shape) == 3),
        ("retrain.augment", retrain.augment, len(dataset.input_shape) == 3),
        ("shrink", settings.shrink, not dataset.has_tokens),
    ):
        if value and not fits:
            raise SettingsError(key, value, "is for images, not for the inputs of this data set", "set it to false")
    if not any(parameter.requires_grad for parameter in workload.model.parameters()):
        frozen = "needs parameters with gradients, and the network has none"
        if settings.model.recipe.epochs:
            raise SettingsError("model.recipe.epochs", settings.model.recipe.epochs, frozen, "unfreeze some")
        if retrain.name != "none":
            raise SettingsError("retrain.name", retrain.name, frozen, "unfreeze some")
    if not len(dataset.train) and retrain.name != "none":
        allowed = "needs training images, and dataset.path has no train/<class>/*"
        raise SettingsError("retrain.name", retrain.name, allowed, "add them, or use retrain=none")
    # A folder's images may not have been decoded yet: what is damaged is named now.
    if retrain.name != "none":
        _ = dataset.train.images[:1]
    if settings.quantize.importance != "none":
        _ = dataset.calibration.head(settings.quantize.images).images[:1]
    if settings.threshold.allocation == "sensitivity":
        table = read_table(settings.threshold.sensitivity or "")
        check_workload(table, settings)
        plans = plan_tensors(workload.model, settings, workload.dataset.input_shape)
        curves_for(table, [plan for plan in plans if plan.pruned])


def choose_device(name: str) -> torch.device:
    """The device that `device` names; `auto` takes CUDA where there is one. joblib's workers take its GPUs in turn.

    Raises:
        SettingsError: CUDA is asked for and absent.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise SettingsError("device", name, "no CUDA device is available", "use device=cpu or device=auto")
    if not available or name == "cpu":
        return torch.device("cpu")
    number, count = worker_number(), torch.cuda.device_count()
    return torch.device("cuda" if number is None or count < 2 else f"cuda:{number % count}")
