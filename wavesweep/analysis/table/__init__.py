"""From the files under an outputs directory to one table of all trials; imports `runtime`, `settings` and `errors`."""
