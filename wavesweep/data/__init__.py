"""Data sets and their splits. Imports `models` and below."""
