"""Quality, size, speed and fronts. Imports `data` and below."""
