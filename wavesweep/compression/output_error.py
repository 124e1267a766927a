"""How far an arm's outputs are from those of the trained network, before its coefficients are quantised and after."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from wavesweep.codec.limits import UNLIMITED
from wavesweep.codec.model_file import unpack
from wavesweep.codec.tensors import state_dict
from wavesweep.compression.compressor import CompressedArm
from wavesweep.compression.network import TrainedNetwork, calibration_count, calibration_inputs, validation_inputs
from wavesweep.measure.outputs import MOST_INPUTS, NoTensorError, OutputError, output_error, outputs_on
from wavesweep.models.load import fill, load_first_names
from wavesweep.runtime.terminal import some
from wavesweep.settings import registry
from wavesweep.settings.registry import Quantizer
from wavesweep.settings.schema import QuantizeSettings, Settings
from wavesweep.tasks.task import ClassTask, Inputs

# A quantisation whose settings nobody chose is warned of beyond this share of the outputs' spread.
_NOTEWORTHY = 0.1
# Outputs of the last trained network: arms of a trial share it.
_trained: dict[tuple[str, int | None], Tensor] = {}


@dataclass(frozen=True)
class OutputErrors:
    """Of an arm, against the outputs of the trained network.

    Attributes:
        inputs: how many were compared.
        pruned: before quantisation; where it was retrained, after that.
        decoded: of the network as it is decoded.
        quantized: relative error between the two, what quantisation did.
    """

    inputs: int
    pruned: OutputError
    decoded: OutputError
    quantized: float | None

    def text(self) -> str:
        """In a line."""
        found, agreement = self.decoded.relative, self.decoded.agreement
        share = "not finite" if found is None else f"{100 * found:.1f} % of the outputs' spread"
        agrees = "" if agreement is None else f", the largest output is the same for {100 * agreement:.1f} %"
        return f"{share} on {self.inputs} inputs{agrees}"

    def row(self) -> dict[str, Any]:
        """As records have it."""
        return asdict(self)


@dataclass(frozen=True)
class OutputsBefore:
    """Outputs of the trained network and of the arm before quantisation, for the same inputs."""

    inputs: Tensor | Inputs
    trained: Tensor
    pruned: Tensor
    class_axis: int | None


def outputs_before(network: TrainedNetwork, arm: CompressedArm) -> OutputsBefore | None:
    """What the decoded network is compared with; None where there are no inputs. The network's model is overwritten."""
    inputs = _inputs_of(network)
    if inputs is None:
        return None
    try:
        return _outputs_before(network, arm, inputs)
    except NoTensorError:
        return None


def _outputs_before(network: TrainedNetwork, arm: CompressedArm, inputs: Tensor | Inputs) -> OutputsBefore:
    # Another number of calibration inputs may be spread in another way.
    key = None if network.key is None else (network.key, calibration_count(network))
    if key is None or key not in _trained:
        trained = _outputs_of(network, network.state, inputs)
        _trained.clear()
        if key is not None:
            _trained[key] = trained
    else:
        trained = _trained[key]
    return OutputsBefore(inputs, trained, _outputs_of(network, arm.uncoded, inputs), _class_axis(network, trained))


def output_errors(before: OutputsBefore, decoded: nn.Module) -> OutputErrors:
    """The errors of the decoded network, which is on the device of the inputs."""
    found = outputs_on(decoded, before.inputs)
    return OutputErrors(
        len(found),
        output_error(before.trained, before.pruned, before.class_axis),
        output_error(before.trained, found, before.class_axis),
        output_error(before.pruned, found, None).relative,
    )


def errors_of(network: TrainedNetwork, arm: CompressedArm) -> OutputErrors | None:
    """Those of an arm's own file; the network's model becomes the decoded one."""
    before = outputs_before(network, arm)
    if before is None:
        return None
    return output_errors(before, fill(network.model, state_dict(unpack(arm.content, UNLIMITED)[0])).to(network.device))


def arm_notes(arm: CompressedArm, errors: OutputErrors | None, settings: Settings) -> list[str]:
    """What must be said of how an arm was quantised."""
    kept = {
        tensor.plan.name: (int(tensor.mask.sum()), int(np.count_nonzero(coded.symbols)))
        for tensor, coded in zip(arm.pruned.tensors, arm.tensors, strict=True)
    }
    return quantization_notes(kept, None if errors is None else errors.row(), settings)


def quantization_notes(
    tensors: Mapping[str, tuple[int, int]], errors: Mapping[str, Any] | None, settings: Settings
) -> list[str]:
    """What must be said of the error that default settings make, and of tensors that became zero altogether.

    Args:
        tensors: by name how many coefficients pruning kept, and how many of them the file has.
        errors: as records have them; None where they are not known.
        settings: of the trial.
    """
    notes, quantize = [], settings.quantize
    if errors is not None and _is_default(quantize) and not _is_small(errors["quantized"]):
        found = errors["quantized"]
        how_far = "without bounds" if found is None else f"by {100 * found:.0f} % of their spread"
        remedy = "lower quantize.step" if quantize.step is not None else "raise quantize.bits"
        notes.append(f"quantisation with the default settings changes the outputs {how_far}; {remedy}")
    zeroed = [name for name, (kept, left) in tensors.items() if kept and not left]
    if zeroed and settings.retrain.name != "rate":  # where bits in the loss may have made a tensor zero
        notes.append(f"quantisation made all of {some(zeroed)} zero; lower quantize.step, or raise quantize.bits")
    return notes


def _is_small(error: float | None) -> bool:
    return error is not None and error <= _NOTEWORTHY


def _is_default(settings: QuantizeSettings) -> bool:
    """Whether step and bits are those of some option, as they are where nobody chose them."""
    chosen = {"name": settings.name, "step": settings.step, "bits": settings.bits}
    defaults = {field: getattr(QuantizeSettings(), field) for field in chosen}
    options = registry.options(Quantizer.group).values()
    return any({**defaults, **{k: v for k, v in one.option.items() if k in chosen}} == chosen for one in options)


def _outputs_of(network: TrainedNetwork, state: Mapping[str, Tensor], inputs: Tensor | Inputs) -> Tensor:
    load_first_names(network.model, state)
    return outputs_on(network.model.to(network.device), inputs)


def _inputs_of(network: TrainedNetwork) -> Tensor | Inputs | None:
    """Calibration inputs where there are any, or else the first ones of validation."""
    if network.calibration is not None:
        return calibration_inputs(network, network.device, MOST_INPUTS)
    return None if network.dataset is None else validation_inputs(network.dataset, network.device, MOST_INPUTS)


def _class_axis(network: TrainedNetwork, outputs: Tensor) -> int | None:
    """Along which the classes lie; without a task, those of outputs of two axes."""
    if network.dataset is None:
        return 1 if outputs.dim() == 2 and outputs.shape[1] > 1 else None
    task = network.dataset.task
    return task.class_axis if isinstance(task, ClassTask) else None
