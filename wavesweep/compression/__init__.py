"""One compressed variant of a trained network: what of it is pruned, its file, how far its outputs moved.

Imports `training`, `shrink` and below; knows no trial and no record.
"""
