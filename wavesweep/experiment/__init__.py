"""One trial: baseline, compressed variants, matched controls, record, export.

Imports `compression` and below.
"""
