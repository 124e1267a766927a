"""A finished trial, or a compressed network, as an ONNX file; imports what `experiment` may import."""
