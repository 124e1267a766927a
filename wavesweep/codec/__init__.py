"""Symbols to bytes and back: the .wsz file. Imports `quantization` and below; knows no data set and no model."""
