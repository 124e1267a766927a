"""Weights to coefficients, coefficients to masks, and back; knows tensors, no data sets and no files."""
