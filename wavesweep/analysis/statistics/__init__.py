"""Means over seeds, fronts, paired comparisons, importance, choices; imports `table` and `measure.fronts`."""
