"""From a network to the bytes of an ONNX file, and from these to a network that onnxruntime runs.

What deals with ONNX is imported where it is used: nobody else waits for it, or needs to have it.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wavesweep.codec.limits import UNLIMITED
from wavesweep.codec.model_file import unpack
from wavesweep.compression.callers import check_shape, copied
from wavesweep.compression.result import CompressedModel
from wavesweep.errors import SettingsError, TrialError
from wavesweep.measure.cost import BATCH_SIZE, call_ms
from wavesweep.models.load import filled, load
from wavesweep.models.zoo import give_logits
from wavesweep.runtime.records import write_atomically
from wavesweep.settings.rules import check_onnx_packages

# The set of operators that PyTorch's exporter is written in: a newer one is a conversion, and fewer runtimes have it.
OPSET = 18
INPUT, OUTPUT = "input", "logits"
_ERRORS_ONLY = 3


def export_onnx(
    compressed: CompressedModel | str | Path,
    model: nn.Module,
    path: str | Path,
    *,
    input_shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> int:
    """Write a compressed network as an ONNX file, atomically; returns the size of that file in bytes.

    Args:
        compressed: what `compress` returned, or a `.wsz` file.
        model: a network of that architecture, which is left as it was; of what it returns `.logits`, if it has them.
        path: the file to write.
        input_shape: of one input, e.g. (channels, height, width). The file takes batches of any size.
        dtype: of the input; torch.int64 for tokens.

    Raises:
        SettingsError: the packages of `wavesweep[onnx]` are not installed, or an argument is of another kind.
        FileFormatError: the compressed file is damaged or does not fit `model`.
        TrialError: the network cannot be exported.
        StoreError: the file cannot be written.
        OSError: the compressed file cannot be read.
    """
    check_onnx_packages()
    input_shape = check_shape(input_shape)
    scratch = give_logits(copied(model).cpu())
    if isinstance(compressed, str | Path):
        load(compressed, scratch)
    elif isinstance(compressed, CompressedModel):
        tensors, header = unpack(compressed.content, UNLIMITED)  # our own content, however large
        filled(scratch, tensors, header, "the compressed network")
    else:
        allowed = "must be what compress returned, or the path of a .wsz file"
        raise SettingsError("compressed", type(compressed).__name__, allowed)
    content = onnx_bytes(scratch, torch.zeros(1, *input_shape, dtype=dtype))
    write_atomically(Path(path), content)
    return len(content)


def onnx_bytes(model: nn.Module, example: Tensor) -> bytes:
    """An ONNX file with the weights in it, which takes batches of any size.

    Args:
        model: the network, on the CPU.
        example: an input of it, shape (1, ...).

    Raises:
        TrialError: the network cannot be exported.
    """
    batch = example.repeat(2, *[1] * (example.dim() - 1))  # of one, its size would be taken for a constant
    try:
        with _silence():
            program = torch.onnx.export(
                model.eval(),
                (batch,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
            )
            assert program is not None
            proto = program.model_proto
            _forget_sources(proto)
            content: bytes = proto.SerializeToString()
    except Exception as error:  # of the exporter, of onnxscript, of the network itself
        raise TrialError(f"the network cannot be exported as ONNX: {_reason(error)}") from error
    # Rather than fail, the exporter may take the size of the example for a constant.
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise TrialError("the network cannot be exported as ONNX: it depends on the number of inputs in a batch")
    if (count := len(proto.graph.output)) != 1:  # a tuple's parts; the first may be another thing than the logits
        raise TrialError(f"the network cannot be exported as ONNX: it gives {count} outputs, not the logits alone")
    return content


class OnnxNetwork(nn.Module):
    """An ONNX file as a PyTorch module: onnxruntime runs it on the CPU, with as many threads as PyTorch has."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        import onnxruntime

        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (count, ...) to (count, classes)."""
        return torch.from_numpy(self._session.run(None, {INPUT: inputs.numpy()})[0])

    def inference_ms(self, example: Tensor) -> dict[str, Any]:
        """Milliseconds per call, as of a PyTorch network; `example` is an input of shape (1, ...)."""

        def of_batch(batch: int) -> dict[str, Any]:
            # Not by `forward`, whose conversions take as long as a small network.
            inputs = {INPUT: example.repeat(batch, *[1] * (example.dim() - 1)).numpy()}
            return call_ms(lambda: self._session.run(None, inputs), batch)

        threads = torch.get_num_threads()
        return {"single": of_batch(1), "batch": of_batch(BATCH_SIZE), "threads": threads, "device": "cpu"}


def _forget_sources(proto: Any) -> None:
    """Remove what the exporter notes beside each node: the lines of Python that it comes from, with their paths."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter warns, logs and prints whole graphs; what matters is in the error that it raises."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """The first line of the first cause: the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {text[:200]}"
