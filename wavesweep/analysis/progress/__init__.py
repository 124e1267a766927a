"""How far sweeps, searches and trials are, from files and locks; imports `table`, `runtime` and `errors`."""
