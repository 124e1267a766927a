"""Thin scripts over `wavesweep.analysis`, for a checkout: `python -m analysis.report outputs/`."""
