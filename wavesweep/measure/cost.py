"""Inference time, multiply-accumulates and dense size of a network.

Zeros in a dense tensor are multiplied like any other number, so pruning alone changes none of these figures.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wavesweep.runtime.kernels import without_fused_attention
from wavesweep.tasks.task import Inputs, as_inputs

# Images in a batch for the batch time.
BATCH_SIZE = 64
# Timings per median; each repeats the call until it takes about this long.
_REPEATS, _BLOCK_SECONDS = 7, 5e-4


def inference_ms(model: nn.Module, example: Tensor | Inputs, device: torch.device) -> dict[str, Any]:
    """Milliseconds per call for one input, shape (1, ...), and for a batch of 64, warmed up, with quartiles."""
    model.eval()
    return {
        "single": _time(model, example, 1, device),
        "batch": _time(model, example, BATCH_SIZE, device),
        "threads": torch.get_num_threads(),
        "device": device.type,
    }


def _recurrent_flops(inputs: torch.Size, *weights: object, out_shape: object = None, **_options: object) -> int:
    """Of one layer in one direction by oneDNN: what is computed at each position is a product with both its weights."""
    matrices = [shape for shape in weights if isinstance(shape, torch.Size) and len(shape) == 2]
    return 2 * math.prod(inputs[:-1]) * sum(map(math.prod, matrices[:2]))


# Recurrent layers are one operation on the CPU, of which PyTorch's counter knows nothing.
_RECURRENT = {torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops}


def multiply_accumulates(model: nn.Module, example: Tensor | Inputs, device: torch.device) -> int:
    """Multiply-accumulates of one input, shape (1, ...), through the dense network (convolutions, matrix products)."""
    model.eval()
    counter = FlopCounterMode(display=False, custom_mapping=_RECURRENT)
    # Not in inference mode, in which the counter cannot see what a layer with a parametrised weight computes.
    with torch.no_grad(), without_fused_attention(), counter:
        as_inputs(example).changed(lambda tensor: tensor.to(device)).call(model)
    return int(counter.get_total_flops()) // 2


def parameters(model: nn.Module) -> int:
    """Number of parameters; a tied one counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def dense_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and floating-point buffers of the state dict as float32, without any header."""
    kept = model.state_dict().keys()  # not buffers that are made anew
    buffers = [buffer for name, buffer in model.named_buffers() if name in kept and buffer.is_floating_point()]
    tensors = [*model.parameters(), *buffers]
    return 4 * sum(tensor.numel() for tensor in tensors)


def call_ms(call: Callable[[], object], batch: int, finish: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Milliseconds of a call for a batch of that size, warmed up; `finish` waits until the work of calls is done."""

    def seconds(times: int) -> float:
        """Mean per call."""
        finish()
        started = time.perf_counter()
        for _ in range(times):
            call()
        finish()
        return (time.perf_counter() - started) / times

    seconds(2)  # warm-up: the first calls choose algorithms and allocate
    number = max(1, int(_BLOCK_SECONDS / seconds(1)))
    times_ms = np.array([seconds(number) for _ in range(_REPEATS)]) * 1e3
    lower, median, upper = np.percentile(times_ms, [25, 50, 75])
    return {"median": float(median), "q1": float(lower), "q3": float(upper), "batch_size": batch}


def _time(model: nn.Module, example: Tensor | Inputs, batch: int, device: torch.device) -> dict[str, Any]:
    inputs = as_inputs(example).changed(lambda tensor: tensor.to(device).repeat(batch, *[1] * (tensor.dim() - 1)))

    def finish() -> None:
        """A GPU works asynchronously, so its queue is emptied before and after."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        return call_ms(lambda: inputs.call(model), batch, finish)
