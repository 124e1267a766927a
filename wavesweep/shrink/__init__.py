"""Removing units that are all zero. Imports `models` and below."""
