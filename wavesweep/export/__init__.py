"""The network of a result as an ONNX file, run by onnxruntime and measured beside PyTorch."""
