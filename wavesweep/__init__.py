"""wavesweep: prune trained networks in the wavelet domain, and see what it costs beside honest controls."""

__version__ = "0.1.0"
