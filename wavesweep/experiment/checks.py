"""Whether the settings fit the data, told before anything is computed."""

from torch import Tensor

from wavesweep.codec.header import unstorable
from wavesweep.compression.network import calibration_of
from wavesweep.data.splits import Split
from wavesweep.errors import SettingsError
from wavesweep.experiment.baseline import Workload
from wavesweep.pruning.plan import plan_tensors
from wavesweep.pruning.sensitivity import check_workload, curves_for, read_table
from wavesweep.settings.schema import Settings
from wavesweep.tasks.task import Inputs


def check_inputs(settings: Settings, workload: Workload) -> None:
    """Refuse what does not fit the data set, and a sensitivity table that cannot be used.

    Raises:
        SettingsError: a setting needs other data, or the table cannot be read, or is of another network.
    """
    dataset, retrain = workload.dataset, settings.retrain
    if reason := unstorable(workload.model.state_dict()):
        raise SettingsError.from_text(f"model={settings.model.name}: {reason}", "model")
    has_images = len(dataset.input_shape) == 3 and isinstance(dataset.train, Split)
    for key, value, fits in (
        ("model.recipe.augment", settings.model.recipe.augment, has_images),
        ("retrain.augment", retrain.augment, has_images),
        ("shrink", settings.shrink, not dataset.has_tokens and isinstance(dataset.example, Tensor)),
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
        _ = dataset.train.images[:1] if isinstance(dataset.train, Split) else None
    if settings.quantize.importance != "none":
        inputs = calibration_of(dataset, settings.quantize.images)
        _ = None if isinstance(inputs, Inputs) else inputs[:1]
    if settings.threshold.allocation == "sensitivity":
        table = read_table(settings.threshold.sensitivity or "")
        check_workload(table, settings)
        plans = plan_tensors(workload.model, settings, workload.dataset.input_shape)
        curves_for(table, [plan for plan in plans if plan.pruned])
