"""The report, one HTML file; imports `charts`, `statistics` and `table`."""
