"""Many trials: grid, search, sensitivity scan, launchers, monitor, table. Imports `experiment` and below."""
