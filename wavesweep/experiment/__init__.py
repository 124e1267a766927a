"""One trial: baseline, compressed variants, matched controls, record, export.

Imports `training`, `shrink` and below.
"""
