"""Tensors to coefficients and back: layouts and bases. Imports `settings` and below; knows no network."""
