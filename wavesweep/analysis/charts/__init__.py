"""Charts as matplotlib figures, and their one style; imports `statistics` and `table`."""
