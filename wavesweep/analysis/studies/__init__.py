"""Studies with published figures: their records, tables and pages; imports `charts`, `statistics` and `table`."""
