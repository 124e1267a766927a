"""Coefficients to symbols and back. Imports `pruning` and below."""
